/* backward.c - each op's gradients from the gradient of its output.
 *
 * A convolution has three ways to its gradients:
 *   - with a pooling behind it, one output in four carries gradient, and after relu many of those
 *     none: lists of the winners drive patch_sum and patch_spread, a quarter of the dense work or
 *     less (by_filter); of many filters, input gradients are made window by window (by_window);
 *   - the same in a first layer, whose rows of taps are too short for vectors: winner_sum_3x3, or
 *     winners are put back to their places and the dense loop runs;
 *   - otherwise dense: weight gradient as outer products over positions, input gradient as a
 *     convolution of the padded output gradient with the flipped weights.
 */
#include "ops.h"

size_t mc_back_floats(const mc_net *net, const mc_op *op) {
    if (!mc_has_matrix(op)) return 0;
    if (op->fused_pool) return (size_t)op->n_out * (size_t)op->n_back_taps;
    return (size_t)mc_back_parts(net, op) * (size_t)(op->n_back_taps + 1) *
           (size_t)net->kernels->cols;
}

int mc_back_parts(const mc_net *net, const mc_op *op) {
    if (!mc_has_matrix(op)) return 0;
    if (op->fused_pool) return 1;
    return op->groups * mc_panels_of(net, op->group_in);
}

/* For the winners (out, taps of filled pixels) or, by window, (channels / lane, out, 9, lane); else
 * panels over the input channels with taps (ky, kx, out), the kernel turned by half a circle. */
void mc_pack_back(const mc_net *net, const mc_op *op, int part, float *back) {
    const float *weight = net->parameters + op->weight;
    const int n_out = op->n_out, cols = net->kernels->cols;
    if (op->fused_pool) {
        /* A pixel's channels are in one block, or in blocks of a vector. */
        const int channels = op->in.channels, spots = op->n_taps / channels;
        const int block = op->by_window ? net->kernels->lane : op->back_padded.channels;
        memset(back, 0, mc_back_floats(net, op) * sizeof(float));
        for (int spot = 0; spot < spots; spot++)
            for (int c = 0; c < channels; c += block)
                net->kernels->transpose(weight + (spot * channels + c) * n_out, n_out,
                                        channels - c < block ? channels - c : block, n_out,
                                        back + c * n_out * spots + spot * block, spots * block);
        return;
    }
    const mc_columns columns = mc_back_columns(net, op, part);
    const int group_in = op->group_in, group_out = op->group_out, n = columns.n;
    const size_t c0 = (size_t)(columns.first % group_in);
    const int spots = op->n_back_taps / group_out; /* kernel height x width; 1 for a dense layer */
    float *panel = back + (size_t)part * (size_t)(op->n_back_taps + 1) * (size_t)cols;
    memset(panel, 0, (size_t)cols * sizeof(float)); /* no bias */
    panel += cols;
    for (int spot = 0; spot < spots; spot++, panel += group_out * cols) {
        const size_t tap = (size_t)(spots - 1 - spot) * (size_t)group_in + c0;
        net->kernels->transpose(weight + tap * (size_t)n_out + columns.input, n_out, n, group_out,
                                panel, cols);
        for (int o = 0; o < group_out; o++)
            for (int c = n; c < cols; c++) panel[o * cols + c] = 0.0f;
    }
}

/* n rows of n_cols columns for outer_panel, which reads whole panels: where they lie, or copied
 * into a zero-padded one, as they are anyway if `copy`. */
static const float *whole_columns(const mc_kernels *k, const float *dy, int n_cols, int n, int copy,
                                  ptrdiff_t *stride, float *panel) {
    const int cols = k->cols;
    if (n_cols == cols && !copy) return dy;
    float *row = panel;
    for (int p = 0; p < n; p++, dy += *stride, row += cols) {
        for (int c = 0; c < n_cols; c++) row[c] = dy[c];
        for (int c = n_cols; c < cols; c++) row[c] = 0.0f;
    }
    *stride = cols;
    return panel;
}

/* Rows far apart lie on more pages than a core knows by heart. It costs narrow tables most: their
 * tiles take fewer taps, so that they read the rows more often. */
