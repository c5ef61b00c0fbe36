/* forward.c - each op's output from its input.
 *
 * Convolutions go panel by panel: all positions of an image against `cols` filters, so that the
 * packed weights of a panel stay in the first-level cache; a pooling that follows takes its four
 * candidates while they are in registers, and only winners are written.
 */
#include "ops.h"

#include <math.h>

void mc_carve(const mc_net *net, const mc_op *op, int training, mc_arena *arena, mc_scratch *s) {
    const size_t cols = (size_t)net->kernels->cols, n_out = (size_t)op->n_out;
    const mc_layer_type type = op->layer.type;
    *s = (mc_scratch){0};
    if (type == MC_DENSE) {
        s->terms = mc_take(arena, op->in_size + MC_MORE_TERMS, sizeof(mc_term));
        s->sums = mc_take_floats(arena, (size_t)op->row_stride);
    }
    if (type == MC_CONV2D || type == MC_DEPTHWISE_CONV2D) {
        const size_t images = training ? (size_t)op->winner_images : 1;
        s->padded = mc_take_floats(arena, images * mc_size(op->padded) + MC_SLACK);
        const size_t dx = mc_size(op->fused_pool ? op->back_padded : op->padded);
        s->dx_padded = mc_take_floats(arena, training ? images * dx : 0);
    }
    if (op->fused_pool) {
        const size_t places = (size_t)op->n_positions;
        s->ink_rows = mc_take(arena, (size_t)op->padded.height, sizeof(uint64_t));
        s->live = mc_take(arena, places / 4 + 1, sizeof(int32_t));
        s->live_places = mc_take(arena, places, sizeof(int32_t));
    }
    if (op->winograd) {
        const size_t values = 16 * (size_t)MC_WINOGRAD_WINDOWS;
        s->winograd_in = mc_take_floats(arena, values * (size_t)op->in.channels);
        s->winograd_out = mc_take_floats(arena, values * cols);
    }
    if (!training) return;
    s->dy_panel = mc_take_floats(arena, MC_DY_CHUNK * cols);
    if (op->by_filter && op->fused_pool) {
        const size_t windows = (size_t)(op->n_positions / 4 * op->winner_images);
        s->filter_terms = mc_take(arena, n_out * (windows + 1), sizeof(mc_term));
        s->filter_counts = mc_take(arena, n_out, sizeof(int32_t));
    }
    if (op->n_back_positions && !op->fused_pool)
        s->back_padded = mc_take_floats(arena, mc_size(op->back_padded));
}

size_t mc_scratch_bytes(const mc_net *net, int training) {
    size_t most = MC_ALIGN;
    for (int i = 0; i < net->n_ops; i++) {
        mc_arena arena = {0};
        mc_scratch s;
        mc_carve(net, &net->ops[i], training, &arena, &s);
        if (arena.overflow) return SIZE_MAX;
        if (arena.used > most) most = arena.used;
    }
    return most;
}

void mc_pad(const float *image, mc_shape shape, int pad_height, int pad_width, float *padded) {
    if (!pad_height && !pad_width) { /* a copy, and not row by row */
        memcpy(padded, image, mc_size(shape) * sizeof(float));
        return;
    }
    const size_t row = (size_t)shape.width * (size_t)shape.channels;
    const size_t side = (size_t)pad_width * (size_t)shape.channels;
    const size_t above = (size_t)pad_height * (row + 2 * side);
    memset(padded, 0, above * sizeof(float));
    padded += above;
    for (int y = 0; y < shape.height; y++, image += row) {
        memset(padded, 0, side * sizeof(float));
        memcpy(padded + side, image, row * sizeof(float));
        memset(padded + side + row, 0, side * sizeof(float));
        padded += row + 2 * side;
    }
    memset(padded, 0, above * sizeof(float));
}

const float *mc_pad_images(const mc_op *op, const float *images, size_t n, float *padded) {
    for (size_t i = 0; i < n; i++)
        mc_pad(images + i * op->in_size, op->in, op->pad_height, op->pad_width,
               padded + i * mc_size(op->padded));
    return padded;
}

