/* tiles.h - the register-blocked loops, written once over a few vector macros.
 *
 * An instruction set defines before it includes this file:
 *   vf, VW                vector type, floats in it
 *   vload vstore          unaligned load and store
 *   vset(x) vzero()       broadcast, zero
 *   vfma(a, b, c)         a * b + c
 *   vadd vmax
 *   vpick(index, q, v)    v where the bytes at index are q, else 0; optional
 *   vbytes_store(p, v)    the lanes of an integer vector, 0 .. 127, as bytes; optional
 *   TILE_ROWS             positions (or taps) per tile; a tile is TILE_ROWS x 2 vectors, which
 *                         with two vectors of weights and one broadcast fills the registers
 *   TALL_ROWS             the same for tiles of one vector, where columns are few: as many as there
 *                         are general registers for, since each has a pointer
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
INLINE void dot_tile(const float *x, const int32_t *position, const int32_t *tap, int n_taps,
                     const float *panel, vf floor, float *out, ptrdiff_t out_stride, int n_cols,
                     const int vectors, const int rows) {
    const float *row[TALL_ROWS];
    const vf bias[2] = {vload(panel), vload(panel + VW)};
    vf sum[TALL_ROWS][2];
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
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = vmax(sum[i][j], floor);
        tile_store(out + i * out_stride, sum[i], n_cols, vectors);
    }
}

#ifdef HAVE_HALF
/* `rows` pairs of positions that lie side by side: a vector has the columns of both. */
INLINE void twin_tile(const float *x, const int32_t *position, const int32_t *tap, int n_taps,
                      const float *panel, vf floor, float *out, ptrdiff_t out_stride, int n_cols,
                      const int vectors, const int rows) {
    const float *row[TALL_ROWS];
    vf sum[TALL_ROWS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        row[i] = x + position[2 * i];
        sum[i] = htwice(panel);
    }
    const float *w = panel + PANEL_COLS;
    for (int t = 0; t < n_taps; t++, w += PANEL_COLS) {
        const ptrdiff_t k = tap[t];
        const vf weight = htwice(w);
        UNROLL
        for (int i = 0; i < rows; i++) sum[i] = vfma(htwin(row[i] + k), weight, sum[i]);
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        const vf y = vmax(sum[i], floor);
        const hf both[2] = {hlow(y), hhigh(y)};
        half_tile_store(out + (2 * i) * out_stride, both, n_cols, vectors);
        half_tile_store(out + (2 * i + 1) * out_stride, both + 1, n_cols, vectors);
    }
}

static int are_twins(const int32_t *position, int n) {
    int apart = n % 2;
    for (int i = 0; i + 1 < n; i += 2) apart |= position[i + 1] ^ (position[i] + 1);
    return !apart;
}
#endif

static void dot_panel(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *panel, int relu, float *out, ptrdiff_t out_stride,
                      int n_cols) {
    const vf floor = relu ? vzero() : vset(-__builtin_inff());
#ifdef HAVE_HALF
    if (n_cols <= VW / 2 && are_twins(position, n_positions)) {
        TILES(twin_tile, n_positions / 2, (position += 2 * rows, out += 2 * rows * out_stride), x,
              position, tap, n_taps, panel, floor, out, out_stride, n_cols)
        return;
    }
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
                       const float *dy, ptrdiff_t dy_stride, float *dw, ptrdiff_t dw_stride,
                       int n_cols, const int vectors, const int rows) {
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
    for (int i = 0; i < rows; i++) tile_add(dw + i * dw_stride, sum[i], n_cols, vectors);
}

static void outer_panel(const float *x, const int32_t *position, int n_positions,
                        const int32_t *tap, int n_taps, const float *dy, ptrdiff_t dy_stride,
                        float *dw, ptrdiff_t dw_stride, int n_cols) {
#ifdef HAVE_HALF
    if (n_cols <= VW / 2) {
        half_outer_panel(x, position, n_positions, tap, n_taps, dy, dy_stride, dw, dw_stride,
                         n_cols);
        return;
    }
#endif
    TILES(outer_tile, n_taps, (tap += rows, dw += rows * dw_stride), x, position, n_positions, tap,
          dy, dy_stride, dw, dw_stride, n_cols)
}

/* Whether a half vector follows the whole ones of a strip. */
#ifdef HAVE_HALF
#define ENDS_IN_HALF(rest) ((rest) == VW / 2)
#else
#define ENDS_IN_HALF(rest) 0
#endif

