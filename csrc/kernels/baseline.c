/* baseline.c - what every CPU of the architecture has: SSE2 on x86-64 (16 registers of 4 floats),
 * the compiler's generic vectors elsewhere. No fused multiply-add.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef float vf __attribute__((vector_size(16)));
typedef float vf_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t vint __attribute__((vector_size(16)));

#define VW 4
#define vload(p) ((vf) * (const vf_unaligned *)(p))
#define vstore(p, v) (*(vf_unaligned *)(p) = (v))
#define vset(x) ((vf){0} + (x))
#define vzero() ((vf){0})
#define vfma(a, b, c) ((a) * (b) + (c))
#define vadd(a, b) ((a) + (b))

static inline vf vmax(vf a, vf b) {
    const vint m = a > b;
    return (vf)(((vint)a & m) | ((vint)b & ~m));
}

#define TILE_ROWS 6
#define TALL_ROWS 9
#define WINDOWS 2
#define SUM_VECTORS 13
#define PANEL_COLS 8

#include "tiles.h"
#include "winograd.h"
#include "loops.h"

MC_TABLE(mc_kernels_baseline, "baseline", VW);
