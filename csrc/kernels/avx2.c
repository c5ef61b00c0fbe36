/* avx2.c - AVX2 and FMA: 16 registers of 8 floats. Haswell (2013), Zen (2017) and later.
 *
 * On Zen 3 (Agner Fog's tables): vfmadd 2 a cycle, latency 4; vbroadcastss and vmovups loads 2 to
 * 3 a cycle; stores 1 a cycle. Tiles of 6 x 2 keep 12 sums in flight, more than the 8 that
 * latency asks for.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef __m256 vf;

#define VW 8
#define vload(p) _mm256_loadu_ps(p)
#define vstore(p, v) _mm256_storeu_ps(p, v)
#define vset(x) _mm256_set1_ps(x)
#define vzero() _mm256_setzero_ps()
#define vfma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vadd(a, b) _mm256_add_ps(a, b)
#define vmax(a, b) _mm256_max_ps(a, b)
#define vpick(index, q, v)                                                                         \
    _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(                                       \
                         _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(index))),          \
                         _mm256_set1_epi32(q))))

#define TILE_ROWS 6
#define SUM_VECTORS 13
#define PANEL_COLS 16

#include "tiles.h"
#include "loops.h"

MC_TABLE(mc_kernels_avx2, "avx2", VW);
#else
typedef int mc_no_avx2; /* ISO C wants a declaration */
#endif