/* One strip of row_sum, `vectors` wide and half a one more if `half`, all of it in registers. */
INLINE void row_sum_strip(const float *rows, const mc_term *terms, int n, float *sum,
                          const int half, const int vectors) {
    vf acc[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vload(sum + j * VW);
#ifdef HAVE_HALF
    const int end = vectors * VW;
    hf last = half ? hload(sum + end) : hzero();
#else
    (void)half;
#endif
    for (int i = 0; i < n; i++) {
        const float *row = rows + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int j = 0; j < vectors; j++) acc[j] = vfma(v, vload(row + j * VW), acc[j]);
#ifdef HAVE_HALF
        if (half) last = hfma(hlow(v), hload(row + end), last);
#endif
    }
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(sum + j * VW, acc[j]);
#ifdef HAVE_HALF
    if (half) hstore(sum + end, last);
#endif
}

/* One strip of row_spread: the row stays in registers. */
INLINE void row_spread_strip(const float *row, const mc_term *terms, int n, float *sums,
                             const int half, const int vectors) {
    vf r[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) r[j] = vload(row + j * VW);
#ifdef HAVE_HALF
    const int end = vectors * VW;
    const hf last = half ? hload(row + end) : hzero();
#else
    (void)half;
#endif
    for (int i = 0; i < n; i++) {
        float *sum = sums + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int j = 0; j < vectors; j++) vstore(sum + j * VW, vfma(v, r[j], vload(sum + j * VW)));
#ifdef HAVE_HALF
        if (half) hstore(sum + end, hfma(hlow(v), last, hload(sum + end)));
#endif
    }
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
    for (int some; length >= VW; rows += some, sum += some, length -= some) {
        const int vectors = length / VW < SUM_VECTORS ? length / VW : SUM_VECTORS;
        some = vectors * VW;
        if (ENDS_IN_HALF(length - some)) { /* sums in the same order wherever rows are cut */
            STRIPS(row_sum_strip, SUM_VECTORS, vectors, rows, terms, n, sum, 1)
            return;
        }
        STRIPS(row_sum_strip, SUM_VECTORS, vectors, rows, terms, n, sum, 0)
    }
#ifdef HAVE_HALF
    if (length == VW / 2) {
        half_row_sum(rows, terms, n, sum, length);
        return;
    }
#endif
    if (length && has_vector)
        row_sum_tail(rows, terms, n, sum, length);
    else
        for (int i = 0; i < n; i++)
            for (int j = 0; j < length; j++) sum[j] += terms[i].value * rows[terms[i].offset + j];
}

INLINE void row_sums_strip(const float *rows, const mc_term *terms, const int32_t *start,
                           ptrdiff_t step, int n, float *sums, int length, const int vectors) {
    for (int i = 0; i < n; i++, start += step, sums += length)
        row_sum_strip(rows, terms + start[0], start[1] - start[0], sums, 0, vectors);
}

static void row_sums(const float *rows, const mc_term *terms, const int32_t *start, ptrdiff_t step,
                     int n, float *sums, int length) {
    for (int left = length / VW; left > 0;) {
        const int vectors = left < SUM_VECTORS ? left : SUM_VECTORS;
        STRIPS(row_sums_strip, SUM_VECTORS, vectors, rows, terms, start, step, n, sums, length)
        rows += vectors * VW;
        sums += vectors * VW;
        left -= vectors;
    }
}

/* Some rows of patch_sum, all of them in registers. The last vector of a row ends with the row and
 * may overlap the one before it: the lanes that they share hold the same sums. */
INLINE void patch_strip(const float *patches, const mc_term *terms, int n, ptrdiff_t row_stride,
                        float *sum, ptrdiff_t sum_stride, ptrdiff_t last, const int vectors,
                        const int rows) {
    vf acc[5][6];
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int j = 0; j < vectors; j++)
        acc[y][j] = vload(sum + y * sum_stride + (j < vectors - 1 ? j * VW : last));
    for (int i = 0; i < n; i++) {
        const float *patch = patches + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int y = 0; y < rows; y++) UNROLL
        for (int j = 0; j < vectors; j++)
            acc[y][j] = vfma(v, vload(patch + y * row_stride + (j < vectors - 1 ? j * VW : last)),
                             acc[y][j]);
    }
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int j = 0; j < vectors; j++)
        vstore(sum + y * sum_stride + (j < vectors - 1 ? j * VW : last), acc[y][j]);
}

