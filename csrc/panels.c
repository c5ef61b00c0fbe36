/* panels.c - small dense layers whose values and weights stay packed.
 *
 * Values of a minibatch lie as dot_panel writes and outer_panel reads them: (panels, batch, cols),
 * columns beyond the layer's units zero. Weights are packed for both directions and updated in
 * place alike: the products and their order are the same, so they stay equal to the bit.
 */
#include "panels.h"

/* Floats of n columns in panels of `rows` rows. */
static size_t panel_floats(const mc_net *net, int n, size_t rows) {
    return (size_t)mc_whole(n, net->kernels->cols) * rows;
}

/* Columns of the panel that begins with column c of n, in whole vectors. */
static int columns_at(const mc_kernels *k, int n, int c) {
    const int left = mc_whole(n - c, k->lane);
    return left < k->cols ? left : k->cols;
}

mc_panels mc_panels_lay_out(const mc_net *net, size_t batch, int most, mc_arena *arena) {
    const int cols = net->kernels->cols, n = (int)batch;
    mc_panels p = {.net = net, .batch = batch};
    p.positions = mc_take(arena, batch, sizeof(int32_t));
    p.taps = mc_take(arena, (size_t)most, sizeof(int32_t));
    if (!arena->base) return p;
    for (int i = 0; i < n; i++) p.positions[i] = i * cols;
    for (int k = 0; k < most; k++) p.taps[k] = k / cols * n * cols + k % cols;
    return p;
}

size_t mc_panels_floats(const mc_panels *p, int n) {
    return panel_floats(p->net, n, p->batch);
}

float *mc_panels_take(const mc_panels *p, int n, mc_arena *arena) {
    const size_t size = mc_panels_floats(p, n);
    float *x = mc_take_floats(arena, size);
    if (arena->base) memset(x, 0, size * sizeof(float));
    return x;
}

void mc_panels_fill(const mc_panels *p, const float *x, int stride, int columns, int n,
                    float factor, float *panels) {
    const int cols = p->net->kernels->cols;
    for (int c0 = 0; c0 < columns; c0 += cols, panels += p->batch * (size_t)cols) {
        const int inside = columns - c0 < cols ? columns - c0 : cols;
        for (int i = 0; i < n; i++) {
            float *row = panels + i * cols;
            memcpy(row, x + i * stride + c0, (size_t)inside * sizeof(float));
            memset(row + inside, 0, (size_t)(cols - inside) * sizeof(float));
            for (int c = 0; factor != 1.0f && c < inside; c++) row[c] *= factor;
        }
    }
}

void mc_panels_read(const mc_panels *p, const float *panels, int columns, int n, float *x,
                    int stride) {
    const int cols = p->net->kernels->cols;
    for (int c0 = 0; c0 < columns; c0 += cols, panels += p->batch * (size_t)cols) {
        const size_t inside = (size_t)(columns - c0 < cols ? columns - c0 : cols);
        for (int i = 0; i < n; i++)
            memcpy(x + i * stride + c0, panels + i * cols, inside * sizeof(float));
    }
}

void mc_panels_add(const mc_panels *p, const float *x, int columns, int n, float *sum) {
    const mc_kernels *k = p->net->kernels;
    const size_t panel = p->batch * (size_t)k->cols;
    for (int c = 0; c < columns; c += k->cols, x += panel, sum += panel)
        k->add(sum, x, (size_t)(n * k->cols));
}

void mc_panels_activate(const mc_panels *p, const mc_op *op, int n, float *y) {
    const mc_kernels *k = p->net->kernels;
    for (int c = 0; c < op->n_out; c += k->cols, y += p->batch * (size_t)k->cols) {
        k->activate(op->layer.activation, y, (size_t)(n * k->cols), (size_t)k->cols);
        for (int i = 0; i < n; i++)
            for (int j = op->n_out - c; j < k->cols; j++) y[i * k->cols + j] = 0.0f;
    }
}

void mc_panels_deactivate(const mc_panels *p, const mc_op *op, const float *y, int n, float *dy) {
    const mc_kernels *k = p->net->kernels;
    const size_t panel = p->batch * (size_t)k->cols;
    for (int c = 0; c < op->n_out; c += k->cols, y += panel, dy += panel)
        k->deactivate(op->layer.activation, y, dy, (size_t)(n * k->cols), (size_t)k->cols);
}