void mc_dense_outer(const mc_net *net, const mc_op *op, const float *x, const float *dy, int n,
                    int first_tap, int last_tap, int panel, int add, float *dweight,
                    float *dy_panel) {
    enum { FAR = 500, WIDE = 32 };
    const mc_kernels *k = net->kernels;
    const mc_columns c = mc_panel_columns(net, op, panel);
    const int n_out = op->n_out, copy = n_out >= FAR && k->cols < WIDE;
    int32_t position[MC_DENSE_ROWS];
    for (int done = 0; done < n; done += MC_DENSE_ROWS) {
        const int rows = n - done < MC_DENSE_ROWS ? n - done : MC_DENSE_ROWS;
        for (int i = 0; i < rows; i++) position[i] = (int32_t)((size_t)i * op->in_size);
        ptrdiff_t stride = n_out;
        const float *columns = whole_columns(k, dy + (size_t)done * (size_t)n_out + c.first, c.n,
                                             rows, copy, &stride, dy_panel);
        k->outer_panel(x + (size_t)done * op->in_size, position, rows, op->taps + first_tap,
                       last_tap - first_tap, columns, stride, add || done,
                       dweight + (size_t)first_tap * (size_t)n_out + c.first, n_out, c.n);
    }
}

/* The same for all of dweight with inputs in the vectors' lanes: (out, taps), to the same bits. */
static void dense_by_filter(const mc_net *net, const mc_op *op, const mc_values *v,
                            float *x_panel) {
    const mc_kernels *k = net->kernels;
    const int n_out = op->n_out, inputs = op->n_taps;
    int32_t position[MC_DENSE_ROWS];
    for (int done = 0; done < v->n; done += MC_DENSE_ROWS) {
        const int rows = v->n - done < MC_DENSE_ROWS ? v->n - done : MC_DENSE_ROWS;
        const float *x = v->x + (size_t)done * op->in_size;
        for (int i = 0; i < rows; i++) position[i] = i * n_out;
        for (int first = 0; first < inputs; first += k->cols) {
            const int columns = inputs - first < k->cols ? inputs - first : k->cols;
            ptrdiff_t stride = inputs;
            const float *panel = whole_columns(k, x + first, columns, rows, 0, &stride, x_panel);
            k->outer_panel(v->dy + (size_t)done * (size_t)n_out, position, rows, op->taps, n_out,
                           panel, stride, 1, v->dweight + first, inputs, columns);
        }
    }
}

static void dense_backward(const mc_run *run, int index, const mc_values *v) {
    const mc_net *net = run->net;
    const mc_op *op = &net->ops[index];
    const mc_scratch s = mc_scratch_of(run, op);
    net->kernels->column_sums(v->dy, v->n, op->n_out, v->dbias);
    if (op->by_filter) dense_by_filter(net, op, v, s.dy_panel);
    for (int p = 0; !op->by_filter && p < op->n_panels; p++)
        mc_dense_outer(net, op, v->x, v->dy, v->n, 0, op->n_taps, p, 1, v->dweight, s.dy_panel);
    if (v->dx && run->bf16)
        mc_bf16_dense_dx(run, index, v, 0, mc_back_parts(net, op));
    else if (v->dx)
        mc_dense_rows(net, v->dy, op->out_size, op->back_taps, op->n_back_taps, run->back[index], 0,
                      mc_back_parts(net, op), (int)op->in_size, 0, v->n, v->dx);
}

static void conv_weight_dense(const mc_run *run, const mc_op *op, const mc_scratch *s,
                              const float *image, const float *dy, float *dweight) {
    const mc_kernels *k = run->net->kernels;
    for (int p = 0; p < op->n_panels; p++) {
        const mc_columns c = mc_panel_columns(run->net, op, p);
        for (int done = 0; done < op->n_positions; done += MC_DY_CHUNK) {
            const int left = op->n_positions - done, n = left < MC_DY_CHUNK ? left : MC_DY_CHUNK;
            ptrdiff_t stride = op->n_out;
            const float *panel = whole_columns(k, dy + (size_t)done * (size_t)op->n_out + c.first,
                                               c.n, n, 0, &stride, s->dy_panel);
            k->outer_panel(image + c.input, op->positions + done, n, op->taps, op->n_taps, panel,
                           stride, 1, dweight + c.first, op->n_out, c.n);
        }
    }
}