/* The same for rows shorter than a vector: what is read beyond them is not kept. */
INLINE void patch_short_strip(const float *patches, const mc_term *terms, int n,
                              ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length,
                              const int rows) {
    vf acc[13];
    UNROLL
    for (int y = 0; y < rows; y++) acc[y] = vzero();
    for (int i = 0; i < n; i++) {
        const float *patch = patches + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int y = 0; y < rows; y++) acc[y] = vfma(v, vload(patch + y * row_stride), acc[y]);
    }
    UNROLL
    for (int y = 0; y < rows; y++) {
        float lanes[VW];
        vstore(lanes, acc[y]);
        for (int j = 0; j < length; j++) sum[y * sum_stride + j] += lanes[j];
    }
}

/* Rows of 1 to 6 vectors, in groups that leave no register idle: `strip` takes `some` of them,
 * `step` goes on. */
#ifndef ROW_GROUPS
#define ROW_CASE(strip, step, vectors, ...)                                                        \
    case vectors:                                                                                  \
        for (int groups = (rows + PATCH_ROWS(vectors) - 1) / PATCH_ROWS(vectors); groups > 0;      \
             groups--) {                                                                           \
            const int some = (rows + groups - 1) / groups;                                         \
            STRIPS(strip, PATCH_ROWS(vectors), some, __VA_ARGS__, vectors)                         \
            step;                                                                                  \
            rows -= some;                                                                          \
        }                                                                                          \
        break;
#define ROW_GROUPS(strip, step, ...)                                                               \
    ROW_CASE(strip, step, 1, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 2, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 3, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 4, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 5, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 6, __VA_ARGS__)
#ifndef PATCH_VECTORS
#define PATCH_VECTORS SUM_VECTORS
#endif
#define PATCH_ROWS(vectors) (PATCH_VECTORS / (vectors) < 5 ? PATCH_VECTORS / (vectors) : 5)
#endif

/* Longer rows one by one. */
static void patch_sum(const float *patches, const mc_term *terms, int n, int rows,
                      ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length) {
#ifdef HAVE_HALF
    if (HALF_PATCH(length)) {
        half_patch_sum(patches, terms, n, rows, row_stride, sum, sum_stride, length);
        return;
    }
#endif
    switch ((length + VW - 1) / VW * (length >= VW)) {
    case 0:
        for (int some; rows > 0; rows -= some) {
            some = rows < 5 ? rows : 5;
            STRIPS(patch_short_strip, 5, some, patches, terms, n, row_stride, sum, sum_stride,
                   length)
            patches += some * row_stride;
            sum += some * sum_stride;
        }
        break;
        ROW_GROUPS(patch_strip, (patches += some * row_stride, sum += some * sum_stride), patches,
                   terms, n, row_stride, sum, sum_stride, length - VW)
    default:
        for (int y = 0; y < rows; y++)
            row_sum(patches + y * row_stride, terms, n, sum + y * sum_stride, length);
    }
}

#ifndef HAVE_HALF
/* Some filters of winner_sum, `rows` short rows each, all of them in registers. */
INLINE void winner_strip(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                         const float *dy, const uint8_t *winner, int n_out, float *dw, int length,
                         const int rows, const int filters) {
    vf acc[SUM_VECTORS][5];
    UNROLL
    for (int f = 0; f < filters; f++) UNROLL
    for (int y = 0; y < rows; y++) acc[f][y] = vzero();
    for (int w = 0; w < n_windows; w++, position += 4, dy += n_out, winner += n_out) {
        UNROLL
        for (int f = 0; f < filters; f++) {
            const float *patch = x + position[winner[f]];
            const vf v = vset(dy[f]);
            UNROLL
            for (int y = 0; y < rows; y++) acc[f][y] = vfma(v, vload(patch + y * row), acc[f][y]);
        }
    }
    UNROLL
    for (int f = 0; f < filters; f++) UNROLL
    for (int y = 0; y < rows; y++, dw += length) {
        float lanes[VW];
        vstore(lanes, acc[f][y]);
        for (int j = 0; j < length; j++) dw[j] += lanes[j];
    }
}

