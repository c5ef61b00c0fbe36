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

#include "compress.h"
#include "kernels.h"
#include "winners.h"

typedef __m256 vf;

#define VW 8
#define vload(p) _mm256_loadu_ps(p)
#define vstore(p, v) _mm256_storeu_ps(p, v)
#define vset(x) _mm256_set1_ps(x)
#define vzero() _mm256_setzero_ps()
#define vfma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vadd(a, b) _mm256_add_ps(a, b)
#define vmax(a, b) _mm256_max_ps(a, b)
#define vwiden(bytes) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(bytes)))
#define vpick(index, q, v)                                                                         \
    _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(vwiden(index), _mm256_set1_epi32(q))))

#define vbytes_store(p, v) store_bytes(p, (__m256i)(v))

static inline void store_bytes(uint8_t *bytes, __m256i v) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)bytes, _mm_packus_epi16(words, words));
}

#define TILE_ROWS 6
#define TALL_ROWS 9
#define WINDOWS 2
#define SUM_VECTORS 13
#define PANEL_COLS 16

/* Eight values at a time: a mask of those that are not zero, a permutation that brings them to the
 * front, one store of eight terms of which as many count. Returns how many. */
static inline int add_terms(__m256 v, int32_t stride, int32_t first, mc_term *terms) {
    const int mask = _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)compress_order[mask]));
    const __m256i offset = _mm256_add_epi32(_mm256_set1_epi32(first),
                                            _mm256_mullo_epi32(order, _mm256_set1_epi32(stride)));
    const __m256i value = _mm256_castps_si256(_mm256_permutevar8x32_ps(v, order));
    const __m256i low = _mm256_unpacklo_epi32(offset, value);
    const __m256i high = _mm256_unpackhi_epi32(offset, value);
    _mm256_storeu_si256((__m256i *)terms, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)terms + 1, _mm256_permute2x128_si256(low, high, 0x31));
    return __builtin_popcount((unsigned)mask);
}

/* Images have margins: paper is passed over where all of LIST_SKIP values are. One by one it would
 * be a branch that is guessed wrong. */
enum { LIST_SKIP = 64 };

static inline int is_paper(const void *x, size_t bytes) {
    __m256i any = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += 32)
        any = _mm256_or_si256(any, _mm256_loadu_si256((const __m256i *)((const char *)x + i)));
    return _mm256_testz_si256(any, any);
}

static int list_inputs(const float *x, size_t n, int32_t stride, int32_t first, mc_term *terms) {
    int count = 0;
    size_t i = 0;
    while (i + 8 <= n) {
        if (i + LIST_SKIP <= n && is_paper(x + i, LIST_SKIP * sizeof *x)) {
            i += LIST_SKIP;
            continue;
        }
        const size_t end = i + LIST_SKIP <= n ? i + LIST_SKIP : n;
        for (; i + 8 <= end; i += 8)
            count += add_terms(_mm256_loadu_ps(x + i), stride, first + (int32_t)i * stride,
                               terms + count);
    }
    for (; i < n; i++) {
        terms[count] = (mc_term){first + (int32_t)i * stride, x[i]};
        count += x[i] != 0.0f;
    }
    return count;
}

static int list_pixels(const uint8_t *x, size_t n, int32_t stride, int32_t first, mc_term *terms) {
    const __m256 unit = _mm256_set1_ps(1.0f / 255.0f);
    int count = 0;
    size_t i = 0;
    while (i + 8 <= n) {
        if (i + LIST_SKIP <= n && is_paper(x + i, LIST_SKIP)) {
            i += LIST_SKIP;
            continue;
        }
        const size_t end = i + LIST_SKIP <= n ? i + LIST_SKIP : n;
        for (; i + 8 <= end; i += 8) {
            const __m256i words = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(x + i)));
            count += add_terms(_mm256_mul_ps(_mm256_cvtepi32_ps(words), unit), stride,
                               first + (int32_t)i * stride, terms + count);
        }
    }
    for (; i < n; i++) {
        terms[count] = (mc_term){first + (int32_t)i * stride, (float)x[i] * (1.0f / 255.0f)};
        count += x[i] != 0;
    }
    return count;
}
#define HAVE_LIST_INPUTS

static inline uint64_t live_lanes(const float *x) {
    const __m256 live = _mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_NEQ_UQ);
    return (uint64_t)_mm256_movemask_ps(live);
}

static void ink_rows(const float *image, int width, int height, uint64_t *rows) {
    for (int y = 0; y < height; y++, image += width) {
        uint64_t bits = 0;
        int x = 0;
        for (; x + 8 <= width; x += 8) bits |= live_lanes(image + x) << x;
        if (x && x < width) { /* the last eight, of which some are known */
            x = width;
            bits |= live_lanes(image + x - 8) << (x - 8);
        }
        for (; x < width; x++) bits |= (uint64_t)mc_is_live(image[x]) << x;
        rows[y] = bits;
    }
}
#define HAVE_INK_ROWS

#include "tiles.h"

/* A window's row and the one below it, each with the winner's of two neighbours in place: they get
 * the gradients of the upper and of the lower winners. vpermps would pick from both rows at once,
 * but is twice as slow as the rest on Zen 3. */
