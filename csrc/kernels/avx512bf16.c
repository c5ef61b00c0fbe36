/* avx512bf16.c - the table avx512 with products of bf16 by vdpbf16ps: Cooper Lake (2020), Zen 4
 * (2022).
 *
 * vdpbf16ps adds 16 sums of two products each: on Zen 4 one vector of 512 bits a cycle as vfmadd,
 * so twice the work; its latency is 6. As vfmadd's, its broadcast rides on it. A tile is 12
 * positions x 2 vectors of columns, as in float32, but steps by pairs of taps: 14 loads (14 cycles)
 * under 24 products (24 cycles).
 *
 * A rounded value is a word of 16 bits. A pair of taps lies side by side in a run; the last of an
 * odd run is paired with whatever word comes next (round_bf16 leaves a zero behind the last one)
 * and a weight of 0. A packed panel: 32 biases as floats, then for each pair 32 columns x its two
 * weights.
 *
 * vdpbf16ps rounds sums to nearest and takes subnormal numbers for 0, whatever the mode.
 */
#if defined(__AVX512BF16__) && defined(__x86_64__)
#define HAVE_BF16
#define PATCH_SUM_BF16 patch_sum_bf16
#include "avx512.c"
#include "words.h"

static void pack_bf16(const float *panel, int n_taps, int run, float *out) {
    memcpy(out, panel, PANEL_COLS * sizeof(float));
    out += PANEL_COLS;
    panel += PANEL_COLS;
    for (int t = 0; t < n_taps; t += run)
        for (int k = 0; k < run; k += 2, out += PANEL_COLS) {
            const float *even = panel + (ptrdiff_t)(t + k) * PANEL_COLS;
            for (int j = 0; j < PANEL_COLS; j += VW) {
                const __m512 odd =
                    k + 1 < run ? _mm512_loadu_ps(even + PANEL_COLS + j) : _mm512_setzero_ps();
                _mm512_storeu_si512(out + j, pair_words(_mm512_loadu_ps(even + j), odd));
            }
        }
}

static inline __m512 add_pairs(__m512 sum, __m512i inputs, __m512i weights) {
    return _mm512_dpbf16_ps(sum, (__m512bh)inputs, (__m512bh)weights);
}

/* Sums to go on from. */
INLINE void tile_load(vf sum[][2], const float *from, ptrdiff_t stride, int n_cols,
                      const int vectors, const int rows) {
    const unsigned mask = 0xffffffffu >> (PANEL_COLS - n_cols);
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++)
            sum[i][j] =
                _mm512_maskz_loadu_ps((__mmask16)(mask >> VW * j), from + i * stride + j * VW);
    }
}

/* dot_tile by pairs of taps. */
INLINE void pair_tile(const mc_product *d, const int32_t *position, const float *panel, vf floor,
                      float *out, int n_cols, const int vectors, const int rows) {
    const uint16_t *row[TALL_ROWS];
    const vf bias[2] = {vload(panel), vload(panel + VW)};
    vf sum[TALL_ROWS][2];
    UNROLL
    for (int i = 0; i < rows; i++) {
        row[i] = (const uint16_t *)d->x + position[i];
        UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = bias[j];
    }
    if (d->add) tile_load(sum, out, d->out_stride, n_cols, vectors, rows);
    const float *w = panel + PANEL_COLS;
    const int run = d->run;
    for (int t = 0; t < d->n_taps; t += run) {
        const ptrdiff_t first = d->tap[t];
        for (ptrdiff_t k = first; k < first + run; k += 2, w += PANEL_COLS) {
            __m512i weight[2];
            UNROLL
            for (int j = 0; j < vectors; j++) weight[j] = _mm512_loadu_si512(w + j * VW);
            UNROLL
            for (int i = 0; i < rows; i++) {
                int32_t pair;
                memcpy(&pair, row[i] + k, sizeof pair);
                const __m512i inputs = _mm512_set1_epi32(pair);
                UNROLL
                for (int j = 0; j < vectors; j++)
                    sum[i][j] = add_pairs(sum[i][j], inputs, weight[j]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = vmax(sum[i][j], floor);
        tile_store(out + i * d->out_stride, sum[i], n_cols, vectors);
    }
}

static void pair_panel(const mc_product *d, const float *panel, float *out, int n_cols) {
    const vf floor = d->relu ? vzero() : vset(-__builtin_inff());
    const int32_t *position = d->position;
    TILES(pair_tile, d->n_positions, (position += rows, out += rows * d->out_stride), d, position,
          panel, floor, out, n_cols)
}

static void dot_bf16(const mc_product *d) {
    const ptrdiff_t panel = (ptrdiff_t)(d->n_taps + 1 + MC_BF16_PAD) * PANEL_COLS;
    for (int q = 0; q < d->n_panels; q++) {
        const int left = d->n_cols - q * PANEL_COLS;
        pair_panel(d, d->panels + q * panel, d->out + q * d->out_panel,
                   left < PANEL_COLS ? left : PANEL_COLS);
    }
}

static void begin_bf16(void) {}

static void end_bf16(void) {}

/* The values of two terms, rounded, side by side in every lane. */
static inline __m512i pair_values(const mc_term *terms) {
    const __m512i both = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)terms));
    const __m512 floats = _mm512_castsi512_ps(both);
    return _mm512_shuffle_epi8(to_words(floats, floats), _mm512_set1_epi32(0x07060302));
}