#define WINNERS(rows)                                                                              \
    case rows:                                                                                     \
        for (int some; filters > 0; filters -= some) {                                             \
            some = filters < PATCH_VECTORS / rows ? filters : PATCH_VECTORS / rows;                \
            STRIPS(winner_strip, PATCH_VECTORS / rows, some, x, row, position, n_windows, dy,      \
                   winner, n_out, dw, length, rows)                                                \
            dy += some;                                                                            \
            winner += some;                                                                        \
            dw += some * rows * length;                                                            \
        }                                                                                          \
        break;

static void winner_sum(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                       const float *dy, const uint8_t *winner, int n_out, float *dw, int rows,
                       int length) {
    int filters = n_out;
    switch (length <= VW ? rows : 0) {
        WINNERS(3)
        WINNERS(5)
    default:
        for (int c = 0; c < n_out; c++, dy++, winner++, dw += rows * length)
            for (int w = 0; w < n_windows; w++)
                for (int i = 0; i < rows * length; i++)
                    dw[i] += dy[w * n_out] *
                             x[position[4 * w + winner[w * n_out]] + i / length * row + i % length];
    }
}
#endif

static void row_spread(const float *row, const mc_term *terms, int n, float *sums, int length) {
    for (int some; length >= VW; row += some, sums += some, length -= some) {
        const int vectors = length / VW < SUM_VECTORS ? length / VW : SUM_VECTORS;
        some = vectors * VW;
        if (ENDS_IN_HALF(length - some)) {
            STRIPS(row_spread_strip, SUM_VECTORS, vectors, row, terms, n, sums, 1)
            return;
        }
        STRIPS(row_spread_strip, SUM_VECTORS, vectors, row, terms, n, sums, 0)
    }
#ifdef HAVE_HALF
    if (length == VW / 2) {
        half_row_spread(row, terms, n, sums, length);
        return;
    }
#endif
    for (int i = 0; i < n; i++)
        for (int j = 0; j < length; j++) sums[terms[i].offset + j] += terms[i].value * row[j];
}

/* Some rows of patch_spread: all of them stay in registers, so that a list ends but once. */
INLINE void patch_spread_strip(const float *patch, const mc_term *terms, int n, float *sums,
                               ptrdiff_t sum_stride, const int vectors, const int rows) {
    vf r[5][6];
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int j = 0; j < vectors; j++) r[y][j] = vload(patch + (y * vectors + j) * VW);
    for (int i = 0; i < n; i++) {
        float *sum = sums + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int y = 0; y < rows; y++, sum += sum_stride) UNROLL
        for (int j = 0; j < vectors; j++)
            vstore(sum + j * VW, vfma(v, r[y][j], vload(sum + j * VW)));
    }
}

static void patch_spread(const float *patch, int rows, const mc_term *terms, int n, float *sums,
                         ptrdiff_t sum_stride, int length) {
#ifdef HAVE_HALF
    if (length % VW == VW / 2) {
        half_patch_spread(patch, rows, terms, n, sums, sum_stride, length);
        return;
    }
#endif
    switch (length % VW ? 0 : length / VW) {
        ROW_GROUPS(patch_spread_strip, (patch += some * length, sums += some * sum_stride), patch,
                   terms, n, sums, sum_stride)
    default:
        for (int y = 0; y < rows; y++)
            row_spread(patch + y * length, terms, n, sums + y * sum_stride, length);
    }
}

