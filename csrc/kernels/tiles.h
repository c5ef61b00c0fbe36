/* tiles.h - the register-blocked loops, written once over a few vector macros.
 *
 * An instruction set defines before it includes this file:
 *   vf, VW                vector type, floats in it
 *   vload vstore          unaligned load and store
 *   vset(x) vzero()       broadcast, zero
 *   vfma(a, b, c)         a * b + c
 *   vadd vmax
 *   vpick(index, q, v)    v where the bytes at index are q, else 0; optional
 *   TILE_ROWS             positions (or taps) per tile; a tile is TILE_ROWS x 2 vectors, which
 *                         with two vectors of weights and one broadcast fills the registers
 *   SUM_VECTORS           accumulators of row_sum
 *
 * Per tile and tap: TILE_ROWS broadcasts, two loads, 2 * TILE_ROWS multiply-adds. With 6 rows and
 * two FMA ports that is 8 loads (4 cycles) under 12 FMAs (6 cycles): bound by arithmetic.
 */

#define TILE_COLS (2 * VW)
#define UNROLL _Pragma("GCC unroll 16")

static inline void tile_store(float *restrict out, vf a, vf b, int n_cols) {
    if (n_cols == TILE_COLS) {
        vstore(out, a);
        vstore(out + VW, b);
        return;
    }
    float edge[TILE_COLS];
    vstore(edge, a);
    vstore(edge + VW, b);
    for (int c = 0; c < n_cols; c++) out[c] = edge[c];
}

static inline void tile_add(float *restrict out, vf a, vf b, int n_cols) {
    if (n_cols == TILE_COLS) {
        vstore(out, vadd(vload(out), a));
        vstore(out + VW, vadd(vload(out + VW), b));
        return;
    }
    float edge[TILE_COLS];
    vstore(edge, a);
    vstore(edge + VW, b);
    for (int c = 0; c < n_cols; c++) out[c] += edge[c];
}

static void dot_panel(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *panel, int relu, float *out, ptrdiff_t out_stride,
                      int n_cols) {
    const vf floor = relu ? vzero() : vset(-__builtin_inff());
    const vf bias0 = vload(panel), bias1 = vload(panel + VW);
    for (int p = 0; p < n_positions; p += TILE_ROWS) {
        const int rows = n_positions - p < TILE_ROWS ? n_positions - p : TILE_ROWS;
        const float *row[TILE_ROWS];
        vf sum[TILE_ROWS][2];
        UNROLL
        for (int i = 0; i < TILE_ROWS; i++) {
            row[i] = x + position[p + (i < rows ? i : 0)]; /* surplus rows repeat the first */
            sum[i][0] = bias0;
            sum[i][1] = bias1;
        }
        const float *w = panel + TILE_COLS;
        for (int t = 0; t < n_taps; t++, w += TILE_COLS) {
            const ptrdiff_t k = tap[t];
            const vf w0 = vload(w), w1 = vload(w + VW);
            UNROLL
            for (int i = 0; i < TILE_ROWS; i++) {
                const vf v = vset(row[i][k]);
                sum[i][0] = vfma(v, w0, sum[i][0]);
                sum[i][1] = vfma(v, w1, sum[i][1]);
            }
        }
        UNROLL
        for (int i = 0; i < TILE_ROWS; i++)
            if (i < rows)
                tile_store(out + (p + i) * out_stride, vmax(sum[i][0], floor),
                           vmax(sum[i][1], floor), n_cols);
    }
}

static void outer_panel(const float *x, const int32_t *position, int n_positions,
                        const int32_t *tap, int n_taps, const float *dy, float *dw,
                        ptrdiff_t dw_stride, int n_cols) {
    for (int t = 0; t < n_taps; t += TILE_ROWS) {
        const int rows = n_taps - t < TILE_ROWS ? n_taps - t : TILE_ROWS;
        const float *row[TILE_ROWS];
        vf sum[TILE_ROWS][2];
        UNROLL
        for (int i = 0; i < TILE_ROWS; i++) {
            row[i] = x + tap[t + (i < rows ? i : 0)];
            sum[i][0] = sum[i][1] = vzero();
        }
        const float *d = dy;
        for (int p = 0; p < n_positions; p++, d += TILE_COLS) {
            const ptrdiff_t at = position[p];
            const vf d0 = vload(d), d1 = vload(d + VW);
            UNROLL
            for (int i = 0; i < TILE_ROWS; i++) {
                const vf v = vset(row[i][at]);
                sum[i][0] = vfma(v, d0, sum[i][0]);
                sum[i][1] = vfma(v, d1, sum[i][1]);
            }
        }
        UNROLL
        for (int i = 0; i < TILE_ROWS; i++)
            if (i < rows) tile_add(dw + (t + i) * dw_stride, sum[i][0], sum[i][1], n_cols);
    }
}

/* One strip of row_sum, `vectors` wide, all of it in registers. */
static inline __attribute__((always_inline)) void
row_sum_strip(const float *rows, const mc_term *terms, int n, float *sum, const int vectors) {
    vf acc[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vload(sum + j * VW);
    for (int i = 0; i < n; i++) {
        const float *row = rows + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int j = 0; j < vectors; j++) acc[j] = vfma(v, vload(row + j * VW), acc[j]);
    }
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(sum + j * VW, acc[j]);
}

