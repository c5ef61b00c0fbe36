/* avx512.c - AVX-512 F, BW, DQ, VL: 32 registers of 16 floats. Skylake-X (2017), Zen 4 (2022).
 *
 * vfmadd 2 a cycle on server cores (1 on some), latency 4; a broadcast rides on the FMA. Tiles of
 * 12 x 2 keep 24 sums in flight.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef __m512 vf;

#define VW 16
#define vload(p) _mm512_loadu_ps(p)
#define vstore(p, v) _mm512_storeu_ps(p, v)
#define vset(x) _mm512_set1_ps(x)
#define vzero() _mm512_setzero_ps()
#define vfma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vadd(a, b) _mm512_add_ps(a, b)
#define vmax(a, b) _mm512_max_ps(a, b)
#define vpick(index, q, v)                                                                         \
    _mm512_maskz_mov_ps(                                                                           \
        _mm512_cmpeq_epi32_mask(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(index))),   \
                                _mm512_set1_epi32(q)),                                             \
        v)

#define TILE_ROWS 12
#define TALL_ROWS 12
#define SUM_VECTORS 13
#define PANEL_COLS 32

#include "tiles.h"
#include "loops.h"

#ifndef HAVE_BF16 /* avx512bf16.c and amx.c include this file */
MC_TABLE(mc_kernels_avx512, "avx512", VW);
#endif
#else
typedef int mc_no_avx512; /* ISO C wants a declaration */
#endif
