/* tiles.h - the register-blocked loops, written once over a few vector macros: products of tiles
 * here, sums of rows in rows.h, poolings in pool.h.
 *
 * An instruction set defines before it includes this file:
 *   vf, VW                vector type, floats in it
 *   vload vstore          unaligned load and store
 *   vset(x) vzero()       broadcast, zero
 *   vfma(a, b, c)         a * b + c
 *   vadd vmax
 *   vterm(term, offset)   the value of a term in all lanes, and its offset; optional
 *   vpick(index, q, v)    v where the bytes at index are q, else 0; optional
 *   vbytes_store(p, v)    the lanes of an integer vector, 0 .. 255, as bytes; optional
 *   TILE_ROWS             positions (or taps) per tile; a tile is TILE_ROWS x 2 vectors, which
 *                         with two vectors of weights and one broadcast fills the registers
 *   TALL_ROWS             the same for tiles of one vector, where columns are few: as many as there
 *                         are general registers for, since each has a pointer
 *   WINDOWS               windows of a pooling whose sums are made together: of one vector; of
 *                         two half as many
 *   SUM_VECTORS           accumulators of row_sum, at most 13
 *   PATCH_VECTORS         of patch_sum
 *   PANEL_COLS            columns of a panel: two vectors
 *
 * Per tile and tap: TILE_ROWS broadcasts, two loads, 2 * TILE_ROWS multiply-adds. With 6 rows and
 * two FMA ports that is 8 loads (4 cycles) under 12 FMAs (6 cycles): bound by arithmetic.
 */

#ifndef UNROLL
#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

/* Call `strip` with a number (of vectors, or of rows) that the compiler knows, 1 .. most <= 13. */
#define STRIP(strip, most, number, ...)                                                            \
    case number:                                                                                   \
        if (number <= most) strip(__VA_ARGS__, number);                                            \
        break;
#define STRIPS(strip, most, count, ...)                                                            \
    switch (count) {                                                                               \
        STRIP(strip, most, 1, __VA_ARGS__)                                                         \
        STRIP(strip, most, 2, __VA_ARGS__)                                                         \
        STRIP(strip, most, 3, __VA_ARGS__)                                                         \
        STRIP(strip, most, 4, __VA_ARGS__)                                                         \
        STRIP(strip, most, 5, __VA_ARGS__)                                                         \
        STRIP(strip, most, 6, __VA_ARGS__)                                                         \
        STRIP(strip, most, 7, __VA_ARGS__)                                                         \
        STRIP(strip, most, 8, __VA_ARGS__)                                                         \
        STRIP(strip, most, 9, __VA_ARGS__)                                                         \
        STRIP(strip, most, 10, __VA_ARGS__)                                                        \
        STRIP(strip, most, 11, __VA_ARGS__)                                                        \
        STRIP(strip, most, 12, __VA_ARGS__)                                                        \
        STRIP(strip, most, 13, __VA_ARGS__)                                                        \
    }

/* Run `tile` over n rows of n_cols columns, dealt out evenly, and `advance` by `rows` of them: nine
 * make tiles of 5 and 4, not of 6 and 3, and a last tile of one would take as long as one of four.
 */
#define TILES(tile, n, advance, ...)                                                               \
    for (int left = n, most = n_cols > VW ? TILE_ROWS : TALL_ROWS, rows; left > 0; left -= rows) { \
        const int tiles = (left + most - 1) / most;                                                \
        rows = (left + tiles - 1) / tiles;                                                         \
        if (n_cols > VW)                                                                           \
            STRIPS(tile, TILE_ROWS, rows, __VA_ARGS__, 2)                                          \
        else                                                                                       \
            STRIPS(tile, TALL_ROWS, rows, __VA_ARGS__, 1)                                          \
        advance;                                                                                   \
    }
#endif

INLINE void tile_store(float *restrict out, const vf *v, int n_cols, const int vectors) {
    if (n_cols == vectors * VW) {
        UNROLL
        for (int j = 0; j < vectors; j++) vstore(out + j * VW, v[j]);
        return;
    }
    float edge[2 * VW];
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(edge + j * VW, v[j]);
    for (int c = 0; c < n_cols; c++) out[c] = edge[c];
}

