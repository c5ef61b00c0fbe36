/* bf16.c - products of operands rounded to bf16.
 *
 * Rounded are the values and the weights that dense layers and convolutions multiply going
 * forward, the output gradients and weights that they multiply to get their input gradients, and
 * the values and output gradients of the weight gradients of convolutions. Everything else is
 * float32: sums, biases, weight gradients of dense layers and of a first convolution with a
 * pooling, depthwise convolutions and those in groups. Where the products are Winograd's
 * (winograd.c), it is their operands that are rounded, the transformed ones; tiles multiply faster
 * than those are transformed.
 *
 * An image is rounded once and read by many taps.
 */
#include "ops.h"

typedef struct {
    float *padded;  /* an image with its border */
    float *rounded; /* the same, or MC_DENSE_ROWS rows, as round_bf16 leaves them */
    float *tile;    /* (n_panels, 4 MC_POOL_WINDOWS, cols) before pooling */
    float *dy;      /* (winner_images, out_size): output gradients, rounded */
    /* Gradient of the weights: the rounded image in pairs, its table of positions (n_taps) and of
     * places, a panel of output gradients, and all of them packed. */
    float *pairs, *dy_panel, *dy_panels;
    int32_t *position, *place;
} bf16_scratch;

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* A pooled convolution that windows_bf16 takes. */
static int is_direct(const mc_net *net, const mc_op *op) {
    return net->kernels->windows_bf16 && op->fused_pool && op->in.channels % MC_TILE_WORDS == 0;
}

/* One whose runs of taps are too short for pairs: float32's loops, over rounded floats. */
static int takes_floats(const mc_op *op) {
    return op->fused_pool && op->in.channels == 1;
}

static int uses_winograd(const mc_net *net, const mc_op *op) {
    return op->winograd && !is_direct(net, op);
}

/* Positions of a convolution with each row made even. */
static int places_of(const mc_op *op) {
    return op->conv_height * ((op->conv_width + 1) / 2 * 2);
}

static void carve(const mc_net *net, const mc_op *op, mc_arena *arena, bf16_scratch *s) {
    const size_t cols = (size_t)net->kernels->cols;
    size_t padded = 0, rounded = 0, tile = 0, dy = 0, places = 0;
    if (op->fused_pool) {
        const size_t images = (size_t)op->winner_images, in = (size_t)op->in.channels;
        const int winograd = uses_winograd(net, op);
        const size_t windows = winograd ? 16 * MC_WINOGRAD_WINDOWS : 4 * MC_POOL_WINDOWS;
        const int has_tile = !is_direct(net, op) && !takes_floats(op);
        padded = mc_size(op->padded);
        rounded = larger(images * padded, winograd ? windows * in : 0);
        tile = has_tile ? windows * (size_t)op->n_panels * cols : 0;
        dy = images * op->out_size;
    } else if (op->layer.type == MC_CONV2D && mc_rounds(op)) {
        padded = rounded = larger(mc_size(op->padded), mc_size(op->back_padded));
        places = (size_t)places_of(op);
    } else if (op->layer.type == MC_DENSE) {
        rounded = MC_DENSE_ROWS * larger(op->in_size, op->out_size);
    }
    s->padded = mc_take_floats(arena, padded);
    s->rounded = mc_take_floats(arena, rounded + MC_SLACK);
    s->tile = mc_take_floats(arena, tile);
    s->dy = mc_take_floats(arena, dy);
    if (!places) return;
    s->pairs = mc_take_floats(arena, 2 * mc_size(op->padded));
    s->dy_panel = mc_take(arena, places + 1, cols * sizeof(float));
    s->dy_panels = mc_take(arena, (size_t)op->n_panels,
                           mc_bf16_panel_floats(net, (int)places) * sizeof(float));
    s->position = mc_take(arena, (size_t)op->n_taps, sizeof(int32_t));
    s->place = mc_take(arena, places, sizeof(int32_t));
}

static bf16_scratch scratch_of(const mc_run *run, const mc_op *op) {
    bf16_scratch s;
    mc_arena arena = {.base = run->bf16_scratch};
    carve(run->net, op, &arena, &s);
    return s;
}

size_t mc_bf16_scratch_bytes(const mc_net *net) {
    size_t most = MC_ALIGN;
    for (int i = 0; i < net->n_ops; i++) {
        mc_arena arena = {0};
        bf16_scratch s;
        carve(net, &net->ops[i], &arena, &s);
        if (arena.overflow) return SIZE_MAX;
        most = larger(most, arena.used);
    }
    return most;
}

/* ---- weights ---- */