/* Whole blocks of windows end within the rows; others are read beyond, where the copy has room. */
static const float *padded_input(const mc_op *op, const float *x, float *room) {
    const int ends_within = !op->grey || op->out.width % 4 == 0;
    if (!op->pad_height && !op->pad_width && ends_within) return x;
    mc_pad(x, op->in, op->pad_height, op->pad_width, room);
    return room;
}

void mc_dense_rows(const mc_net *net, const float *x, size_t in_size, const int32_t *taps,
                   int n_taps, const float *panels, int first_panel, int last_panel, int n_cols,
                   int relu, int n, float *y) {
    const mc_kernels *k = net->kernels;
    int32_t position[MC_DENSE_ROWS];
    for (int i = 0; i < MC_DENSE_ROWS; i++) position[i] = (int32_t)((size_t)i * in_size);
    for (int p = first_panel; p < last_panel; p++) {
        const int c0 = p * k->cols, cols = n_cols - c0 < k->cols ? n_cols - c0 : k->cols;
        const float *panel = panels + (size_t)p * (size_t)(n_taps + 1) * (size_t)k->cols;
        for (int done = 0; done < n; done += MC_DENSE_ROWS) {
            const int rows = n - done < MC_DENSE_ROWS ? n - done : MC_DENSE_ROWS;
            k->dot_panel(x + (size_t)done * in_size, position, rows, taps, n_taps, panel, relu,
                         y + (size_t)done * (size_t)n_cols + c0, n_cols, cols);
        }
    }
}

/* Row by row pays for few images (the weights are read once in the order in which they lie) and
 * for images that are mostly paper; of those a prediction has taken care (predict.c). A function of
 * the values alone, never of threads. */
static int prefers_sparse(const mc_run *run, const mc_op *op, const mc_values *v) {
    if (!op->rows) return 0;
    if (v->n < MC_FEW_IMAGES) return 1;
    if (op->needs_dx || !run->training) return 0;
    size_t nonzero = 0;
    const size_t total = (size_t)v->n * op->in_size;
    for (size_t i = 0; i < total; i++) nonzero += v->x[i] != 0.0f;
    return nonzero * 3 < total;
}

static void dense_forward(const mc_run *run, int index, const mc_values *v, int relu) {
    const mc_net *net = run->net;
    const mc_op *op = &net->ops[index];
    if (run->bf16) {
        mc_bf16_dense(run, index, v, 0, op->n_panels, relu);
    } else if (prefers_sparse(run, op, v)) {
        mc_sparse_images(run, op, v->x, relu, v->n, v->y);
    } else {
        mc_dense_rows(net, v->x, op->in_size, op->taps, op->n_taps, op->panels, 0, op->n_panels,
                      op->n_out, relu, v->n, v->y);
    }
}

/* More than half of the windows of a digit are paper. Looked for in grey images at most 64 pixels
 * wide, where it costs little. */
mc_live mc_live_windows(const mc_kernels *k, const mc_op *op, const float *image,
                        const mc_scratch *s) {
    const int kh = op->layer.kernel_height, kw = op->layer.kernel_width;
    const int width = op->padded.width;
    const int can = op->in.channels == 1 && width <= 64 && !op->needs_dx;
    int32_t *live = s->live;
    int n = 0;
    if (can) k->ink_rows(image, width, op->padded.height, s->ink_rows);
    const int columns = op->out.width;
    const uint64_t corners = can ? 0x5555555555555555u >> (64 - 2 * columns) : 0;
    for (int y = 0; y < op->out.height; y++) {
        uint64_t rows = 0, seen = 0;
        for (int i = 0; can && i <= kh; i++) rows |= s->ink_rows[2 * y + i];
        for (int i = 0; i <= kw; i++) seen |= rows >> i;
        if ((seen & corners) == corners) {
            for (int x = 0; x < columns; x++) live[n + x] = y * columns + x;
            n += columns;
            continue;
        }
        for (int x = 0; x < columns; x++) {
            live[n] = y * columns + x;
            n += seen >> 2 * x & 1;
        }
    }
    const mc_live all = {n, s->live, op->positions}, some = {n, s->live, s->live_places};
    if (4 * n == op->n_positions) return all;
    for (int i = 0; i < n; i++)
        memcpy(s->live_places + 4 * i, op->positions + 4 * s->live[i], 4 * sizeof(int32_t));
    return some;
}