/* The same from the winners of a pooling, put back to their places. */
static void conv_weight_unpooled(const mc_run *run, const mc_op *op, const mc_scratch *s,
                                 const float *image, const float *dy, const uint8_t *mask,
                                 float *dweight) {
    const mc_kernels *k = run->net->kernels;
    const mc_live live = mc_live_windows(k, op, image, s);
    for (int p = 0; p < op->n_panels; p++) {
        const mc_columns c = mc_panel_columns(run->net, op, p);
        for (int first = 0, last; first < live.n; first = last) {
            last = mc_live_block(&live, first, MC_DY_CHUNK / 4);
            for (int i = first, end; i < last; i = end) {
                const size_t at = (size_t)live.window[i] * (size_t)op->n_out + (size_t)c.first;
                end = mc_live_run(&live, i, last);
                k->unpool_windows(dy + at, mask + at, op->n_out, end - i, c.n,
                                  s->dy_panel + (size_t)(4 * (i - first) * k->cols));
            }
            k->outer_panel(image, live.position + 4 * first, 4 * (last - first), op->taps,
                           op->n_taps, s->dy_panel, k->cols, 1, dweight + c.first, op->n_out, c.n);
        }
    }
}

/* The lists are those of the weight gradient where an image and its gradient have the same pixels.
 */
void mc_spread_winners(const mc_run *run, const mc_op *op, const mc_scratch *s, const float *dy,
                       const uint8_t *mask, int windows, const float *back, float *dimages) {
    const mc_kernels *k = run->net->kernels;
    const mc_shape image = op->back_padded;
    if (op->by_window) {
        k->winner_spread_3x3(dy, mask, op->n_out, windows, op->back_positions, back, dimages,
                             image.width * image.channels, image.channels);
        return;
    }
    if (image.channels != op->in.channels)
        k->list_winners(dy, mask, op->n_out, windows, op->back_positions, s->filter_terms,
                        windows + 1, s->filter_counts);
    for (int c = 0; c < op->n_out; c++)
        k->patch_spread(back + c * op->n_back_taps, op->layer.kernel_height,
                        s->filter_terms + c * (windows + 1), s->filter_counts[c], dimages,
                        image.width * image.channels, op->layer.kernel_width * image.channels);
}

/* Both gradients of n images from their winners. Lists of several images are longer, so that a
 * filter's sums come and go less often. */
static void conv_winners(const mc_run *run, const mc_op *op, const mc_scratch *s,
                         const float *images, int n, const float *dy, const uint8_t *mask,
                         const float *back, float *dimages, float *dweight) {
    const mc_kernels *k = run->net->kernels;
    const int n_out = op->n_out, windows = n * op->n_positions / 4, kh = op->layer.kernel_height;
    const int row = op->padded.width * op->in.channels;
    const int length = op->layer.kernel_width * op->in.channels;
    if (!dimages && length <= 8 && length <= k->lane && (kh == 3 || kh == 5)) {
        k->winner_sum(images, row, op->positions, windows, dy, mask, n_out, dweight, kh, length);
        return;
    }
    k->list_winners(dy, mask, n_out, windows, op->positions, s->filter_terms, windows + 1,
                    s->filter_counts);
    for (int c = 0; c < n_out; c++)
        k->patch_sum(images, s->filter_terms + c * (windows + 1), s->filter_counts[c], kh, row,
                     dweight + (size_t)c * (size_t)op->n_taps, length, length);
    if (dimages) mc_spread_winners(run, op, s, dy, mask, windows, back, dimages);
}

/* The first `channels` values of n pixels that have `filled`, by fours while there is room: what is
 * too much is overwritten. */
static void take_channels(const float *pixels, int n, int filled, int channels, float *out) {
    const int fours = (channels + 3) / 4 * 4;
    for (; n > 0; n--, pixels += filled, out += channels) {
        if (n * channels < fours)
            memcpy(out, pixels, (size_t)channels * sizeof(float));
        else
            for (int c = 0; c < channels; c += 4) memcpy(out + c, pixels + c, 4 * sizeof(float));
    }
}

/* An image without its border, of pixels that may be filled up to fours. */
static void unpad(const float *padded, mc_shape from, mc_shape shape, float *image) {
    const int row = from.width * from.channels;
    padded += (from.height - shape.height) / 2 * row;
    padded += (from.width - shape.width) / 2 * from.channels;
    for (int y = 0; y < shape.height; y++, padded += row, image += shape.width * shape.channels) {
        if (from.channels == shape.channels)
            memcpy(image, padded, (size_t)(shape.width * shape.channels) * sizeof(float));
        else
            take_channels(padded, shape.width, from.channels, shape.channels, image);
    }
}