size_t mc_bf16_panel_floats(const mc_net *net, int n_taps) {
    return ((size_t)n_taps + 1 + MC_BF16_PAD) * (size_t)net->kernels->cols;
}

/* Taps that lie side by side: those of a row of a kernel, or all of a dense layer. */
static int run_of(const mc_op *op, int n_taps, int channels) {
    return op->layer.type == MC_CONV2D ? op->layer.kernel_width * channels : n_taps;
}

static void pack(const mc_net *net, const float *panels, int n_taps, int run, int panel,
                 float *rounded) {
    const size_t floats = ((size_t)n_taps + 1) * (size_t)net->kernels->cols;
    net->kernels->pack_bf16(panels + (size_t)panel * floats, n_taps, run,
                            rounded + (size_t)panel * mc_bf16_panel_floats(net, n_taps));
}

size_t mc_bf16_panels_floats(const mc_net *net, const mc_op *op) {
    return (size_t)op->n_panels * (uses_winograd(net, op)
                                       ? 16 * mc_bf16_panel_floats(net, op->in.channels)
                                       : mc_bf16_panel_floats(net, op->n_taps));
}

size_t mc_bf16_back_floats(const mc_net *net, const mc_op *op) {
    if (op->fused_pool) return mc_back_floats(net, op);
    return (size_t)mc_back_parts(net, op) * mc_bf16_panel_floats(net, op->n_back_taps);
}

/* The biases as they are, and the weights as rounded floats. */
static void pack_floats(const mc_net *net, const mc_op *op, int panel, float *rounded) {
    const size_t cols = (size_t)net->kernels->cols, floats = mc_panel_floats(net, op);
    const float *from = op->panels + (size_t)panel * floats;
    float *to = rounded + (size_t)panel * floats;
    memcpy(to, from, cols * sizeof(float));
    net->kernels->round_floats(from + cols, floats - cols, to + cols);
}

static void pack_winograd(const mc_net *net, const mc_op *op, int panel, float *rounded) {
    const int channels = op->in.channels;
    const size_t floats = ((size_t)channels + 1) * (size_t)net->kernels->cols;
    for (int i = 0; i < 16; i++) {
        const int from = 16 * panel + i, to = i * op->n_panels + panel;
        net->kernels->pack_bf16(op->winograd_panels + (size_t)from * floats, channels, channels,
                                rounded + (size_t)to * mc_bf16_panel_floats(net, channels));
    }
}

void mc_bf16_pack(const mc_net *net, const mc_op *op, int panel, const mc_bf16 *weights) {
    if (takes_floats(op))
        pack_floats(net, op, panel, weights->panels);
    else if (uses_winograd(net, op))
        pack_winograd(net, op, panel, weights->panels);
    else
        pack(net, op->panels, op->n_taps, run_of(op, op->n_taps, op->in.channels), panel,
             weights->panels);
}

void mc_bf16_pack_back(const mc_net *net, const mc_op *op, int part, const float *back,
                       const mc_bf16 *weights) {
    if (op->fused_pool) {
        net->kernels->round_floats(back, mc_back_floats(net, op), weights->back);
        return;
    }
    pack(net, back, op->n_back_taps, run_of(op, op->n_back_taps, op->n_out), part, weights->back);
}

/* ---- dense layers ---- */

/* y (n, n_cols), columns of panels first .. last, of n rows of x; `product` has taps, weights and
 * what else does not depend on the rows. */
static void dense_rows(const mc_run *run, const mc_op *op, mc_product product, const float *x,
                       int n, int first, int last, float *y) {
    const mc_kernels *k = run->net->kernels;
    const bf16_scratch s = scratch_of(run, op);
    const size_t in_size = (size_t)product.n_taps, n_cols = (size_t)product.n_cols;
    const size_t c0 = (size_t)first * (size_t)k->cols;
    int32_t position[MC_DENSE_ROWS];
    for (int i = 0; i < MC_DENSE_ROWS; i++) position[i] = (int32_t)((size_t)i * in_size);
    product.x = s.rounded;
    product.position = position;
    product.run = product.n_taps;
    product.panels += (size_t)first * mc_bf16_panel_floats(run->net, product.n_taps);
    product.n_panels = last - first;
    product.n_cols = (int)(n_cols - c0);
    product.out_stride = (ptrdiff_t)n_cols;
    product.out_panel = k->cols;
    k->begin_bf16();
    for (int done = 0; done < n; done += MC_DENSE_ROWS) {
        product.n_positions = n - done < MC_DENSE_ROWS ? n - done : MC_DENSE_ROWS;
        product.out = y + (size_t)done * n_cols + c0;
        k->round_bf16(x + (size_t)done * in_size, (size_t)product.n_positions * in_size, s.rounded);
        k->dot_bf16(&product);
    }
    k->end_bf16();
}

