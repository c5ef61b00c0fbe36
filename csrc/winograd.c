/* winograd.c - pooled 3x3 convolutions with 16 products a window instead of 36.
 *
 * Winograd's F(2x2, 3x3) makes four neighbouring outputs at once: just those that a 2x2
 * max-pooling takes together, so that they are never stored. Weights are transformed when they are
 * packed, 16 panels of (1 + channels, cols) for each panel of filters, the first row zero; then
 * blocks of windows are transformed, multiplied by dot_panel, and transformed back into the
 * pooling. Factors are 1 and 1/2 only: rounding is that of a few more additions.
 */
#include "ops.h"

/* Where the products that are saved outweigh the transforms. */
int mc_winograd_fits(const mc_op *op) {
    return op->layer.type == MC_CONV2D && op->layer.kernel_height == 3 &&
           op->layer.kernel_width == 3 && op->in.channels >= 16 && op->n_out >= 16;
}

static size_t panel_floats(const mc_net *net, const mc_op *op) {
    return (size_t)(op->in.channels + 1) * (size_t)net->kernels->cols;
}

size_t mc_winograd_floats(const mc_net *net, const mc_op *op) {
    return op->winograd ? 16 * (size_t)op->n_panels * panel_floats(net, op) : 0;
}

/* G g G^T of n filters, side by side; g[ky * 3 + kx] are their weights of one channel. */
static void transform(const float *const g[9], int n, float *const u[16]) {
    for (int o = 0; o < n; o++) {
        float t[4][3];
        for (int x = 0; x < 3; x++) {
            const float a = g[x][o], b = g[3 + x][o], c = g[6 + x][o];
            t[0][x] = a;
            t[1][x] = 0.5f * (a + c + b);
            t[2][x] = 0.5f * (a + c - b);
            t[3][x] = c;
        }
        for (int y = 0; y < 4; y++) {
            const float a = t[y][0], b = t[y][1], c = t[y][2];
            u[4 * y][o] = a;
            u[4 * y + 1][o] = 0.5f * (a + c + b);
            u[4 * y + 2][o] = 0.5f * (a + c - b);
            u[4 * y + 3][o] = c;
        }
    }
}

void mc_winograd_pack(const mc_net *net, const mc_op *op, int panel) {
    const mc_columns columns = mc_panel_columns(net, op, panel);
    const int cols = net->kernels->cols, channels = op->in.channels;
    const size_t size = panel_floats(net, op);
    float *packed = op->winograd_panels + 16 * (size_t)panel * size;
    memset(packed, 0, 16 * size * sizeof(float));
    for (int c = 0; c < channels; c++) {
        const float *g[9];
        float *u[16];
        for (int k = 0; k < 9; k++)
            g[k] = net->parameters + op->weight + (size_t)(k * channels + c) * (size_t)op->n_out +
                   columns.first;
        for (int k = 0; k < 16; k++)
            u[k] = packed + (size_t)k * size + (size_t)(c + 1) * (size_t)cols;
        transform(g, columns.n, u);
    }
}

void mc_winograd_image(const mc_net *net, const mc_op *op, const mc_scratch *s, const float *image,
                       int relu, float *y, uint8_t *mask) {
    const mc_kernels *k = net->kernels;
    const int channels = op->in.channels, windows = op->n_positions / 4;
    const size_t size = panel_floats(net, op), n_out = (size_t)op->n_out;
    int32_t position[MC_WINOGRAD_WINDOWS];
    for (int w = 0; w < MC_WINOGRAD_WINDOWS; w++) position[w] = w * channels;
    for (int done = 0; done < windows; done += MC_WINOGRAD_WINDOWS) {
        const int left = windows - done,
                  n = left < MC_WINOGRAD_WINDOWS ? left : MC_WINOGRAD_WINDOWS;
        k->winograd_inputs(image, op->positions + 4 * done, n, op->padded.width * channels,
                           channels, s->winograd_in);
        for (int p = 0; p < op->n_panels; p++) {
            const mc_columns c = mc_panel_columns(net, op, p);
            const float *panels = op->winograd_panels + 16 * (size_t)p * size;
            for (size_t i = 0; i < 16; i++)
                k->dot_panel(s->winograd_in + i * (size_t)(n * channels), position, n, op->taps,
                             channels, panels + i * size, 0,
                             s->winograd_out + i * (size_t)(n * k->cols), k->cols, k->cols);
            const size_t at = (size_t)done * n_out + (size_t)c.first;
            k->winograd_windows(s->winograd_out, n,
                                op->panels + (size_t)p * mc_panel_floats(net, op), c.n, relu,
                                y + at, mask ? mask + at : NULL, op->n_out);
        }
    }
}
