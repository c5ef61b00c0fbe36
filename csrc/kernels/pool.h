/* pool.h - the winners of 2x2 windows, and their gradients back in place. Part of tiles.h. */

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
