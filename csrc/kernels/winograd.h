/* winograd.h - the two transforms of F(2x2, 3x3) (Winograd 1980; Lavin and Gray, arXiv:1509.09308):
 * a 2x2 window of a 3x3 convolution from 16 products instead of 36. Over the macros of tiles.h.
 *
 * The products, 16 matrices of (windows, channels) x (channels, filters), are dot_panel's.
 */

/* One window's 4x4 pixels d of VW channels -> B^T d B. */
INLINE void winograd_input(const float *d, ptrdiff_t row, int channels, vf out[16]) {
    vf t[4][4];
    UNROLL
    for (int j = 0; j < 4; j++, d += channels) {
        const vf d0 = vload(d), d1 = vload(d + row);
        const vf d2 = vload(d + 2 * row), d3 = vload(d + 3 * row);
        t[0][j] = d0 - d2;
        t[1][j] = d1 + d2;
        t[2][j] = d2 - d1;
        t[3][j] = d1 - d3;
    }
    UNROLL
    for (int i = 0; i < 4; i++, out += 4) {
        out[0] = t[i][0] - t[i][2];
        out[1] = t[i][1] + t[i][2];
        out[2] = t[i][2] - t[i][1];
        out[3] = t[i][1] - t[i][3];
    }
}

/* The last vector of channels overlaps the one before it, where they are not a multiple. */
static void winograd_inputs(const float *x, const int32_t *position, int n_windows, ptrdiff_t row,
                            int channels, float *out) {
    const ptrdiff_t apart = (ptrdiff_t)n_windows * channels;
    for (int w = 0; w < n_windows; w++, position += 4, out += channels)
        for (int c = 0; c < channels; c += VW) {
            const int at = c + VW <= channels ? c : channels - VW;
            vf in[16];
            winograd_input(x + *position + at, row, channels, in);
            UNROLL
            for (int i = 0; i < 16; i++) vstore(out + i * apart + at, in[i]);
        }
}

/* A^T m A of one window: the largest of its four values, and which it is. */
INLINE vf winograd_output(const float *m, ptrdiff_t apart, vi *index) {
    vf t[2][4];
    UNROLL
    for (int j = 0; j < 4; j++, m += apart) {
        const vf m0 = vload(m), m1 = vload(m + 4 * apart);
        const vf m2 = vload(m + 8 * apart), m3 = vload(m + 12 * apart);
        t[0][j] = m0 + m1 + m2;
        t[1][j] = m1 - m2 - m3;
    }
    return largest_of(t[0][0] + t[0][1] + t[0][2], t[0][1] - t[0][2] - t[0][3],
                      t[1][0] + t[1][1] + t[1][2], t[1][1] - t[1][2] - t[1][3], index);
}

static void winograd_windows(const float *m, int n_windows, const float *bias, int n_cols, int relu,
                             float *y, uint8_t *winner, ptrdiff_t stride) {
    const vf floor = relu ? vzero() : vset(-__builtin_inff());
    const ptrdiff_t apart = (ptrdiff_t)n_windows * PANEL_COLS;
    for (int w = 0; w < n_windows; w++, m += PANEL_COLS, y += stride) {
        for (int c = 0; c < n_cols; c += VW) {
            const int n = n_cols - c < VW ? n_cols - c : VW;
            vi index;
            const vf best = winograd_output(m + c, apart, &index) + vload(bias + c);
            const vf floored = vmax(best, floor);
            tile_store(y + c, &floored, n, 1);
            if (!winner) continue;
            uint8_t edge[VW], *to = n == VW ? winner + c : edge;
            vbytes_store(to, index);
            for (int i = 0; to == edge && i < n; i++) winner[c + i] = edge[i];
        }
        if (winner) winner += stride;
    }
}