mc_weights mc_weights_lay_out(const mc_net *net, const mc_op *op, int first, int n_in,
                              mc_arena *arena) {
    return (mc_weights){
        .op = op,
        .first = first,
        .n_in = n_in,
        .panels = mc_take_floats(arena, panel_floats(net, op->n_out, (size_t)n_in + 1)),
        .back = mc_take_floats(arena, panel_floats(net, n_in, (size_t)op->n_out + 1))};
}

void mc_weights_pack(const mc_weights *w, const mc_net *net) {
    const int cols = net->kernels->cols, n_out = w->op->n_out;
    const float *bias = net->parameters + w->op->bias;
    const float *weight = net->parameters + w->op->weight + (size_t)w->first * (size_t)n_out;
    memset(w->panels, 0, panel_floats(net, n_out, (size_t)w->n_in + 1) * sizeof(float));
    memset(w->back, 0, panel_floats(net, w->n_in, (size_t)n_out + 1) * sizeof(float));
    for (int c = 0; c < n_out; c++) {
        float *panel = w->panels + c / cols * (w->n_in + 1) * cols + c % cols;
        if (w->first == 0) panel[0] = bias[c];
        for (int k = 0; k < w->n_in; k++) {
            const float x = weight[k * n_out + c];
            panel[(k + 1) * cols] = x;
            w->back[(k / cols * (n_out + 1) + c + 1) * cols + k % cols] = x;
        }
    }
}

void mc_weights_unpack(const mc_weights *w, const mc_net *net) {
    const int cols = net->kernels->cols, n_out = w->op->n_out;
    float *weight = net->parameters + w->op->weight + (size_t)w->first * (size_t)n_out;
    for (int c = 0; c < n_out; c++) {
        const float *panel = w->panels + c / cols * (w->n_in + 1) * cols + c % cols;
        if (w->first == 0) net->parameters[w->op->bias + (size_t)c] = panel[0];
        for (int k = 0; k < w->n_in; k++) weight[k * n_out + c] = panel[(k + 1) * cols];
    }
}

static void multiply(const mc_panels *p, const float *x, int n_in, const float *panels, int n_out,
                     int n, float *y) {
    const mc_kernels *k = p->net->kernels;
    for (int c = 0; c < n_out; c += k->cols, y += p->batch * (size_t)k->cols) {
        k->dot_panel(x, p->positions, n, p->taps, n_in, panels, 0, y, k->cols,
                     columns_at(k, n_out, c));
        panels += (n_in + 1) * k->cols;
    }
}

void mc_weights_forward(const mc_panels *p, const mc_weights *w, const float *x, int n, float *y) {
    multiply(p, x, w->n_in, w->panels, w->op->n_out, n, y);
}

void mc_weights_backward(const mc_panels *p, const mc_weights *w, const float *dy, int n,
                         float *dx) {
    multiply(p, dy, w->op->n_out, w->back, w->n_in, n, dx);
}

/* panels = keep * panels + x' dy */
static void descend(const mc_panels *p, const float *x, int n_in, const float *dy, int n_out, int n,
                    float keep, float *panels) {
    const mc_kernels *k = p->net->kernels;
    for (int c = 0; c < n_out; c += k->cols, dy += p->batch * (size_t)k->cols) {
        float *weights = panels + k->cols;
        for (int i = 0; keep != 1.0f && i < n_in * k->cols; i++) weights[i] *= keep;
        k->outer_panel(x, p->positions, n, p->taps, n_in, dy, k->cols, 1, weights, k->cols,
                       columns_at(k, n_out, c));
        panels += (n_in + 1) * k->cols;
    }
}

void mc_weights_update(const mc_panels *p, const mc_weights *w, const float *x, const float *dy,
                       int n, float keep) {
    const int n_out = w->op->n_out, cols = p->net->kernels->cols;
    descend(p, x, w->n_in, dy, n_out, n, keep, w->panels);
    descend(p, dy, n_out, x, w->n_in, n, keep, w->back);
    for (int q = 0; w->first == 0 && q < w->op->n_panels; q++)
        p->net->kernels->column_sums(dy + (size_t)(q * cols) * p->batch, n, cols,
                                     w->panels + q * (w->n_in + 1) * cols);
}