void mc_bf16_dense(const mc_run *run, int index, const mc_values *v, int first_panel,
                   int last_panel, int relu) {
    const mc_op *op = &run->net->ops[index];
    const mc_product product = {.tap = op->taps,
                                .n_taps = op->n_taps,
                                .panels = run->bf16[index].panels,
                                .n_cols = op->n_out,
                                .relu = relu};
    dense_rows(run, op, product, v->x, v->n, first_panel, last_panel, v->y);
}

void mc_bf16_dense_dx(const mc_run *run, int index, const mc_values *v, int first_part,
                      int last_part) {
    const mc_op *op = &run->net->ops[index];
    const mc_product product = {.tap = op->back_taps,
                                .n_taps = op->n_back_taps,
                                .panels = run->bf16[index].back,
                                .n_cols = (int)op->in_size};
    dense_rows(run, op, product, v->dy, v->n, first_part, last_part, v->dx);
}

/* ---- convolutions ---- */

/* The image inside its border. */
static const float *with_border(const float *image, mc_shape shape, int pad_height, int pad_width,
                                const bf16_scratch *s) {
    if (!pad_height && !pad_width) return image;
    mc_pad(image, shape, pad_height, pad_width, s->padded);
    return s->padded;
}

static void pooled_image(const mc_run *run, const mc_op *op, mc_product product,
                         const bf16_scratch *s, float *y, uint8_t *mask) {
    const mc_kernels *k = run->net->kernels;
    const int windows = op->n_positions / 4, relu = product.relu;
    product.relu = 0;
    product.out = s->tile;
    product.out_stride = k->cols;
    product.out_panel = 4 * MC_POOL_WINDOWS * (ptrdiff_t)k->cols;
    product.n_cols = (op->n_out + k->lane - 1) / k->lane * k->lane;
    for (int first = 0, n; first < windows; first += n) {
        n = windows - first < MC_POOL_WINDOWS ? windows - first : MC_POOL_WINDOWS;
        product.position = op->positions + 4 * first;
        product.n_positions = 4 * n;
        k->dot_bf16(&product);
        for (int p = 0; p < op->n_panels; p++) {
            const mc_columns c = mc_panel_columns(run->net, op, p);
            const size_t at = (size_t)first * (size_t)op->n_out + (size_t)c.first;
            k->pool_windows(s->tile + p * product.out_panel, n, c.n, relu, y + at,
                            mask ? mask + at : NULL, op->n_out);
        }
    }
}

/* The 16 products of a block of windows, all panels each. */
static void winograd_products(const mc_run *run, const mc_op *op, const bf16_scratch *s,
                              const float *panels, int windows) {
    const mc_kernels *k = run->net->kernels;
    const int channels = op->in.channels;
    int32_t position[MC_WINOGRAD_WINDOWS];
    mc_product product = {.x = s->rounded,
                          .position = position,
                          .tap = op->taps,
                          .n_positions = windows,
                          .n_taps = channels,
                          .run = channels,
                          .n_panels = op->n_panels,
                          .n_cols = op->n_panels * k->cols,
                          .out_stride = k->cols,
                          .out_panel = 16 * (ptrdiff_t)windows * k->cols};
    for (int i = 0; i < 16; i++) {
        for (int w = 0; w < windows; w++) position[w] = (i * windows + w) * channels;
        product.panels =
            panels + (size_t)(i * op->n_panels) * mc_bf16_panel_floats(run->net, channels);
        product.out = s->tile + (size_t)(i * windows * k->cols);
        k->dot_bf16(&product);
    }
}

static void winograd_image(const mc_run *run, const mc_op *op, const bf16_scratch *s,
                           const float *panels, const float *image, int relu, float *y,
                           uint8_t *mask) {
    const mc_kernels *k = run->net->kernels;
    const int channels = op->in.channels, windows = op->n_positions / 4;
    for (int done = 0; done < windows; done += MC_WINOGRAD_WINDOWS) {
        const int left = windows - done;
        const int n = left < MC_WINOGRAD_WINDOWS ? left : MC_WINOGRAD_WINDOWS;
        k->winograd_inputs_bf16(image, op->positions + 4 * done, n, op->padded.width * channels,
                                channels, s->rounded);
        winograd_products(run, op, s, panels, n);
        for (int p = 0; p < op->n_panels; p++) {
            const mc_columns c = mc_panel_columns(run->net, op, p);
            const size_t at = (size_t)done * (size_t)op->n_out + (size_t)c.first;
            k->winograd_windows(s->tile + (size_t)(p * 16 * n * k->cols), n,
                                op->panels + (size_t)p * mc_panel_floats(run->net, op), c.n, relu,
                                y + at, mask ? mask + at : NULL, op->n_out);
        }
    }
}

