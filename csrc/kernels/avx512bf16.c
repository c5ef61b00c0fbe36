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

MC_TABLE(mc_kernels_avx512bf16, "avx512bf16", VW);
#elif defined(__x86_64__)
#include "kernels.h"

/* The compiler does not know the instruction: without a name the table is not there (cpu.c). */
const mc_kernels mc_kernels_avx512bf16 = {0};
#else
typedef int mc_no_avx512bf16; /* ISO C wants a declaration */
#endif