/* Column sums of n rows, `vectors` wide. */
INLINE void column_strip(const float *x, int n, ptrdiff_t stride, float *sum, const int vectors) {
    vf acc[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vload(sum + j * VW);
    for (int p = 0; p < n; p++, x += stride) UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vadd(acc[j], vload(x + j * VW));
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(sum + j * VW, acc[j]);
}

static void column_strips(const float *x, int n, ptrdiff_t stride, float *sum, int vectors) {
    for (int some; vectors > 0; vectors -= some, x += some * VW, sum += some * VW) {
        some = vectors < SUM_VECTORS ? vectors : SUM_VECTORS;
        STRIPS(column_strip, SUM_VECTORS, some, x, n, stride, sum)
    }
}

/* Rows narrower than a vector are taken VW at a time, side by side. */
static void column_sums(const float *x, int n, int n_cols, float *sum) {
    const int narrow = n_cols < VW, blocks = narrow ? n / VW : n,
              width = n_cols * (narrow ? VW : 1);
    float part[VW * VW];
    if (narrow) memset(part, 0, (size_t)width * sizeof(float));
    column_strips(x, blocks, width, narrow ? part : sum, width / VW);
    for (int i = 0; narrow && i < width; i++) sum[i % n_cols] += part[i];
    for (int p = narrow ? blocks * VW : 0; p < n; p++)
        for (int c = narrow ? 0 : n_cols / VW * VW; c < n_cols; c++) sum[c] += x[p * n_cols + c];
}

typedef int32_t vi __attribute__((vector_size(4 * VW)));
#ifndef vbytes_store
typedef uint8_t vbytes __attribute__((vector_size(VW)));

INLINE void vbytes_store(uint8_t *bytes, vi v) {
    const vbytes b = __builtin_convertvector(v, vbytes);
    memcpy(bytes, &b, VW);
}
#endif

/* The largest of four values, and which it is (the first of equals). */
INLINE vf largest_of(vf a, vf b, vf c, vf d, vi *index) {
    const vf ab = vmax(b, a), cd = vmax(d, c);
    const vi below = (vi)(cd > ab), q_ab = (vi)(b > a), q_cd = (vi)(d > c) - 2;
    *index = -((q_cd & below) | (q_ab & ~below));
    return vmax(cd, ab);
}

/* The same of vectors a row of a tile apart. */
INLINE vf pool_vector(const float *in, vi *index) {
    return largest_of(vload(in), vload(in + PANEL_COLS), vload(in + 2 * PANEL_COLS),
                      vload(in + 3 * PANEL_COLS), index);
}

/* Windows of up to `vectors` vectors. Where the results of one lie right before the next's, they
 * are stored as whole vectors, and what is too much is overwritten. */
INLINE void pool_strip(const float *in, int n_windows, int n_cols, vf floor, float *y,
                       uint8_t *winner, ptrdiff_t stride, const int vectors) {
    const int width = vectors * VW;
    int safe = n_cols == width ? n_windows : 0; /* windows with room for whole vectors */
    if (stride == n_cols && n_windows * n_cols > width)
        safe = (n_windows * n_cols - width) / n_cols + 1;
    for (int w = 0; w < n_windows; w++, in += 4 * PANEL_COLS, y += stride) {
        vf best[2];
        vi index[2];
        UNROLL
        for (int j = 0; j < vectors; j++)
            best[j] = vmax(pool_vector(in + j * VW, &index[j]), floor);
        tile_store(y, best, w < safe ? width : n_cols, vectors);
        if (!winner) continue;
        uint8_t edge[2 * VW], *to = w < safe ? winner : edge;
        UNROLL
        for (int j = 0; j < vectors; j++) vbytes_store(to + j * VW, index[j]);
        for (int c = 0; to == edge && c < n_cols; c++) winner[c] = edge[c];
        winner += stride;
    }
}

static void pool_windows(const float *in, int n_windows, int n_cols, int relu, float *y,
                         uint8_t *winner, ptrdiff_t stride) {
    const vf floor = relu ? vzero() : vset(-__builtin_inff());
#ifdef HAVE_HALF
    if (n_cols <= VW / 2) {
        half_pool_windows(in, n_windows, n_cols, relu, y, winner, stride);
        return;
    }
#endif
    if (n_cols > VW)
        pool_strip(in, n_windows, n_cols, floor, y, winner, stride, 2);
    else
        pool_strip(in, n_windows, n_cols, floor, y, winner, stride, 1);
}

#ifndef HALF
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
    float edge[PANEL_COLS] = {0};
    uint8_t edge_winner[PANEL_COLS] = {0};
    for (int w = 0; w < n_windows; w++, dy += stride, winner += stride, out += 4 * PANEL_COLS) {
        const float *g = dy;
        const uint8_t *index = winner;
        if (n_cols < PANEL_COLS) {
            for (int c = 0; c < n_cols; c++) edge[c] = dy[c];
            for (int c = 0; c < n_cols; c++) edge_winner[c] = winner[c];
            g = edge;
            index = edge_winner;
        }
        const vf g0 = vload(g), g1 = vload(g + VW);
        for (int q = 0; q < 4; q++) {
            vstore(out + q * PANEL_COLS, vpick(index, q, g0));
            vstore(out + q * PANEL_COLS + VW, vpick(index + VW, q, g1));
        }
    }
}
#endif