INLINE void tile_add(float *restrict out, const vf *v, int n_cols, const int vectors) {
    if (n_cols == vectors * VW) {
        UNROLL
        for (int j = 0; j < vectors; j++) vstore(out + j * VW, vadd(vload(out + j * VW), v[j]));
        return;
    }
    float edge[2 * VW];
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(edge + j * VW, v[j]);
    for (int c = 0; c < n_cols; c++) out[c] += edge[c];
}

/* `rows` positions against `vectors` vectors of columns, all sums in registers. */
INLINE void dot_sums(const float *x, const int32_t *position, const int32_t *tap, int n_taps,
                     const float *panel, vf (*sum)[2], const int vectors, const int rows) {
    const float *row[TALL_ROWS];
    const vf bias[2] = {vload(panel), vload(panel + VW)};
    UNROLL
    for (int i = 0; i < rows; i++) {
        row[i] = x + position[i];
        UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = bias[j];
    }
    const float *w = panel + PANEL_COLS;
    for (int t = 0; t < n_taps; t++, w += PANEL_COLS) {
        const ptrdiff_t k = tap[t];
        vf weight[2];
        UNROLL
        for (int j = 0; j < vectors; j++) weight[j] = vload(w + j * VW);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const vf v = vset(row[i][k]);
            UNROLL
            for (int j = 0; j < vectors; j++) sum[i][j] = vfma(v, weight[j], sum[i][j]);
        }
    }
}

INLINE void dot_tile(const float *x, const int32_t *position, const int32_t *tap, int n_taps,
                     const float *panel, vf floor, float *out, ptrdiff_t out_stride, int n_cols,
                     const int vectors, const int rows) {
    vf sum[TALL_ROWS][2];
    dot_sums(x, position, tap, n_taps, panel, sum, vectors, rows);
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = vmax(sum[i][j], floor);
        tile_store(out + i * out_stride, sum[i], n_cols, vectors);
    }
}

static void dot_panel(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *panel, int relu, float *out, ptrdiff_t out_stride,
                      int n_cols) {
    const vf floor = relu ? vzero() : vset(-__builtin_inff());
#ifdef HAVE_HALF
    if (n_cols <= VW / 2) {
        half_dot_panel(x, position, n_positions, tap, n_taps, panel, relu, out, out_stride, n_cols);
        return;
    }
#endif
    TILES(dot_tile, n_positions, (position += rows, out += rows * out_stride), x, position, tap,
          n_taps, panel, floor, out, out_stride, n_cols)
}

/* The same over taps, summed over positions. */
INLINE void outer_tile(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                       const float *dy, ptrdiff_t dy_stride, int add, float *dw,
                       ptrdiff_t dw_stride, int n_cols, const int vectors, const int rows) {
    const float *row[TALL_ROWS];
    vf sum[TALL_ROWS][2];
    UNROLL
    for (int i = 0; i < rows; i++) {
        row[i] = x + tap[i];
        UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = vzero();
    }
    for (int p = 0; p < n_positions; p++, dy += dy_stride) {
        const ptrdiff_t at = position[p];
        vf d[2];
        UNROLL
        for (int j = 0; j < vectors; j++) d[j] = vload(dy + j * VW);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const vf v = vset(row[i][at]);
            UNROLL
            for (int j = 0; j < vectors; j++) sum[i][j] = vfma(v, d[j], sum[i][j]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++, dw += dw_stride) {
        if (add)
            tile_add(dw, sum[i], n_cols, vectors);
        else
            tile_store(dw, sum[i], n_cols, vectors);
    }
}

static void outer_panel(const float *x, const int32_t *position, int n_positions,
                        const int32_t *tap, int n_taps, const float *dy, ptrdiff_t dy_stride,
                        int add, float *dw, ptrdiff_t dw_stride, int n_cols) {
#ifdef HAVE_HALF
    if (n_cols <= VW / 2) {
        half_outer_panel(x, position, n_positions, tap, n_taps, dy, dy_stride, add, dw, dw_stride,
                         n_cols);
        return;
    }
#endif
    TILES(outer_tile, n_taps, (tap += rows, dw += rows * dw_stride), x, position, n_positions, tap,
          dy, dy_stride, add, dw, dw_stride, n_cols)
}

#include "pool.h"
#include "rows.h"