/* One panel's columns of the pooled output: of the windows that are not live. */
static void blank_windows(const mc_op *op, const mc_live *live, const float *bias, int cols,
                          int relu, float *y, uint8_t *mask) {
    const size_t n_out = (size_t)op->n_out;
    if (4 * live->n == op->n_positions) return;
    float blank[MC_MAX_COLS];
    for (int c = 0; c < cols; c++) blank[c] = relu && bias[c] < 0.0f ? 0.0f : bias[c];
    for (int i = 0, w = 0; w < op->n_positions / 4; w++) {
        if (i < live->n && w == live->window[i]) {
            i++;
            continue;
        }
        memcpy(y + (size_t)w * n_out, blank, (size_t)cols * sizeof(float));
        if (mask) memset(mask + (size_t)w * n_out, 0, (size_t)cols);
    }
}

void mc_conv_image(const mc_run *run, const mc_op *op, const mc_scratch *s, const float *x,
                   const float *panels, int relu, float *y, uint8_t *mask) {
    const mc_kernels *k = run->net->kernels;
    const float *image = padded_input(op, x, s->padded);
    if (op->winograd && k->lane > 1) { /* the plain table stays plain */
        mc_winograd_image(run->net, op, s, image, relu, y, mask);
        return;
    }
    if (op->grey) {
        k->grey_windows(image, op->padded.width, op->layer.kernel_height, op->layer.kernel_width,
                        op->out.height, op->out.width, panels, op->n_out, relu, y, mask);
        return;
    }
    const mc_live live = op->fused_pool ? mc_live_windows(k, op, image, s) : (mc_live){0};
    for (int p = 0; p < op->n_panels; p++) {
        const mc_columns c = mc_panel_columns(run->net, op, p);
        const float *panel = panels + (size_t)p * mc_panel_floats(run->net, op);
        if (!op->fused_pool) {
            k->dot_panel(image + c.input, op->positions, op->n_positions, op->taps, op->n_taps,
                         panel, relu, y + c.first, op->n_out, c.n);
            continue;
        }
        uint8_t *winner = mask ? mask + c.first : NULL;
        k->dot_windows(image, live.position, live.window, live.n, op->taps, op->n_taps, panel, relu,
                       y + c.first, winner, op->n_out, c.n);
        blank_windows(op, &live, panel, c.n, relu, y + c.first, winner);
    }
}

static void depthwise_image(const mc_run *run, const mc_op *op, const mc_scratch *s, const float *x,
                            float *y) {
    const float *parameters = run->net->parameters;
    run->net->kernels->depthwise(padded_input(op, x, s->padded), op->positions, op->n_positions,
                                 op->taps, op->n_taps, parameters + op->weight,
                                 parameters + op->bias, op->n_out, y);
}

static void pool_image(const mc_kernels *k, const mc_op *op, const float *x, float *y,
                       uint8_t *mask) {
    const int stride = op->layer.stride, channels = op->in.channels;
    const int row = op->in.width * channels;
    for (int oy = 0; oy < op->out.height; oy++)
        for (int ox = 0; ox < op->out.width; ox++, y += channels) {
            k->max_pixel(x + oy * stride * row + ox * stride * channels, op->layer.pool_size, row,
                         channels, y, mask);
            if (mask) mask += channels;
        }
}

static void average_image(const mc_kernels *k, const mc_op *op, const float *x, float *y) {
    const int channels = op->in.channels, n = op->in.height * op->in.width;
    memset(y, 0, (size_t)channels * sizeof(float));
    k->column_sums(x, n, channels, y);
    for (int c = 0; c < channels; c++) y[c] /= (float)n;
}