INLINE void winners_3x3_strip(const float *pixels, const int32_t *window, int n, const float *dy,
                              const uint8_t *winner, ptrdiff_t stride, float *dw,
                              ptrdiff_t dw_stride) {
    vf acc[9];
    UNROLL
    for (int t = 0; t < 9; t++) acc[t] = vload(dw + t * dw_stride);
    for (int i = 0; i < n; i++, pixels += 16) {
        const ptrdiff_t at = window[i] * stride;
        const __m256i q = vwiden(winner + at);
        const vf g = vload(dy + at), is_lower = (vf)_mm256_cmpgt_epi32(q, _mm256_set1_epi32(1));
        const vf upper = _mm256_andnot_ps(is_lower, g), lower = _mm256_and_ps(is_lower, g);
        const __m256i right = _mm256_and_si256(q, _mm256_set1_epi32(1));
        UNROLL
        for (int y = 0; y < 4; y++) UNROLL
        for (int x = 0; x < 3; x++) {
            const vf pair = _mm256_permutevar_ps(
                _mm256_broadcast_ps((const __m128 *)(pixels + y * 4 + x)), right);
            if (y < 3) acc[3 * y + x] = vfma(upper, pair, acc[3 * y + x]);
            if (y > 0) acc[3 * y - 3 + x] = vfma(lower, pair, acc[3 * y - 3 + x]);
        }
    }
    UNROLL
    for (int t = 0; t < 9; t++) vstore(dw + t * dw_stride, acc[t]);
}

/* Filters that do not fill a vector, in room for a whole one. */
static void winners_3x3_rest(const float *pixels, const int32_t *window, int n, const float *dy,
                             const uint8_t *winner, int n_out, float *dw, int filters) {
    float gradients[WINNER_BLOCK * VW], sums[9 * VW] = {0};
    uint8_t winners[WINNER_BLOCK * VW];
    int32_t place[WINNER_BLOCK];
    memset(gradients, 0, (size_t)n * VW * sizeof(float));
    memset(winners, 0, (size_t)n * VW);
    for (int i = 0; i < n; i++) {
        const ptrdiff_t at = (ptrdiff_t)window[i] * n_out;
        for (int c = 0; c < filters; c++) {
            gradients[i * VW + c] = dy[at + c];
            winners[i * VW + c] = winner[at + c];
        }
        place[i] = i;
    }
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < filters; c++) sums[t * VW + c] = dw[t * n_out + c];
    winners_3x3_strip(pixels, place, n, gradients, winners, VW, sums, VW);
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < filters; c++) dw[t * n_out + c] = sums[t * VW + c];
}

static void winners_3x3(const float *pixels, const int32_t *window, int n, const float *dy,
                        const uint8_t *winner, int n_out, float *dw) {
    int c = 0;
    for (; c + VW <= n_out; c += VW)
        winners_3x3_strip(pixels, window, n, dy + c, winner + c, n_out, dw + c, n_out);
    if (c < n_out)
        winners_3x3_rest(pixels, window, n, dy + c, winner + c, n_out, dw + c, n_out - c);
}

#include "winners_3x3.h"

/* 12 sums, two vectors of pixels, one weight. */
#define GREY_BLOCKS 1
#define GREY_FILTERS 6
#define GREY_VECTORS 2
#define grey_load(p, row, v) vload((p) + (v) * (row))
#define grey_rows(v, upper, lower) (*(upper) = (v)[0], *(lower) = (v)[1])
#define grey_largest largest_of
#include "grey.h"
#include "winograd.h"

/* Terms of 4 windows x 8 filters, in pairs within each half, turned by filter; of each four, those
 * with a gradient are brought to the front as in add_terms. */
enum { LIST_WINDOWS = 4 };

static inline void keep_live(__m256i four, mc_term *terms, int *n) {
    const __m256i dead = _mm256_cmpeq_epi32(_mm256_add_epi32(four, four), _mm256_setzero_si256());
    const int values = ~_mm256_movemask_ps(_mm256_castsi256_ps(dead)) & 0xaa;
    const int mask = values | values >> 1;
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)compress_order[mask]));
    _mm256_storeu_si256((__m256i *)(terms + *n), _mm256_permutevar8x32_epi32(four, order));
    *n += __builtin_popcount((unsigned)values);
}

INLINE void list_block(const float *dy, const uint8_t *winner, int n_out, const int32_t *position,
                       mc_term *terms, ptrdiff_t stride, int n[8]) {
    __m256i pairs[2][4]; /* of filters 0, 1, 4, 5 and 2, 3, 6, 7 */
    for (int i = 0; i < 4; i++, dy += n_out, winner += n_out, position += 4) {
        const __m256i offsets = winner_offsets(position, winner);
        const __m256i values = _mm256_castps_si256(_mm256_loadu_ps(dy));
        pairs[0][i] = _mm256_unpacklo_epi32(offsets, values);
        pairs[1][i] = _mm256_unpackhi_epi32(offsets, values);
    }
    for (int i = 0; i < 4; i++) {
        const __m256i *p = pairs[i / 2];
        const __m256i ab =
            i % 2 ? _mm256_unpackhi_epi64(p[0], p[1]) : _mm256_unpacklo_epi64(p[0], p[1]);
        const __m256i cd =
            i % 2 ? _mm256_unpackhi_epi64(p[2], p[3]) : _mm256_unpacklo_epi64(p[2], p[3]);
        keep_live(_mm256_permute2x128_si256(ab, cd, 0x20), terms + i * stride, n + i);
        keep_live(_mm256_permute2x128_si256(ab, cd, 0x31), terms + (i + 4) * stride, n + i + 4);
    }
}
#define HAVE_LIST_BLOCK

#include "loops.h"

MC_TABLE(mc_kernels_avx2, "avx2", VW);
#else
typedef int mc_no_avx2; /* ISO C wants a declaration */
#endif
