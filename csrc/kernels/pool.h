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

/* Some windows of a convolution, whose sums never leave the registers. */
INLINE void windows_tile(const float *x, const int32_t *position, const int32_t *window,
                         const int32_t *tap, int n_taps, const float *panel, vf floor, float *y,
                         uint8_t *winner, ptrdiff_t stride, int n_cols, int whole,
                         const int vectors, const int windows) {
    vf sum[TALL_ROWS][2];
    dot_sums(x, position, tap, n_taps, panel, sum, vectors, 4 * windows);
    UNROLL
    for (int i = 0; i < windows; i++) {
        const ptrdiff_t at = window[i] * stride;
        vf best[2];
        vi index[2];
        UNROLL
        for (int j = 0; j < vectors; j++)
            best[j] = vmax(largest_of(sum[4 * i][j], sum[4 * i + 1][j], sum[4 * i + 2][j],
                                      sum[4 * i + 3][j], &index[j]),
                           floor);
        store_window(best, index, window[i] < whole, y + at, winner ? winner + at : NULL, n_cols,
                     vectors);
    }
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
    const int width = n_cols > VW ? 2 * VW : VW, last = n_windows ? window[n_windows - 1] : -1;
    const int whole = whole_windows(last + 1, n_cols, stride, width);
    const int most = (n_cols > VW ? TILE_ROWS : TALL_ROWS) / 4;
    for (int left = n_windows, some; left > 0; left -= some, window += some, position += 4 * some) {
        some = left < most ? left : left < 2 * most ? (left + 1) / 2 : most;
        if (n_cols > VW)
            STRIPS(windows_tile, TILE_ROWS / 4, some, x, position, window, tap, n_taps, panel,
                   floor, y, winner, stride, n_cols, whole, 2)
        else
            STRIPS(windows_tile, TALL_ROWS / 4, some, x, position, window, tap, n_taps, panel,
                   floor, y, winner, stride, n_cols, whole, 1)
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
#endif