static void norm_forward(const mc_run *run, int index, const mc_values *v, int relu) {
    const mc_net *net = run->net;
    const mc_op *op = &net->ops[index];
    const int channels = op->in.channels;
    const float *gamma = net->parameters + op->weight, *beta = net->parameters + op->bias;
    const size_t rows = (size_t)v->n * op->in_size / (size_t)channels;
    if (run->training) {
        const mc_norm *norm = &run->norms[index];
        net->kernels->norm_apply(v->x, norm->mean, norm->scale, beta, rows, (size_t)channels, relu,
                                 v->y);
        return;
    }
    const float *mean = net->state + op->state, *variance = mean + channels;
    /* More channels are seldom, and the scale needs no memory of the network's. */
    if (channels <= 1024) {
        float scale[1024];
        for (int c = 0; c < channels; c++)
            scale[c] = gamma[c] / sqrtf(variance[c] + op->layer.epsilon);
        net->kernels->norm_apply(v->x, mean, scale, beta, rows, (size_t)channels, relu, v->y);
        return;
    }
    for (size_t i = 0; i < rows * (size_t)channels; i++) {
        const size_t c = i % (size_t)channels;
        const float y =
            (v->x[i] - mean[c]) * (gamma[c] / sqrtf(variance[c] + op->layer.epsilon)) + beta[c];
        v->y[i] = relu && y < 0.0f ? 0.0f : y;
    }
}

/* The stream of random numbers is the step, the layer and the image's place in the minibatch. */
static void dropout_forward(const mc_run *run, int index, const mc_values *v) {
    const mc_op *op = &run->net->ops[index];
    const size_t size = op->in_size;
    if (!run->training) {
        memcpy(v->y, v->x, (size_t)v->n * size * sizeof(float));
        return;
    }
    for (size_t i = 0; i < (size_t)v->n; i++) {
        const uint64_t stream = run->step << 24 ^ (v->first + i) ^ (uint64_t)index << 56;
        run->net->kernels->dropout(v->x + i * size, size, op->layer.rate, run->seed, stream,
                                   v->y + i * size, v->mask + i * size);
    }
}

void mc_op_forward(const mc_run *run, int index, const mc_values *v, int raw) {
    const mc_net *net = run->net;
    const mc_op *op = &net->ops[index];
    const mc_layer_type type = op->layer.type;
    const mc_activation activation = raw ? MC_LINEAR : op->layer.activation;
    const int relu = activation == MC_RELU;
    const size_t in = op->in_size, out = op->out_size;
    mc_scratch s = {0};
    if (type == MC_CONV2D || type == MC_DEPTHWISE_CONV2D) s = mc_scratch_of(run, op);
    if (type == MC_DENSE) dense_forward(run, index, v, relu);
    const int rounds = run->bf16 && mc_rounds(op);
    if (type == MC_CONV2D && rounds) mc_bf16_conv(run, index, v, relu);
    if (type == MC_BATCH_NORM) norm_forward(run, index, v, relu);
    if (type == MC_DROPOUT) dropout_forward(run, index, v);
    if ((type == MC_FLATTEN || type == MC_ACTIVATION) && v->y != v->x)
        memcpy(v->y, v->x, (size_t)v->n * out * sizeof(float));
    for (size_t i = 0; i < (size_t)v->n; i++) {
        const float *x = v->x + i * in;
        float *y = v->y + i * out;
        uint8_t *mask = v->mask ? v->mask + i * op->mask_size : NULL;
        if (type == MC_CONV2D && !rounds) mc_conv_image(run, op, &s, x, op->panels, relu, y, mask);
        if (type == MC_DEPTHWISE_CONV2D) depthwise_image(run, op, &s, x, y);
        if (type == MC_MAX_POOL2D) pool_image(net->kernels, op, x, y, mask);
        if (type == MC_GLOBAL_AVERAGE_POOL2D) average_image(net->kernels, op, x, y);
    }
    const int done = relu && (type == MC_CONV2D || type == MC_DENSE || type == MC_BATCH_NORM);
    if (mc_has_activation(op) && !done)
        net->kernels->activate(activation, v->y, (size_t)v->n * out, (size_t)op->out.channels);
}
