/* pool.h - the winners of 2x2 windows, from a tile or right from a convolution's sums, and their
 * gradients back in place. Part of tiles.h.
 */

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

/* A window's results; `whole` where there is room for whole vectors. */
INLINE void store_window(const vf *best, const vi *index, int whole, float *y, uint8_t *winner,
                         int n_cols, const int vectors) {
    tile_store(y, best, whole ? vectors * VW : n_cols, vectors);
    if (!winner) return;
    uint8_t edge[2 * VW], *to = whole ? winner : edge;
    UNROLL
    for (int j = 0; j < vectors; j++) vbytes_store(to + j * VW, index[j]);
    for (int c = 0; !whole && c < n_cols; c++) winner[c] = edge[c];
}

/* How many of the first n windows have room for `width` floats: where the results of one lie right
 * before the next's, those overwrite what is too much. */
static inline int whole_windows(int n, int n_cols, ptrdiff_t stride, int width) {
    if (n_cols == width) return n;
    if (stride != n_cols || n * n_cols < width) return 0;
    return (n * n_cols - width) / n_cols + 1;
}

/* Windows of up to `vectors` vectors. */
INLINE void pool_strip(const float *in, int n_windows, int n_cols, vf floor, float *y,
                       uint8_t *winner, ptrdiff_t stride, const int vectors) {
    const int whole = whole_windows(n_windows, n_cols, stride, vectors * VW);
    for (int w = 0; w < n_windows; w++, in += 4 * PANEL_COLS, y += stride) {
        vf best[2];
        vi index[2];
        UNROLL
        for (int j = 0; j < vectors; j++)
            best[j] = vmax(pool_vector(in + j * VW, &index[j]), floor);
        store_window(best, index, w < whole, y, winner, n_cols, vectors);
        if (winner) winner += stride;
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

/* The taps of a convolution: runs of `run` values that lie side by side. What the second of two
 * positions side by side sees lies `shift` further on: of a run, `alone` are seen by the first
 * only, and as many by the second. */
typedef struct {
    const int32_t *tap;
    int n, run, shift, alone;
} window_taps;

static inline window_taps taps_of(const int32_t *position, const int32_t *tap, int n) {
    const int shift = position[1] - position[0];
    int run = 1;
    while (run < n && tap[run] == tap[0] + run) run++;
    return (window_taps){tap, n, run, shift, shift < run ? shift : run};
}

/* dot_sums for one vector and pairs of positions side by side, in the same order: a value that both
 * see is loaded once. A load for each multiply-add would take longer than those. */
INLINE void pair_sums(const float *x, const int32_t *position, const window_taps *t,
                      const float *panel, vf (*sum)[2], const int pairs) {
    const float *row[2 * WINDOWS];
    UNROLL
    for (int i = 0; i < pairs; i++) {
        row[i] = x + position[2 * i];
        sum[2 * i][0] = sum[2 * i + 1][0] = vload(panel);
    }
    const float *w = panel + PANEL_COLS;
    for (int first = 0; first < t->n; first += t->run) {
        const ptrdiff_t both = t->tap[first] + t->alone, last = t->tap[first] + t->run;
        for (ptrdiff_t at = t->tap[first]; at < both; at++, w += PANEL_COLS) {
            const vf weight = vload(w);
            UNROLL
            for (int i = 0; i < pairs; i++)
                sum[2 * i][0] = vfma(vset(row[i][at]), weight, sum[2 * i][0]);
        }
        for (ptrdiff_t at = both; at < last; at++, w += PANEL_COLS) {
            const vf weight[2] = {vload(w), vload(w - t->shift * PANEL_COLS)};
            UNROLL
            for (int i = 0; i < pairs; i++) {
                const vf v = vset(row[i][at]);
                sum[2 * i][0] = vfma(v, weight[0], sum[2 * i][0]);
                sum[2 * i + 1][0] = vfma(v, weight[1], sum[2 * i + 1][0]);
            }
        }
        const float *end = w - t->alone * PANEL_COLS;
        for (ptrdiff_t at = last - t->alone + t->shift; end < w; at++, end += PANEL_COLS) {
            const vf weight = vload(end);
            UNROLL
            for (int i = 0; i < pairs; i++)
                sum[2 * i + 1][0] = vfma(vset(row[i][at]), weight, sum[2 * i + 1][0]);
        }
    }
}

/* The results of some windows from the sums of their positions. */
INLINE void finish_windows(vf (*sum)[2], const int32_t *window, vf floor, float *y, uint8_t *winner,
                           ptrdiff_t stride, int n_cols, int whole, const int vectors,
                           const int windows) {
    UNROLL
    for (int i = 0; i < windows; i++, sum += 4) {
        const ptrdiff_t at = window[i] * stride;
        vf best[2];
        vi index[2];
        UNROLL
        for (int j = 0; j < vectors; j++)
            best[j] =
                vmax(largest_of(sum[0][j], sum[1][j], sum[2][j], sum[3][j], &index[j]), floor);
        store_window(best, index, window[i] < whole, y + at, winner ? winner + at : NULL, n_cols,
                     vectors);
    }
}

/* Some windows of a convolution, whose sums never leave the registers. */
INLINE void windows_tile(const float *x, const int32_t *position, const int32_t *window,
                         const window_taps *t, const float *panel, vf floor, float *y,
                         uint8_t *winner, ptrdiff_t stride, int n_cols, int whole,
                         const int vectors, const int windows) {
    vf sum[4 * WINDOWS][2];
    if (vectors == 1)
        pair_sums(x, position, t, panel, sum, 2 * windows);
    else
        dot_sums(x, position, t->tap, t->n, panel, sum, vectors, 4 * windows);
    if (winner)
        finish_windows(sum, window, floor, y, winner, stride, n_cols, whole, vectors, windows);
    else /* who has won is not looked for */
        finish_windows(sum, window, floor, y, NULL, stride, n_cols, whole, vectors, windows);
}

static void dot_windows(const float *x, const int32_t *position, const int32_t *window,
                        int n_windows, const int32_t *tap, int n_taps, const float *panel, int relu,
                        float *y, uint8_t *winner, ptrdiff_t stride, int n_cols) {
    const vf floor = relu ? vzero() : vset(-__builtin_inff());
#ifdef HAVE_HALF
    if (n_cols <= VW / 2) {
        half_dot_windows(x, position, window, n_windows, tap, n_taps, panel, relu, y, winner,
                         stride, n_cols);
        return;
    }
#endif
    if (!n_windows) return;
    const window_taps taps = taps_of(position, tap, n_taps);
    const int width = n_cols > VW ? 2 * VW : VW;
    const int whole = whole_windows(window[n_windows - 1] + 1, n_cols, stride, width);
    const int most = n_cols > VW ? WINDOWS / 2 : WINDOWS;
    for (int left = n_windows, some; left > 0; left -= some, window += some, position += 4 * some) {
        some = left < most ? left : left < 2 * most ? (left + 1) / 2 : most;
        if (n_cols > VW)
            STRIPS(windows_tile, WINDOWS / 2, some, x, position, window, &taps, panel, floor, y,
                   winner, stride, n_cols, whole, 2)
        else
            STRIPS(windows_tile, WINDOWS, some, x, position, window, &taps, panel, floor, y, winner,
                   stride, n_cols, whole, 1)
    }
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

/* Some channels of max_pixel, a vector of them or one by one. */
INLINE void max_vector(const float *x, int size, ptrdiff_t row, int channels, float *y,
                       uint8_t *winner) {
    vf best = vload(x);
    vi index = {0};
    for (int q = 1; q < size * size; q++) {
        const vf v = vload(x + q / size * row + q % size * channels);
        const vi better = (vi)(v > best);
        index = (index & ~better) | (q & better);
        best = vmax(v, best);
    }
    vstore(y, best);
    if (winner) vbytes_store(winner, index);
}

INLINE void max_value(const float *x, int size, ptrdiff_t row, int channels, float *y,
                      uint8_t *winner) {
    int best = 0;
    *y = *x;
    for (int q = 1; q < size * size; q++) {
        const float v = x[q / size * row + q % size * channels];
        best = v > *y ? q : best;
        *y = v > *y ? v : *y;
    }
    if (winner) *winner = (uint8_t)best;
}

INLINE void max_channels(const float *x, int size, ptrdiff_t row, int channels, float *y,
                         uint8_t *winner) {
    for (int c = 0, some; c < channels; c += some) {
        uint8_t *index = winner ? winner + c : NULL;
        some = channels - c < VW ? 1 : VW;
        if (some == VW)
            max_vector(x + c, size, row, channels, y + c, index);
        else
            max_value(x + c, size, row, channels, y + c, index);
    }
}

static void max_pixel(const float *x, int size, ptrdiff_t row, int channels, float *y,
                      uint8_t *winner) {
    if (winner)
        max_channels(x, size, row, channels, y, winner);
    else
        max_channels(x, size, row, channels, y, NULL);
}

static void max_pixel_gradient(const float *dy, const uint8_t *winner, int size, ptrdiff_t row,
                               int channels, float *dx) {
    const int whole = channels / VW * VW;
    for (int q = 0; q < size * size; q++) {
        float *pixel = dx + q / size * row + q % size * channels;
        for (int c = 0; c < whole; c += VW)
            vstore(pixel + c, vadd(vload(pixel + c), vpick(winner + c, q, vload(dy + c))));
        for (int c = whole; c < channels; c++) pixel[c] += winner[c] == q ? dy[c] : 0.0f;
    }
}
#endif
