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
#include "winners.h"

#define PANEL_COLS 32

#define vf __m256
#define VW 8
#define vload(p) _mm256_loadu_ps(p)
#define vstore(p, v) _mm256_storeu_ps(p, v)
#define vset(x) _mm256_set1_ps(x)
#define vzero() _mm256_setzero_ps()
#define vfma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vadd(a, b) _mm256_add_ps(a, b)
#define vmax(a, b) _mm256_max_ps(a, b)
#define vbytes_store(p, v) _mm_storel_epi64((__m128i *)(p), _mm256_cvtepi32_epi8((__m256i)(v)))
#define TILE_ROWS 9
#define TALL_ROWS 9
#define WINDOWS 4
#define SUM_VECTORS 13
#define PATCH_VECTORS 30

#include "half.h"

#undef vf
#undef VW
#undef vload
#undef vstore
#undef vset
#undef vzero
#undef vfma
#undef vadd
#undef vmax
#undef vbytes_store
#undef SUM_VECTORS
#undef TILE_ROWS
#undef TALL_ROWS
#undef WINDOWS
#undef PATCH_VECTORS
#define HAVE_HALF
#define hf __m256
#define hload(p) _mm256_loadu_ps(p)
#define hstore(p, v) _mm256_storeu_ps(p, v)
#define hzero() _mm256_setzero_ps()
#define hfma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define hlow(v) _mm512_castps512_ps256(v)
#define hhigh(v) _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1))
#define HALF_PATCH(length) ((length) <= VW / 2)

#define vf __m512

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

#define vbytes_store(p, v) _mm_storeu_si128((__m128i *)(p), _mm512_cvtepi32_epi8((__m512i)(v)))

/* Both halves of a term by one load: loads of words take their turns with those of vectors, which
 * bound sums of rows on a Zen 5. The empty statement keeps the compiler from splitting it. */
static inline __m512 load_term(const mc_term *term, ptrdiff_t *offset) {
    uint64_t both;
    memcpy(&both, term, sizeof both);
    __asm__("" : "+r"(both));
    *offset = (int32_t)both;
    return _mm512_castsi512_ps(_mm512_set1_epi32((int32_t)(both >> 32)));
}
#define vterm(term, offset) load_term(term, offset)

#define TILE_ROWS 12
#define TALL_ROWS 12
#define WINDOWS 4
#define SUM_VECTORS 13
#define PATCH_VECTORS 24

/* Sixteen values at a time: those that are not zero and their offsets to the front, then pairs of
 * both. Compressed in registers: vpcompressd to memory is many times slower on Zen 4. */
typedef struct {
    __m512i offset, step, low, high;
    int count;
} term_list;

static inline term_list begin_terms(int32_t stride, int32_t first) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i offset = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(stride));
    return (term_list){.offset = _mm512_add_epi32(offset, _mm512_set1_epi32(first)),
                       .step = _mm512_set1_epi32(16 * stride),
                       .low = low,
                       .high = _mm512_add_epi32(low, _mm512_set1_epi32(8))};
}

/* In a general register: GCC 12 may put a mask on the stack in 16 bits and count 32 there. */
static inline int count_lanes(uint32_t mask) {
    __asm__("" : "+r"(mask));
    return __builtin_popcount(mask);
}

static inline void add_terms(term_list *list, __m512 v, mc_term *terms) {
    const __mmask16 ink = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const int count = count_lanes(ink);
    const __m512i offsets = _mm512_maskz_compress_epi32(ink, list->offset);
    const __m512i values = _mm512_castps_si512(_mm512_maskz_compress_ps(ink, v));
    terms += list->count;
    _mm512_storeu_si512(terms, _mm512_permutex2var_epi32(offsets, list->low, values));
    _mm512_storeu_si512(terms + 8, _mm512_permutex2var_epi32(offsets, list->high, values));
    list->count += count;
    list->offset = _mm512_add_epi32(list->offset, list->step);
}

static inline __m512 from_bytes(__m128i bytes) {
    const __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
    return _mm512_mul_ps(v, _mm512_set1_ps(1.0f / 255.0f));
}