static int is_grey_3x3(const mc_op *op) {
    return op->in.channels == 1 && op->layer.kernel_height == 3 && op->layer.kernel_width == 3;
}

/* n images of a convolution with a pooling, from the first on. */
static void pooled_backward(const mc_run *run, int index, const mc_values *v, size_t first,
                            size_t n) {
    const mc_net *net = run->net;
    const mc_kernels *k = net->kernels;
    const mc_op *op = &net->ops[index];
    const mc_scratch s = mc_scratch_of(run, op);
    const size_t size = mc_size(op->padded), back_size = mc_size(op->back_padded);
    const int has_pad = op->pad_height || op->pad_width;
    const float *images = v->x + first * op->in_size, *dy = v->dy + first * op->out_size;
    const uint8_t *mask = v->mask + first * op->mask_size;
    float *dx = v->dx ? v->dx + first * op->in_size : NULL;
    const int is_copy = has_pad || op->back_padded.channels != op->in.channels;
    float *dimages = dx && is_copy ? s.dx_padded : dx;
    /* The copy has room behind it, which short rows ask for. */
    if (has_pad || (op->by_filter && op->layer.kernel_width * op->in.channels < k->lane))
        images = mc_pad_images(op, images, n, s.padded);
    const int windows = (int)n * op->n_positions / 4;
    k->column_sums(dy, windows, op->n_out, v->dbias);
    if (dimages) memset(dimages, 0, n * back_size * sizeof(float));
    if (dimages && run->bf16)
        mc_bf16_winners(run, index, images, (int)n, dy, mask, dimages, v->dweight);
    else if (op->by_filter)
        conv_winners(run, op, &s, images, (int)n, dy, mask, run->back[index], dimages, v->dweight);
    else if (k->winner_sum_3x3 && is_grey_3x3(op))
        k->winner_sum_3x3(images, op->padded.width, op->positions, windows, dy, mask, op->n_out,
                          v->dweight);
    else
        for (size_t i = 0; i < n; i++)
            conv_weight_unpooled(run, op, &s, images + i * size, dy + i * op->out_size,
                                 mask + i * op->mask_size, v->dweight);
    for (size_t i = 0; i < n && dx && is_copy; i++)
        unpad(dimages + i * back_size, op->back_padded, op->in, dx + i * op->in_size);
}

static void conv_backward(const mc_run *run, int index, const mc_values *v, size_t i) {
    const mc_net *net = run->net;
    const mc_kernels *k = net->kernels;
    const mc_op *op = &net->ops[index];
    const mc_scratch s = mc_scratch_of(run, op);
    const float *image = v->x + i * op->in_size, *dy = v->dy + i * op->out_size;
    if (op->pad_height || op->pad_width) {
        mc_pad(image, op->in, op->pad_height, op->pad_width, s.padded);
        image = s.padded;
    }
    k->column_sums(dy, op->n_positions, op->n_out, v->dbias);
    float *dx = v->dx ? v->dx + i * op->in_size : NULL;
    const int rounds = run->bf16 && mc_rounds(op);
    if (rounds)
        mc_bf16_conv_dw(run, index, image, dy, v->dweight);
    else
        conv_weight_dense(run, op, &s, image, dy, v->dweight);
    if (!dx) return;
    if (rounds) {
        mc_bf16_conv_dx(run, index, dy, dx);
        return;
    }
    const mc_shape shape = {op->conv_height, op->conv_width, op->n_out};
    const float *gradient = dy;
    if (op->back_pad_height || op->back_pad_width) {
        mc_pad(dy, shape, op->back_pad_height, op->back_pad_width, s.back_padded);
        gradient = s.back_padded;
    }
    const int parts = mc_back_parts(net, op);
    for (int p = 0; p < parts; p++) {
        const mc_columns c = mc_back_columns(net, op, p);
        const float *panel =
            run->back[index] + (size_t)p * (size_t)(op->n_back_taps + 1) * (size_t)k->cols;
        k->dot_panel(gradient + c.input, op->back_positions, op->n_back_positions, op->back_taps,
                     op->n_back_taps, panel, 0, dx + c.first, op->in.channels, c.n);
    }
}

