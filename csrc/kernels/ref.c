/* ref.c - the plain table: every loop as one would write it on paper. It is the oracle that the
 * fast tables are tested against, and it runs anywhere.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"

#define PANEL_COLS 8

static void dot_panel(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *panel, int relu, float *out, ptrdiff_t out_stride,
                      int n_cols) {
    for (int p = 0; p < n_positions; p++)
        for (int c = 0; c < n_cols; c++) {
            float sum = panel[c];
            for (int t = 0; t < n_taps; t++)
                sum += x[position[p] + tap[t]] * panel[(t + 1) * PANEL_COLS + c];
            out[p * out_stride + c] = relu && sum < 0.0f ? 0.0f : sum;
        }
}

static void outer_panel(const float *x, const int32_t *position, int n_positions,
                        const int32_t *tap, int n_taps, const float *dy, ptrdiff_t dy_stride,
                        int add, float *dw, ptrdiff_t dw_stride, int n_cols) {
    for (int t = 0; t < n_taps; t++)
        for (int c = 0; c < n_cols; c++) {
            float sum = 0.0f;
            for (int p = 0; p < n_positions; p++)
                sum += x[position[p] + tap[t]] * dy[p * dy_stride + c];
            dw[t * dw_stride + c] = (add ? dw[t * dw_stride + c] : 0.0f) + sum;
        }
}

static void row_sum(const float *rows, const mc_term *terms, int n, float *sum, int length) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < length; j++) sum[j] += terms[i].value * rows[terms[i].offset + j];
}

static void row_sums(const float *rows, const mc_inked *ink, const float *from, size_t step,
                     float *sums, int length) {
    const float *x = ink->x;
    const uint64_t *bits = ink->bits;
    for (int i = 0; i < ink->n; i++, x += ink->pixels, bits += ink->words, sums += length) {
        memmove(sums, from + (size_t)i * step, (size_t)length * sizeof(float));
        for (int p = 0; p < MC_INK_BLOCK; p++) {
            if (!(bits[p / 64] >> p % 64 & 1)) continue;
            const mc_term term = {p * length, x[p]};
            row_sum(rows, &term, 1, sums, length);
        }
    }
}

static void patch_sum(const float *patches, const mc_term *terms, int n, int rows,
                      ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length) {
    for (int y = 0; y < rows; y++)
        row_sum(patches + y * row_stride, terms, n, sum + y * sum_stride, length);
}

static void row_spread(const float *row, const mc_term *terms, int n, float *sums, int length) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < length; j++) sums[terms[i].offset + j] += terms[i].value * row[j];
}

static void patch_spread(const float *patch, int rows, const mc_term *terms, int n, float *sums,
                         ptrdiff_t sum_stride, int length) {
    for (int y = 0; y < rows; y++)
        row_spread(patch + y * length, terms, n, sums + y * sum_stride, length);
}

static void winner_sum(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                       const float *dy, const uint8_t *winner, int n_out, float *dw, int rows,
                       int length) {
    for (int w = 0; w < n_windows; w++)
        for (int c = 0; c < n_out; c++)
            for (int y = 0; y < rows; y++)
                for (int j = 0; j < length; j++)
                    dw[(c * rows + y) * length + j] +=
                        dy[w * n_out + c] *
                        x[position[4 * w + winner[w * n_out + c]] + y * row + j];
}

static void column_sums(const float *x, int n, int n_cols, float *sum) {
    for (int p = 0; p < n; p++)
        for (int c = 0; c < n_cols; c++) sum[c] += x[p * n_cols + c];
}

static void pool_windows(const float *in, int n_windows, int n_cols, int relu, float *y,
                         uint8_t *winner, ptrdiff_t stride) {
    for (int w = 0; w < n_windows; w++, in += 4 * PANEL_COLS)
        for (int c = 0; c < n_cols; c++) {
            int best = 0;
            for (int q = 1; q < 4; q++)
                if (in[q * PANEL_COLS + c] > in[best * PANEL_COLS + c]) best = q;
            const float most = in[best * PANEL_COLS + c];
            y[w * stride + c] = relu && most < 0.0f ? 0.0f : most;
            if (winner) winner[w * stride + c] = (uint8_t)best;
        }
}

static void dot_windows(const float *x, const int32_t *position, const int32_t *window,
                        int n_windows, const int32_t *tap, int n_taps, const float *panel, int relu,
                        float *y, uint8_t *winner, ptrdiff_t stride, int n_cols) {
    float tile[4 * PANEL_COLS];
    for (int w = 0; w < n_windows; w++) {
        const ptrdiff_t at = window[w] * stride;
        dot_panel(x, position + 4 * w, 4, tap, n_taps, panel, 0, tile, PANEL_COLS, n_cols);
        pool_windows(tile, 1, n_cols, relu, y + at, winner ? winner + at : NULL, stride);
    }
}

static void unpool_windows(const float *dy, const uint8_t *winner, ptrdiff_t stride, int n_windows,
                           int n_cols, float *out) {
    for (int w = 0; w < n_windows; w++)
        for (int q = 0; q < 4; q++, out += PANEL_COLS)
            for (int c = 0; c < PANEL_COLS; c++)
                out[c] = c < n_cols && winner[w * stride + c] == q ? dy[w * stride + c] : 0.0f;
}

static void max_pixel(const float *x, int size, ptrdiff_t row, int channels, float *y,
                      uint8_t *winner) {
    memcpy(y, x, (size_t)channels * sizeof(float));
    if (winner) memset(winner, 0, (size_t)channels);
    for (int q = 1; q < size * size; q++) {
        const float *pixel = x + q / size * row + q % size * channels;
        for (int c = 0; c < channels; c++) {
            if (!(pixel[c] > y[c])) continue;
            y[c] = pixel[c];
            if (winner) winner[c] = (uint8_t)q;
        }
    }
}

static void max_pixel_gradient(const float *dy, const uint8_t *winner, int size, ptrdiff_t row,
                               int channels, float *dx) {
    for (int q = 0; q < size * size; q++) {
        float *pixel = dx + q / size * row + q % size * channels;
        for (int c = 0; c < channels; c++) pixel[c] += winner[c] == q ? dy[c] : 0.0f;
    }
}

static void winograd_inputs(const float *x, const int32_t *position, int n_windows, ptrdiff_t row,
                            int channels, float *out) {
    static const float b[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};
    for (int w = 0; w < n_windows; w++)
        for (int c = 0; c < channels; c++)
            for (int k = 0; k < 16; k++) {
                float sum = 0.0f;
                for (int at = 0; at < 16; at++)
                    sum += b[k / 4][at / 4] * b[k % 4][at % 4] *
                           x[position[4 * w] + at / 4 * row + at % 4 * channels + c];
                out[(k * n_windows + w) * channels + c] = sum;
            }
}

static void winograd_windows(const float *m, int n_windows, const float *bias, int n_cols, int relu,
                             float *y, uint8_t *winner, ptrdiff_t stride) {
    static const float a[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
    for (int w = 0; w < n_windows; w++)
        for (int c = 0; c < n_cols; c++) {
            float in[4 * PANEL_COLS] = {0};
            for (int q = 0; q < 4; q++) {
                for (int k = 0; k < 16; k++)
                    in[q * PANEL_COLS] +=
                        a[q / 2][k / 4] * a[q % 2][k % 4] * m[(k * n_windows + w) * PANEL_COLS + c];
                in[q * PANEL_COLS] += bias[c];
            }
            pool_windows(in, 1, 1, relu, y + w * stride + c,
                         winner ? winner + w * stride + c : NULL, 1);
        }
}

#include "loops.h"

MC_TABLE(mc_kernels_ref, "ref", 1);