/* Images have margins: paper is passed over where all of LIST_SKIP values are. One by one it would
 * be a branch that is guessed wrong. */
enum { LIST_SKIP = 64 };

static inline void skip_terms(term_list *list) {
    list->offset = _mm512_add_epi32(list->offset, _mm512_slli_epi32(list->step, 2));
}

static int list_inputs(const float *x, size_t n, int32_t stride, int32_t first, mc_term *terms) {
    term_list list = begin_terms(stride, first);
    for (; n >= LIST_SKIP; n -= LIST_SKIP, x += LIST_SKIP) {
        const __m512 v[4] = {vload(x), vload(x + 16), vload(x + 32), vload(x + 48)};
        const __m512 any = _mm512_or_ps(_mm512_or_ps(v[0], v[1]), _mm512_or_ps(v[2], v[3]));
        if (_mm512_test_epi32_mask(_mm512_castps_si512(any), _mm512_set1_epi32(0x7fffffff)))
            for (int i = 0; i < 4; i++) add_terms(&list, v[i], terms);
        else
            skip_terms(&list);
    }
    for (; n >= 16; n -= 16, x += 16) add_terms(&list, vload(x), terms);
    if (n) add_terms(&list, _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), x), terms);
    return list.count;
}

static int list_pixels(const uint8_t *x, size_t n, int32_t stride, int32_t first, mc_term *terms) {
    term_list list = begin_terms(stride, first);
    for (; n >= LIST_SKIP; n -= LIST_SKIP, x += LIST_SKIP) {
        const __m512i bytes = _mm512_loadu_si512(x);
        if (_mm512_test_epi8_mask(bytes, bytes))
            for (int i = 0; i < 64; i += 16)
                add_terms(&list, from_bytes(_mm_loadu_si128((const __m128i *)(x + i))), terms);
        else
            skip_terms(&list);
    }
    for (; n >= 16; n -= 16, x += 16)
        add_terms(&list, from_bytes(_mm_loadu_si128((const __m128i *)x)), terms);
    if (n)
        add_terms(&list, from_bytes(_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1u), x)), terms);
    return list.count;
}
#define HAVE_LIST_INPUTS

/* A bit for each of up to 64 pixels that is not zero, and the largest of their bits that are kept.
 */
INLINE uint64_t ink_word(const float *x, int n, __m512i kept, __m512i *most) {
    uint64_t word = 0;
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1u : 0xffffu);
        const __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        word |= (uint64_t)_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ) << i;
        *most = _mm512_max_epu32(*most, _mm512_and_si512(_mm512_castps_si512(v), kept));
    }
    return word;
}

static void ink_rows(const float *image, int width, int height, uint64_t *rows) {
    __m512i none = _mm512_setzero_si512();
    for (int y = 0; y < height; y++, image += width) rows[y] = ink_word(image, width, none, &none);
}
#define HAVE_INK_ROWS

static uint32_t ink_bits(const float *x, size_t n, uint32_t mask, uint64_t *bits, int *count) {
    const __m512i kept = _mm512_set1_epi32((int)mask);
    __m512i most = _mm512_setzero_si512();
    for (; n >= 64; n -= 64, x += 64) {
        *bits = ink_word(x, 64, kept, &most);
        *count += __builtin_popcountll(*bits++);
    }
    if (n) {
        *bits = ink_word(x, (int)n, kept, &most);
        *count += __builtin_popcountll(*bits);
    }
    uint32_t lanes[VW], largest = 0;
    _mm512_storeu_si512(lanes, most);
    for (int j = 0; j < VW; j++) largest = lanes[j] > largest ? lanes[j] : largest;
    return largest;
}
#define HAVE_INK_BITS

#include "tiles.h"

/* Up to `vectors` vectors of filters, all sums in registers. A window's 4 x 4 pixels are one
 * vector: from the one that tap t begins at, the winner's is 0, 1, 4 or 5 further on, filter by
 * filter. */