/* Some images at a time: weights and tiles are made ready once for them. */
static void direct_images(const mc_run *run, const mc_op *op, mc_product product,
                          const bf16_scratch *s, const mc_values *v) {
    const mc_kernels *k = run->net->kernels;
    const size_t size = mc_size(op->padded), most = (size_t)op->winner_images;
    const int has_pad = op->pad_height || op->pad_width;
    float *room = mc_scratch_of(run, op).padded;
    for (size_t first = 0, n; first < (size_t)v->n; first += n) {
        n = (size_t)v->n - first < most ? (size_t)v->n - first : most;
        const float *images = v->x + first * op->in_size;
        if (has_pad) images = mc_pad_images(op, images, n, room);
        k->round_bf16(images, n * size, s->rounded);
        product.n_positions = (int)n * op->n_positions;
        product.out = v->y + first * op->out_size;
        k->windows_bf16(&product, op->out.width, v->mask ? v->mask + first * op->mask_size : NULL);
    }
}

static void float_images(const mc_run *run, int index, const mc_values *v, int relu) {
    const mc_op *op = &run->net->ops[index];
    const mc_scratch windows = mc_scratch_of(run, op);
    float *rounded = scratch_of(run, op).rounded;
    for (size_t i = 0; i < (size_t)v->n; i++) {
        run->net->kernels->round_floats(v->x + i * op->in_size, op->in_size, rounded);
        mc_conv_image(run, op, &windows, rounded, run->bf16[index].panels, relu,
                      v->y + i * op->out_size, v->mask ? v->mask + i * op->mask_size : NULL);
    }
}

static void one_image(const mc_run *run, const mc_op *op, mc_product product, const bf16_scratch *s,
                      const float *x, float *y, uint8_t *mask) {
    const mc_kernels *k = run->net->kernels;
    const float *image = with_border(x, op->in, op->pad_height, op->pad_width, s);
    if (uses_winograd(run->net, op)) {
        winograd_image(run, op, s, product.panels, image, product.relu, y, mask);
        return;
    }
    k->round_bf16(image, mc_size(op->padded), s->rounded);
    if (op->fused_pool) {
        pooled_image(run, op, product, s, y, mask);
        return;
    }
    product.out = y;
    k->dot_bf16(&product);
}

void mc_bf16_conv(const mc_run *run, int index, const mc_values *v, int relu) {
    const mc_kernels *k = run->net->kernels;
    const mc_op *op = &run->net->ops[index];
    if (takes_floats(op)) {
        float_images(run, index, v, relu);
        return;
    }
    const bf16_scratch s = scratch_of(run, op);
    const mc_product product = {.x = s.rounded,
                                .position = op->positions,
                                .tap = op->taps,
                                .n_positions = op->n_positions,
                                .n_taps = op->n_taps,
                                .run = run_of(op, op->n_taps, op->in.channels),
                                .panels = run->bf16[index].panels,
                                .n_panels = op->n_panels,
                                .n_cols = op->n_out,
                                .relu = relu,
                                .out_stride = op->n_out,
                                .out_panel = k->cols};
    k->begin_bf16();
    if (is_direct(run->net, op))
        direct_images(run, op, product, &s, v);
    else
        for (size_t i = 0; i < (size_t)v->n; i++)
            one_image(run, op, product, &s, v->x + i * op->in_size, v->y + i * op->out_size,
                      v->mask ? v->mask + i * op->mask_size : NULL);
    k->end_bf16();
}

void mc_bf16_conv_dx(const mc_run *run, int index, const float *dy, float *dx) {
    const mc_kernels *k = run->net->kernels;
    const mc_op *op = &run->net->ops[index];
    const bf16_scratch s = scratch_of(run, op);
    const mc_shape shape = {op->conv_height, op->conv_width, op->n_out};
    const mc_product product = {.x = s.rounded,
                                .position = op->back_positions,
                                .tap = op->back_taps,
                                .n_positions = op->n_back_positions,
                                .n_taps = op->n_back_taps,
                                .run = run_of(op, op->n_back_taps, op->n_out),
                                .panels = run->bf16[index].back,
                                .n_panels = mc_back_parts(run->net, op),
                                .n_cols = op->in.channels,
                                .out = dx,
                                .out_stride = op->in.channels,
                                .out_panel = k->cols};
    dy = with_border(dy, shape, op->back_pad_height, op->back_pad_width, &s);
    k->begin_bf16();
    k->round_bf16(dy, mc_size(op->back_padded), s.rounded);
    k->dot_bf16(&product);
    k->end_bf16();
}