/* One strip of row_spread: the row stays in registers. */
static inline __attribute__((always_inline)) void
row_spread_strip(const float *row, const mc_term *terms, int n, float *sums, const int vectors) {
    vf r[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) r[j] = vload(row + j * VW);
    for (int i = 0; i < n; i++) {
        float *sum = sums + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int j = 0; j < vectors; j++) vstore(sum + j * VW, vfma(v, r[j], vload(sum + j * VW)));
    }
}

/* Call `strip` for a number of vectors that the compiler knows. */
#define STRIPS(strip, count, ...)                                                                  \
    switch (count) {                                                                               \
    case 1:                                                                                        \
        strip(__VA_ARGS__, 1);                                                                     \
        break;                                                                                     \
    case 2:                                                                                        \
        strip(__VA_ARGS__, 2);                                                                     \
        break;                                                                                     \
    case 3:                                                                                        \
        strip(__VA_ARGS__, 3);                                                                     \
        break;                                                                                     \
    case 4:                                                                                        \
        strip(__VA_ARGS__, 4);                                                                     \
        break;                                                                                     \
    case 5:                                                                                        \
        strip(__VA_ARGS__, 5);                                                                     \
        break;                                                                                     \
    case 6:                                                                                        \
        strip(__VA_ARGS__, 6);                                                                     \
        break;                                                                                     \
    case 7:                                                                                        \
        strip(__VA_ARGS__, 7);                                                                     \
        break;                                                                                     \
    case 8:                                                                                        \
        strip(__VA_ARGS__, 8);                                                                     \
        break;                                                                                     \
    case 9:                                                                                        \
        strip(__VA_ARGS__, 9);                                                                     \
        break;                                                                                     \
    case 10:                                                                                       \
        strip(__VA_ARGS__, 10);                                                                    \
        break;                                                                                     \
    case 11:                                                                                       \
        strip(__VA_ARGS__, 11);                                                                    \
        break;                                                                                     \
    case 12:                                                                                       \
        strip(__VA_ARGS__, 12);                                                                    \
        break;                                                                                     \
    case 13:                                                                                       \
        strip(__VA_ARGS__, 13);                                                                    \
        break;                                                                                     \
    }

/* The last columns of rows of at least VW, as a whole vector whose first lanes are not kept. */
static void row_sum_tail(const float *rows, const mc_term *terms, int n, float *sum, int tail) {
    const int skip = VW - tail;
    vf acc[2] = {vload(sum - skip), vzero()}; /* two chains, to hide latency */
    int i = 0;
    for (; i + 2 <= n; i += 2)
        for (int j = 0; j < 2; j++)
            acc[j] =
                vfma(vset(terms[i + j].value), vload(rows + terms[i + j].offset - skip), acc[j]);
    if (i < n) acc[0] = vfma(vset(terms[i].value), vload(rows + terms[i].offset - skip), acc[0]);
    float lanes[VW];
    vstore(lanes, vadd(acc[0], acc[1]));
    for (int j = 0; j < tail; j++) sum[j] = lanes[skip + j];
}

static void row_sum(const float *rows, const mc_term *terms, int n, float *sum, int length) {
    const int has_vector = length >= VW;
    for (; length >= VW;) {
        const int vectors = length / VW < SUM_VECTORS ? length / VW : SUM_VECTORS;
        STRIPS(row_sum_strip, vectors, rows, terms, n, sum)
        rows += vectors * VW;
        sum += vectors * VW;
        length -= vectors * VW;
    }
    if (length && has_vector)
        row_sum_tail(rows, terms, n, sum, length);
    else
        for (int i = 0; i < n; i++)
            for (int j = 0; j < length; j++) sum[j] += terms[i].value * rows[terms[i].offset + j];
}

static void row_spread(const float *row, const mc_term *terms, int n, float *sums, int length) {
    for (; length >= VW;) {
        const int vectors = length / VW < SUM_VECTORS ? length / VW : SUM_VECTORS;
        STRIPS(row_spread_strip, vectors, row, terms, n, sums)
        row += vectors * VW;
        sums += vectors * VW;
        length -= vectors * VW;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < length; j++) sums[terms[i].offset + j] += terms[i].value * row[j];
}

#ifndef vpick
static inline vf vpick(const uint8_t *index, int q, vf v) {
    float lanes[VW];
    vstore(lanes, v);
    for (int i = 0; i < VW; i++) lanes[i] = index[i] == q ? lanes[i] : 0.0f;
    return vload(lanes);
}
#endif

static void unpool_windows(const float *dy, const uint8_t *winner, ptrdiff_t stride, int n_windows,
                           int n_cols, float *out) {
    float edge[TILE_COLS] = {0};
    uint8_t edge_winner[TILE_COLS] = {0};
    for (int w = 0; w < n_windows; w++, dy += stride, winner += stride, out += 4 * TILE_COLS) {
        const float *g = dy;
        const uint8_t *index = winner;
        if (n_cols < TILE_COLS) {
            for (int c = 0; c < n_cols; c++) edge[c] = dy[c];
            for (int c = 0; c < n_cols; c++) edge_winner[c] = winner[c];
            g = edge;
            index = edge_winner;
        }
        const vf g0 = vload(g), g1 = vload(g + VW);
        for (int q = 0; q < 4; q++) {
            vstore(out + q * TILE_COLS, vpick(index, q, g0));
            vstore(out + q * TILE_COLS + VW, vpick(index + VW, q, g1));
        }
    }
}