INLINE void winners_3x3_strip(const float *pixels, const int32_t *window, int n, const float *dy,
                              const uint8_t *winner, int n_out, __mmask16 last, float *dw,
                              const int vectors) {
    __m512 acc[9][2];
    __mmask16 mask[2];
    UNROLL
    for (int j = 0; j < vectors; j++) mask[j] = j < vectors - 1 ? 0xffff : last;
    UNROLL
    for (int t = 0; t < 9; t++) UNROLL
    for (int j = 0; j < vectors; j++)
        acc[t][j] = _mm512_maskz_loadu_ps(mask[j], dw + t * n_out + j * VW);
    for (int i = 0; i < n; i++, pixels += 16) {
        const ptrdiff_t at = (ptrdiff_t)window[i] * n_out;
        __m512 g[2];
        __m512i which[2];
        UNROLL
        for (int j = 0; j < vectors; j++) {
            const __m512i q =
                _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask[j], winner + at + j * VW));
            which[j] = _mm512_add_epi32(q, _mm512_and_epi32(q, _mm512_set1_epi32(2)));
            g[j] = _mm512_maskz_loadu_ps(mask[j], dy + at + j * VW);
        }
        UNROLL
        for (int t = 0; t < 9; t++) {
            const __m512 from = vload(pixels + t / 3 * 4 + t % 3);
            UNROLL
            for (int j = 0; j < vectors; j++)
                acc[t][j] = vfma(g[j], _mm512_permutexvar_ps(which[j], from), acc[t][j]);
        }
    }
    UNROLL
    for (int t = 0; t < 9; t++) UNROLL
    for (int j = 0; j < vectors; j++)
        _mm512_mask_storeu_ps(dw + t * n_out + j * VW, mask[j], acc[t][j]);
}

static void winners_3x3(const float *pixels, const int32_t *window, int n, const float *dy,
                        const uint8_t *winner, int n_out, float *dw) {
    for (int c = 0; c < n_out; c += 2 * VW) {
        const int left = n_out - c;
        if (left > VW)
            winners_3x3_strip(pixels, window, n, dy + c, winner + c, n_out,
                              left < 2 * VW ? (__mmask16)((1u << (left - VW)) - 1) : 0xffff, dw + c,
                              2);
        else
            winners_3x3_strip(pixels, window, n, dy + c, winner + c, n_out,
                              (__mmask16)((1u << left) - 1), dw + c, 1);
    }
}

#include "winners_3x3.h"

/* A bit for each of up to 64 filters that have a gradient, in the word of their winner. */
static inline void winner_bits(const float *dy, const uint8_t *winner, int n, uint64_t bits[4]) {
    __m512i none = _mm512_setzero_si512();
    const uint64_t live = ink_word(dy, n, none, &none);
    const __m512i q = _mm512_maskz_loadu_epi8(~(uint64_t)0 >> (64 - n), winner);
    UNROLL
    for (int i = 0; i < 4; i++)
        bits[i] = live & _mm512_cmpeq_epi8_mask(q, _mm512_set1_epi8((char)i));
}

/* Adds the filters whose winner is q to the window's 4 x 4 pixels. */
INLINE void spread_winners(uint64_t bits, const float *dy, const float *back, vf pixel[4][4],
                           const int q) {
    for (; bits; bits &= bits - 1) {
        const uint64_t c = (uint64_t)__builtin_ctzll(bits);
        const vf gradient = vset(dy[c]);
        const float *tap = back + c * 9 * VW;
        UNROLL
        for (int t = 0; t < 9; t++) {
            vf *sum = &pixel[q / 2 + t / 3][q % 2 + t % 3];
            *sum = vfma(gradient, vload(tap + t * VW), *sum);
        }
    }
}

/* All winners of a window are added in registers, for a vector of channels at a time. */
INLINE void spread_window(const uint64_t bits[4], const float *dy, const float *back, float *dx,
                          ptrdiff_t row, int channels) {
    vf pixel[4][4];
    UNROLL
    for (int i = 0; i < 16; i++) pixel[i / 4][i % 4] = vzero();
    UNROLL
    for (int q = 0; q < 4; q++) spread_winners(bits[q], dy, back, pixel, q);
    UNROLL
    for (int i = 0; i < 16; i++) {
        float *to = dx + i / 4 * row + i % 4 * channels;
        vstore(to, vadd(vload(to), pixel[i / 4][i % 4]));
    }
}