/* Output gradients of panel q, as weights: (places, cols). */
static void pack_dy(const mc_run *run, const mc_op *op, const bf16_scratch *s, const float *dy,
                    int q) {
    const size_t cols = (size_t)run->net->kernels->cols, n_out = (size_t)op->n_out;
    const mc_columns columns = mc_panel_columns(run->net, op, q);
    const size_t bytes = (size_t)columns.n * sizeof(float);
    const int places = places_of(op), row = places / op->conv_height;
    memset(s->dy_panel, 0, ((size_t)places + 1) * cols * sizeof(float));
    for (int y = 0; y < op->conv_height; y++)
        for (int x = 0; x < op->conv_width; x++, dy += n_out)
            memcpy(s->dy_panel + ((size_t)(y * row + x) + 1) * cols, dy + columns.first, bytes);
    run->net->kernels->pack_bf16(s->dy_panel, places, 2,
                                 s->dy_panels + (size_t)q * mc_bf16_panel_floats(run->net, places));
}

/* The product that is summed over positions: taps and positions change places, and positions
 * come in pairs, so inputs have to lie in such pairs. */
void mc_bf16_conv_dw(const mc_run *run, int index, const float *image, const float *dy,
                     float *dweight) {
    const mc_kernels *k = run->net->kernels;
    const mc_op *op = &run->net->ops[index];
    const bf16_scratch s = scratch_of(run, op);
    const size_t size = mc_size(op->padded);
    const int places = places_of(op), row = places / op->conv_height;
    k->round_bf16(image, size, s.rounded);
    k->pair_bf16(s.rounded, size, (size_t)op->in.channels, s.pairs);
    for (int i = 0; i < places; i++)
        s.place[i] = 2 * op->positions[i / row * op->conv_width + i % row / 2 * 2] + i % 2;
    for (int t = 0; t < op->n_taps; t++) s.position[t] = 2 * op->taps[t];
    for (int q = 0; q < op->n_panels; q++) pack_dy(run, op, &s, dy, q);
    const mc_product product = {.x = s.pairs,
                                .position = s.position,
                                .tap = s.place,
                                .n_positions = op->n_taps,
                                .n_taps = places,
                                .run = 2,
                                .panels = s.dy_panels,
                                .n_panels = op->n_panels,
                                .n_cols = op->n_out,
                                .add = 1,
                                .out = dweight,
                                .out_stride = op->n_out,
                                .out_panel = k->cols};
    k->begin_bf16();
    k->dot_bf16(&product);
    k->end_bf16();
}

/* Row sums and spreads as in float32 (backward.c), of rounded rows and values. */
void mc_bf16_winners(const mc_run *run, int index, const float *images, int n, const float *dy,
                     const uint8_t *mask, float *dimages, float *dweight) {
    const mc_kernels *k = run->net->kernels;
    const mc_op *op = &run->net->ops[index];
    const mc_scratch s = mc_scratch_of(run, op);
    const bf16_scratch low = scratch_of(run, op);
    const int n_out = op->n_out, windows = n * op->n_positions / 4, kh = op->layer.kernel_height;
    const int length = op->layer.kernel_width * op->in.channels, stride = windows + 1;
    const ptrdiff_t row = op->padded.width * op->in.channels;
    const size_t size = (size_t)n * mc_size(op->padded);
    if (k->patch_sum_bf16)
        k->round_bf16(images, size, low.rounded);
    else
        k->round_floats(images, size, low.rounded);
    k->round_floats(dy, (size_t)n * op->out_size, low.dy);
    k->list_winners(low.dy, mask, n_out, windows, op->positions, s.filter_terms, stride,
                    s.filter_counts);
    for (int c = 0; c < n_out; c++) {
        mc_term *terms = s.filter_terms + c * stride;
        float *sum = dweight + (size_t)c * (size_t)op->n_taps;
        if (!k->patch_sum_bf16)
            k->patch_sum(low.rounded, terms, s.filter_counts[c], kh, row, sum, length, length);
        else if (s.filter_counts[c])
            k->patch_sum_bf16(low.rounded, terms, s.filter_counts[c], kh, row, sum, length, length);
    }
    mc_spread_winners(run, op, &s, low.dy, mask, windows, run->bf16[index].back, dimages);
}