static void depthwise_backward(const mc_run *run, const mc_op *op, const mc_values *v, size_t i) {
    const mc_kernels *k = run->net->kernels;
    const mc_scratch s = mc_scratch_of(run, op);
    const int has_pad = op->pad_height || op->pad_width;
    const float *image = v->x + i * op->in_size, *dy = v->dy + i * op->out_size;
    if (has_pad) {
        mc_pad(image, op->in, op->pad_height, op->pad_width, s.padded);
        image = s.padded;
    }
    k->column_sums(dy, op->n_positions, op->n_out, v->dbias);
    float *dx = v->dx ? v->dx + i * op->in_size : NULL;
    float *dimage = dx && has_pad ? s.dx_padded : dx;
    if (dimage) memset(dimage, 0, mc_size(op->padded) * sizeof(float));
    k->depthwise_gradient(image, op->positions, op->n_positions, op->taps, op->n_taps,
                          run->net->parameters + op->weight, dy, op->n_out, v->dweight, dimage);
    if (dx && has_pad) unpad(dimage, op->padded, op->in, dx);
}

static void pool_backward(const mc_kernels *k, const mc_op *op, const float *dy,
                          const uint8_t *mask, float *dx) {
    const int stride = op->layer.stride, channels = op->in.channels;
    const int row = op->in.width * channels;
    memset(dx, 0, op->in_size * sizeof(float));
    for (int oy = 0; oy < op->out.height; oy++)
        for (int ox = 0; ox < op->out.width; ox++, dy += channels, mask += channels)
            k->max_pixel_gradient(dy, mask, op->layer.pool_size, row, channels,
                                  dx + oy * stride * row + ox * stride * channels);
}

static void average_backward(const mc_op *op, const float *dy, float *dx) {
    const size_t channels = (size_t)op->in.channels, n = op->in_size / channels;
    for (size_t c = 0; c < channels; c++) dx[c] = dy[c] / (float)n;
    for (size_t done = channels, some; done < op->in_size; done += some) {
        some = done < op->in_size - done ? done : op->in_size - done;
        memcpy(dx + done, dx, some * sizeof(float));
    }
}

static void norm_backward(const mc_run *run, int index, const mc_values *v) {
    const mc_op *op = &run->net->ops[index];
    const mc_norm *norm = &run->norms[index];
    const size_t channels = (size_t)op->in.channels;
    run->net->kernels->norm_gradient(v->x, v->dy, norm->mean, norm->scale, norm->b, norm->c,
                                     (size_t)v->n * op->in_size / channels, channels, v->dx);
}

void mc_op_backward(const mc_run *run, int index, const mc_values *v, int raw) {
    const mc_op *op = &run->net->ops[index];
    const mc_layer_type type = op->layer.type;
    const size_t total = (size_t)v->n * op->out_size;
    /* A normalisation's activation is taken off where its sums are made (norm.c). */
    if (!raw && type != MC_BATCH_NORM &&
        (mc_has_matrix(op) || type == MC_DEPTHWISE_CONV2D || type == MC_ACTIVATION))
        run->net->kernels->deactivate(op->layer.activation, v->y, v->dy, total,
                                      (size_t)op->out.channels);
    if (type == MC_DENSE) dense_backward(run, index, v);
    if ((type == MC_FLATTEN || type == MC_ACTIVATION) && v->dx && v->dx != v->dy)
        memcpy(v->dx, v->dy, total * sizeof(float));
    if (type == MC_DROPOUT && v->dx)
        run->net->kernels->dropout_gradient(v->dy, v->mask, total, op->layer.rate, v->dx);
    if (type == MC_BATCH_NORM && v->dx) norm_backward(run, index, v);
    const size_t n = (size_t)v->n, most = (size_t)op->winner_images;
    for (size_t i = 0; op->fused_pool && i < n; i += most)
        pooled_backward(run, index, v, i, n - i < most ? n - i : most);
    for (size_t i = 0; i < n; i++) {
        const float *dy = v->dy + i * op->out_size;
        float *dx = v->dx ? v->dx + i * op->in_size : NULL;
        if (type == MC_CONV2D && !op->fused_pool) conv_backward(run, index, v, i);
        if (type == MC_DEPTHWISE_CONV2D) depthwise_backward(run, op, v, i);
        if (type == MC_MAX_POOL2D && dx)
            pool_backward(run->net->kernels, op, dy, v->mask + i * op->mask_size, dx);
        if (type == MC_GLOBAL_AVERAGE_POOL2D && dx) average_backward(op, dy, dx);
    }
}