static void winner_spread_3x3(const float *dy, const uint8_t *winner, int n_out, int n_windows,
                              const int32_t *position, const float *back, float *dx, ptrdiff_t row,
                              int channels) {
    enum { FILTERS = 64 }; /* a word of bits, and their weights stay in the nearest cache */
    uint64_t bits[WINNER_BLOCK][4];
    for (int first = 0; first < n_windows; first += WINNER_BLOCK)
        for (int f = 0; f < n_out; f += FILTERS) {
            const int left = n_windows - first, n = left < WINNER_BLOCK ? left : WINNER_BLOCK;
            const int filters = n_out - f < FILTERS ? n_out - f : FILTERS;
            const ptrdiff_t at = (ptrdiff_t)first * n_out + f;
            for (int w = 0; w < n; w++)
                winner_bits(dy + at + w * n_out, winner + at + w * n_out, filters, bits[w]);
            for (int c = 0; c < channels; c += VW)
                for (int w = 0; w < n; w++)
                    spread_window(bits[w], dy + at + w * n_out, back + (c * n_out + f * VW) * 9,
                                  dx + position[4 * (first + w)] + c, row, channels);
        }
}
#define WINNER_SPREAD_3X3 winner_spread_3x3

#define GREY_BLOCKS 3
#define GREY_FILTERS 8
#define GREY_VECTORS 1
#define grey_load(p, row, v)                                                                       \
    _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps((p) + (row)), 1)
#define grey_rows(v, upper, lower) (*(upper) = hlow(*(v)), *(lower) = hhigh(*(v)))
#define grey_largest half_largest_of
#include "grey.h"
#include "winograd.h"

/* Rows and columns of 8 x 8 terms change places. */
static inline void transpose_terms(__m512i v[8]) {
    __m512i pairs[8], fours[8];
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 2; i++) UNROLL
    for (int j = 0; j < 8; j += 4) {
        fours[i + j] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0x88);
        fours[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0xdd);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_shuffle_i64x2(fours[i], fours[i + 4], 0x88);
        v[i + 4] = _mm512_shuffle_i64x2(fours[i], fours[i + 4], 0xdd);
    }
}

/* A window's terms are formed side by side, turned by filter, and those with a gradient kept. */
enum { LIST_WINDOWS = 8 };

INLINE void list_block(const float *dy, const uint8_t *winner, int n_out, const int32_t *position,
                       mc_term *terms, ptrdiff_t stride, int n[8]) {
    const __m512i in_turn =
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i value = _mm512_set1_epi64(0x7fffffff00000000);
    __m512i block[8];
    UNROLL
    for (int i = 0; i < 8; i++, dy += n_out, winner += n_out, position += 4) {
        const __m256i offsets = winner_offsets(position, winner);
        const __m256i values = _mm256_castps_si256(_mm256_loadu_ps(dy));
        block[i] = _mm512_permutex2var_epi32(_mm512_castsi256_si512(offsets), in_turn,
                                             _mm512_castsi256_si512(values));
    }
    transpose_terms(block);
    UNROLL
    for (int j = 0; j < 8; j++) {
        const __mmask8 live = _mm512_test_epi64_mask(block[j], value);
        const int count = count_lanes(live);
        _mm512_storeu_si512(terms + j * stride + n[j], _mm512_maskz_compress_epi64(live, block[j]));
        n[j] += count;
    }
}
#define HAVE_LIST_BLOCK

#include "loops.h"

#ifndef HAVE_BF16 /* avx512bf16.c and amx.c include this file */
MC_TABLE(mc_kernels_avx512, "avx512", VW);
#endif
#else
typedef int mc_no_avx512; /* ISO C wants a declaration */
#endif