/* sum[0 .. 31] += what pairs of words from unpacking left: columns 0-3, 8-11, ... and the rest. */
static inline void add_unpacked(float *sum, __m512 low, __m512 high, uint32_t mask) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const __mmask16 a = (__mmask16)mask, b = (__mmask16)(mask >> 16);
    const __m512 x = _mm512_permutex2var_ps(low, first, high);
    const __m512 y = _mm512_permutex2var_ps(low, second, high);
    _mm512_mask_storeu_ps(sum, a, _mm512_add_ps(_mm512_maskz_loadu_ps(a, sum), x));
    _mm512_mask_storeu_ps(sum + 16, b, _mm512_add_ps(_mm512_maskz_loadu_ps(b, sum + 16), y));
}

/* Terms in pairs: rows of both are interleaved, so that vdpbf16ps adds two products. Per block of
 * 32 words two loads, two shuffles, two products of 32 multiply-adds each. `last` masks the last
 * block of a row. */
INLINE void pair_strip(const uint16_t *patches, const mc_term *terms, int n, ptrdiff_t row_stride,
                       float *sum, ptrdiff_t sum_stride, uint32_t last, const int blocks,
                       const int rows) {
    __m512 acc[13][3][2];
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int x = 0; x < blocks; x++) acc[y][x][0] = acc[y][x][1] = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 2) {
        const uint16_t *p = patches + terms[i].offset, *q = patches + terms[i + 1].offset;
        const __m512i values = pair_values(terms + i);
        UNROLL
        for (int y = 0; y < rows; y++) UNROLL
        for (int x = 0; x < blocks; x++) {
            const ptrdiff_t at = y * row_stride + 32 * x;
            const uint32_t mask = x < blocks - 1 ? 0xffffffffu : last;
            const __m512i a = _mm512_maskz_loadu_epi16(mask, p + at);
            const __m512i b = _mm512_maskz_loadu_epi16(mask, q + at);
            acc[y][x][0] = add_pairs(acc[y][x][0], _mm512_unpacklo_epi16(a, b), values);
            acc[y][x][1] = add_pairs(acc[y][x][1], _mm512_unpackhi_epi16(a, b), values);
        }
    }
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int x = 0; x < blocks; x++)
        add_unpacked(sum + y * sum_stride + 32 * x, acc[y][x][0], acc[y][x][1],
                     x < blocks - 1 ? 0xffffffffu : last);
}

static void patch_sum_bf16(const void *patches, mc_term *terms, int n, int rows,
                           ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length) {
    terms[n] = (mc_term){terms[0].offset, 0.0f}; /* the partner of an odd one */
    for (int x = 0; x < length; x += 96) {
        const int left = length - x, blocks = left < 96 ? (left + 31) / 32 : 3;
        const int tail = left < 32 * blocks ? left % 32 : 32, most = blocks < 3 ? 5 : 4;
        for (int y = 0, some; y < rows; y += some) {
            const uint16_t *words = (const uint16_t *)patches + y * row_stride + x;
            float *to = sum + y * sum_stride + x;
            const uint32_t last = 0xffffffffu >> (32 - tail);
            some = rows - y < most ? rows - y : most;
            if (blocks == 1)
                STRIPS(pair_strip, 5, some, words, terms, n, row_stride, to, sum_stride, last, 1)
            else if (blocks == 2)
                STRIPS(pair_strip, 5, some, words, terms, n, row_stride, to, sum_stride, last, 2)
            else
                STRIPS(pair_strip, 4, some, words, terms, n, row_stride, to, sum_stride, last, 3)
        }
    }
}

MC_TABLE(mc_kernels_avx512bf16, "avx512bf16", VW);
#elif defined(__x86_64__)
#include "kernels.h"

/* The compiler does not know the instruction: without a name the table is not there (cpu.c). */
const mc_kernels mc_kernels_avx512bf16 = {0};
#else
typedef int mc_no_avx512bf16; /* ISO C wants a declaration */
#endif
