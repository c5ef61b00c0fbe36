/* neon.c - Advanced SIMD on arm64: 32 registers of 4 floats, fused multiply-add.
 *
 * Apple's cores: fmla 4 a cycle, latency 4, so 16 sums in flight are wanted; Neoverse N1: 2 a
 * cycle. Tiles of 10 x 2 keep 20.
 */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef float32x4_t vf;

#define VW 4
#define vload(p) vld1q_f32(p)
#define vstore(p, v) vst1q_f32(p, v)
#define vset(x) vdupq_n_f32(x)
#define vzero() vdupq_n_f32(0.0f)
#define vfma(a, b, c) vfmaq_f32(c, a, b)
#define vadd(a, b) vaddq_f32(a, b)
#define vmax(a, b) vmaxq_f32(a, b)

#define TILE_ROWS 10
#define TALL_ROWS 12
#define WINDOWS 4
#define SUM_VECTORS 13
#define PANEL_COLS 8

#include "tiles.h"
#include "winograd.h"
#include "loops.h"

MC_TABLE(mc_kernels_neon, "neon", VW);
#else
typedef int mc_no_neon; /* ISO C wants a declaration */
#endif
