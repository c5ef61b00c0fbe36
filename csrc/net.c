/* net.c - from a list of layers to a network: checks, counts, carves one block.
 *
 * Invariants: every size fits an int32 offset per image (MC_MOST_VALUES), so the offset tables
 * cannot overflow; nothing is written before every layer has been checked.
 */
#include "net.h"

#include <math.h>

#include "float_mode.h"
#include "rng.h"

enum {
    MC_MOST_LAYERS = 1000,
    MC_MOST_VALUES = 1 << 27, /* floats of one image anywhere in the network, and of one weight */
    MC_MOST_GROUPS = 1024,
};

static int small_enough(mc_shape s) {
    size_t size;
    return s.height > 0 && s.width > 0 && s.channels > 0 &&
           !__builtin_mul_overflow((size_t)s.height, (size_t)s.width, &size) &&
           !__builtin_mul_overflow(size, (size_t)s.channels, &size) && size <= MC_MOST_VALUES;
}

static int matrix_fits(const mc_op *op) {
    return (size_t)op->n_taps * (size_t)op->n_out <= MC_MOST_VALUES;
}

static int check_dense(mc_op *op) {
    const mc_layer *l = &op->layer;
    if (l->units < 1 || l->units > MC_MOST_VALUES) return 0;
    op->out = (mc_shape){1, 1, l->units};
    op->n_taps = op->group_in = (int)op->in_size;
    op->n_out = op->group_out = l->units;
    op->groups = 1;
    op->n_back_taps = l->units;
    op->n_weights = op->in_size * (size_t)l->units;
    op->n_biases = (size_t)l->units;
    op->wide = op->n_weights >= MC_WIDE_WEIGHTS;
    /* A block of rows is one table of positions, of its values and of its gradients. */
    const size_t most = INT32_MAX / MC_DENSE_ROWS;
    return matrix_fits(op) && op->in_size <= most && op->n_biases <= most;
}

static int check_conv(mc_op *op) {
    const mc_layer *l = &op->layer;
    const int kh = l->kernel_height, kw = l->kernel_width, same = l->same_padding != 0;
    const int depthwise = l->type == MC_DEPTHWISE_CONV2D;
    const int groups = depthwise ? op->in.channels : l->groups ? l->groups : 1;
    if (kh < 1 || kw < 1 || kh > 31 || kw > 31 || kh % 2 == 0 || kw % 2 == 0) return 0;
    op->n_out = depthwise ? op->in.channels : l->units;
    if (op->n_out < 1 || op->n_out > MC_MOST_VALUES) return 0;
    if (!depthwise && (groups < 1 || groups > MC_MOST_GROUPS)) return 0;
    if (op->in.channels % groups || op->n_out % groups) return 0;
    op->groups = groups;
    op->group_in = op->in.channels / groups;
    op->group_out = op->n_out / groups;
    op->pad_height = same ? kh / 2 : 0;
    op->pad_width = same ? kw / 2 : 0;
    op->padded = (mc_shape){op->in.height + 2 * op->pad_height, op->in.width + 2 * op->pad_width,
                            op->in.channels};
    op->conv_height = op->padded.height - kh + 1;
    op->conv_width = op->padded.width - kw + 1;
    if (op->conv_height < 1 || op->conv_width < 1) return 0;
    op->out = (mc_shape){op->conv_height, op->conv_width, op->n_out};
    op->back_pad_height = kh - 1 - op->pad_height;
    op->back_pad_width = kw - 1 - op->pad_width;
    op->back_padded = (mc_shape){op->conv_height + 2 * op->back_pad_height,
                                 op->conv_width + 2 * op->back_pad_width, op->n_out};
    op->n_taps = kh * kw * op->group_in;
    op->n_positions = op->conv_height * op->conv_width;
    if (!depthwise) {
        op->n_back_taps = kh * kw * op->group_out;
        op->n_back_positions = op->in.height * op->in.width;
    }
    op->n_weights = (size_t)op->n_taps * (size_t)op->n_out;
    op->n_biases = (size_t)op->n_out;
    return small_enough(op->padded) && small_enough(op->back_padded) && matrix_fits(op);
}

static int check_pool(mc_op *op) {
    const mc_layer *l = &op->layer;
    if (l->pool_size < 1 || l->pool_size > 15 || l->stride < 1 || l->stride > 15) return 0;
    if (op->in.height < l->pool_size || op->in.width < l->pool_size) return 0;
    op->out = (mc_shape){(op->in.height - l->pool_size) / l->stride + 1,
                         (op->in.width - l->pool_size) / l->stride + 1, op->in.channels};
    op->mask_size = mc_size(op->out);
    return 1;
}

/* Fill in what follows from the layer and its input shape; 0 if they do not fit. */
static int check_op(mc_op *op) {
    const mc_layer *l = &op->layer;
    op->in_size = mc_size(op->in);
    op->out = op->in;
    int good = l->activation >= MC_LINEAR && l->activation <= MC_SOFTMAX;
    switch (l->type) {
    case MC_DENSE:
        good = good && check_dense(op);
        break;
    case MC_CONV2D:
    case MC_DEPTHWISE_CONV2D:
        good = good && check_conv(op);
        break;
    case MC_MAX_POOL2D:
        good = good && check_pool(op);
        break;
    case MC_GLOBAL_AVERAGE_POOL2D:
        op->out = (mc_shape){1, 1, op->in.channels};
        break;
    case MC_BATCH_NORM:
        good = good && l->momentum >= 0.0f && l->momentum < 1.0f && l->epsilon > 0.0f &&
               l->activation != MC_SOFTMAX;
        op->n_weights = op->n_biases = (size_t)op->in.channels;
        break;
    case MC_DROPOUT:
        good = good && l->rate >= 0.0f && l->rate < 1.0f;
        op->mask_size = op->in_size;
        break;
    case MC_FLATTEN:
        op->out = (mc_shape){1, 1, (int)op->in_size};
        break;
    case MC_ACTIVATION:
        break;
    default:
        good = 0;
    }
    op->out_size = mc_size(op->out);
    return good && small_enough(op->out);
}

/* Largest of activated values = activated largest value, for every monotone activation. */
static int can_fuse(const mc_op *conv, const mc_layer *pool) {
    return conv->layer.type == MC_CONV2D && conv->groups == 1 &&
           conv->layer.activation != MC_SOFTMAX && !conv->fused_pool &&
           pool->type == MC_MAX_POOL2D && pool->pool_size == 2 && pool->stride == 2 &&
           conv->conv_height >= 2 && conv->conv_width >= 2;
}

static void fuse_pool(mc_op *op, const mc_kernels *k) {
    op->fused_pool = 1;
    op->grey = op->in.channels == 1 && op->n_out <= k->grey_filters;
    op->winograd = mc_winograd_fits(op);
    op->out = (mc_shape){op->conv_height / 2, op->conv_width / 2, op->n_out};
    op->out_size = op->mask_size = mc_size(op->out);
    op->n_positions = op->out.height * op->out.width * 4;
    /* In a first layer, rows of (kernel width x channels) must be worth a vector, or the filters
     * few. */
    op->by_filter = op->needs_dx || op->layer.kernel_width * op->in.channels >= k->lane ||
                    op->n_taps >= 2 * op->n_out;
    const size_t images = MC_WINNER_FLOATS / mc_size(op->padded);
    op->winner_images = images < 1 ? 1 : images < MC_WINNER_IMAGES ? (int)images : MC_WINNER_IMAGES;
    op->back_padded = op->padded;
    op->back_padded.channels = (op->in.channels + k->unit - 1) / k->unit * k->unit;
    op->n_back_taps = op->layer.kernel_height * op->layer.kernel_width * op->back_padded.channels;
    op->n_back_positions = op->n_positions;
    op->by_window = k->winner_spread_3x3 && op->layer.kernel_height == 3 &&
                    op->layer.kernel_width == 3 && op->back_padded.channels % k->lane == 0 &&
                    op->n_out >= MC_MANY_FILTERS;
}

/* A dense layer whose units would leave lanes of its weight gradient idle, unlike its inputs. */
static int is_narrow(const mc_op *op, int lane) {
    return !op->wide && op->n_out % lane && op->n_taps >= lane && op->n_taps >= op->n_out;
}

static mc_status plan(mc_shape input, const mc_layer *layers, int n_layers, const mc_kernels *k,
                      mc_op *ops, int *n_ops, int *bad) {
    mc_shape shape = input;
    int n = 0, has_parameters = 0; /* before the op at hand */
    *bad = -1;
    if (!small_enough(input)) return MC_BAD_SPEC;
    if (layers[0].type == MC_BATCH_NORM) { /* its statistics are made by the op before it */
        ops[n] = (mc_op){.layer = {.type = MC_ACTIVATION}, .in = shape};
        check_op(&ops[n++]);
    }
    for (int i = 0; i < n_layers; i++) {
        *bad = i;
        if (n && can_fuse(&ops[n - 1], &layers[i])) {
            fuse_pool(&ops[n - 1], k);
            shape = ops[n - 1].out;
            continue;
        }
        ops[n] = (mc_op){.layer = layers[i], .source = i, .in = shape, .winner_images = 1};
        if (!check_op(&ops[n])) return MC_BAD_SPEC;
        if (layers[i].type == MC_DENSE) ops[n].by_filter = is_narrow(&ops[n], k->lane);
        ops[n].needs_dx = has_parameters;
        has_parameters |= ops[n].n_weights > 0;
        shape = ops[n++].out;
    }
    *n_ops = n;
    return MC_OK;
}

static void place_parameters(mc_net *net) {
    for (int i = 0; i < net->n_ops; i++) {
        mc_op *op = &net->ops[i];
        op->weight = net->n_parameters;
        op->bias = op->weight + op->n_weights;
        net->n_parameters = op->bias + op->n_biases;
        op->state = net->n_state;
        if (op->layer.type == MC_BATCH_NORM) net->n_state += 2 * (size_t)op->in.channels;
        op->n_panels = op->groups * mc_panels_of(net, op->group_out);
        op->row_stride =
            (op->n_out + net->kernels->lane - 1) / net->kernels->lane * net->kernels->lane;
    }
}

/* Carve everything after the ops. Runs twice, see arena.h. */
static void lay_out(mc_net *net, mc_arena *arena) {
    net->parameters = mc_take_floats(arena, net->n_parameters);
    net->state = mc_take_floats(arena, net->n_state);
    for (int i = 0; i < net->n_ops; i++) {
        mc_op *op = &net->ops[i];
        op->taps = mc_take(arena, (size_t)op->n_taps, sizeof(int32_t));
        const size_t images = (size_t)op->winner_images;
        op->positions = mc_take(arena, images * (size_t)op->n_positions, sizeof(int32_t));
        const size_t back_taps = op->fused_pool ? 0 : (size_t)op->n_back_taps;
        op->back_taps = mc_take(arena, back_taps, sizeof(int32_t));
        op->back_positions = mc_take(arena, images * (size_t)op->n_back_positions, sizeof(int32_t));
        if (mc_has_matrix(op))
            op->panels = mc_take_floats(arena, (size_t)op->n_panels * mc_panel_floats(net, op));
        op->winograd_panels = mc_take_floats(arena, mc_winograd_floats(net, op));
        const size_t rows = ((size_t)op->n_taps + 1) * (size_t)op->row_stride;
        if (op->layer.type == MC_DENSE && rows <= MC_MOST_ROWS)
            op->rows = mc_take_floats(arena, rows);
    }
}

/* Offsets of (ky, kx, c) in an image whose rows have `row` floats; c runs over `channels`. */
static void fill_taps(int32_t *taps, int kh, int kw, int channels, int pixel, int row) {
    for (int y = 0; y < kh; y++)
        for (int x = 0; x < kw; x++)
            for (int c = 0; c < channels; c++) *taps++ = (int32_t)(y * row + x * pixel + c);
}

/* Window by window, so that the pooling finds its four together; in images of this shape. */
static void fill_windows(const mc_op *op, mc_shape image, int32_t *position) {
    const size_t size = mc_size(image);
    const int row = image.width * image.channels;
    for (int i = 0; i < op->winner_images; i++)
        for (int y = 0; y < op->out.height; y++)
            for (int x = 0; x < op->out.width; x++)
                for (int q = 0; q < 4; q++)
                    *position++ = (int32_t)((size_t)i * size) + (2 * y + q / 2) * row +
                                  (2 * x + q % 2) * image.channels;
}

static void fill_tables(mc_op *op) {
    const mc_layer *l = &op->layer;
    if (l->type == MC_DENSE) {
        for (int t = 0; t < op->n_taps; t++) op->taps[t] = t;
        for (int t = 0; t < op->n_back_taps; t++) op->back_taps[t] = t;
        return;
    }
    if (l->type != MC_CONV2D && l->type != MC_DEPTHWISE_CONV2D) return;
    const int c = op->in.channels, row = op->padded.width * c;
    fill_taps(op->taps, l->kernel_height, l->kernel_width, op->group_in, c, row);
    if (op->fused_pool) {
        fill_windows(op, op->padded, op->positions);
        fill_windows(op, op->back_padded, op->back_positions);
        return;
    }
    fill_taps(op->positions, op->conv_height, op->conv_width, 1, c, row);
    const int back_row = op->back_padded.width * op->n_out;
    if (op->n_back_taps)
        fill_taps(op->back_taps, l->kernel_height, l->kernel_width, op->group_out, op->n_out,
                  back_row);
    if (op->n_back_positions)
        fill_taps(op->back_positions, op->in.height, op->in.width, 1, op->n_out, back_row);
}

mc_status mc_net_create(mc_net **out, mc_shape input, const mc_layer *layers, int n_layers,
                        const mc_kernels *kernels, int *bad_layer) {
    *out = NULL;
    *bad_layer = -1;
    if (!layers || n_layers < 1 || n_layers > MC_MOST_LAYERS) return MC_BAD_ARGUMENT;
    mc_op *ops = calloc((size_t)n_layers + 1, sizeof *ops); /* the plan, before its size is known */
    if (!ops) return MC_NO_MEMORY;
    mc_net draft = {.kernels = kernels, .input = input, .ops = ops};
    mc_status status = plan(input, layers, n_layers, kernels, ops, &draft.n_ops, bad_layer);
    if (status == MC_OK) {
        place_parameters(&draft);
        mc_arena arena = {0};
        mc_take(&arena, 1, sizeof(mc_net));
        mc_take(&arena, (size_t)draft.n_ops, sizeof *ops);
        lay_out(&draft, &arena);
        mc_net *net = mc_arena_allocate(&arena, 0);
        status = net ? MC_OK : MC_NO_MEMORY;
        if (net) {
            arena = (mc_arena){.base = (char *)net};
            mc_take(&arena, 1, sizeof(mc_net));
            *net = draft;
            net->ops = mc_take(&arena, (size_t)draft.n_ops, sizeof *ops);
            memcpy(net->ops, ops, (size_t)draft.n_ops * sizeof *ops);
            lay_out(net, &arena);
            for (int i = 0; i < net->n_ops; i++) fill_tables(&net->ops[i]);
            net->n_inputs = mc_size(input);
            net->n_outputs = net->ops[net->n_ops - 1].out_size;
            net->version = 1;
            atomic_flag_clear(&net->busy);
            mc_net_initialize(net, 0);
            *out = net;
        }
    }
    free(ops);
    return status;
}

void mc_net_destroy(mc_net *net) {
    if (!net) return;
    mc_predictor_destroy(net->predictor);
    free(net);
}

float *mc_net_parameters(mc_net *net, size_t *count) {
    *count = net->n_parameters;
    return net->parameters;
}

float *mc_net_state(mc_net *net, size_t *count) {
    *count = net->n_state;
    return net->state;
}

void mc_net_touch(mc_net *net) {
    net->version++;
}

size_t mc_net_inputs(const mc_net *net) {
    return net->n_inputs;
}

size_t mc_net_outputs(const mc_net *net) {
    return net->n_outputs;
}

const mc_kernels *mc_net_kernels(const mc_net *net) {
    return net->kernels;
}

int mc_net_acquire(mc_net *net) {
    if (atomic_flag_test_and_set(&net->busy)) return 0;
    net->caller_mode = mc_enter_float_mode();
    return 1;
}

void mc_net_release(mc_net *net) {
    mc_put_float_mode(net->caller_mode);
    atomic_flag_clear(&net->busy);
}

/* Glorot and Bengio 2010: uniform within sqrt(6 / (in + out)); He et al. 2015 before relu: within
 * sqrt(6 / in). A batch normalisation between the matrix and its relu counts as relu. */
static float initial_limit(const mc_net *net, int i) {
    const mc_op *op = &net->ops[i];
    const mc_layer *l = &op->layer;
    const double area = l->type == MC_DENSE ? 1.0 : (double)l->kernel_height * l->kernel_width;
    const double fan_in = op->n_taps, fan_out = area * op->group_out;
    mc_activation activation = l->activation;
    if (activation == MC_LINEAR && i + 1 < net->n_ops &&
        (net->ops[i + 1].layer.type == MC_BATCH_NORM ||
         net->ops[i + 1].layer.type == MC_ACTIVATION))
        activation = net->ops[i + 1].layer.activation;
    return (float)sqrt(6.0 / (activation == MC_RELU ? fan_in : fan_in + fan_out));
}

void mc_net_initialize(mc_net *net, uint64_t seed) {
    for (int i = 0; i < net->n_ops; i++) {
        const mc_op *op = &net->ops[i];
        float *weight = net->parameters + op->weight, *bias = net->parameters + op->bias;
        memset(bias, 0, op->n_biases * sizeof(float));
        if (op->layer.type == MC_BATCH_NORM) {
            float *mean = net->state + op->state;
            for (int c = 0; c < op->in.channels; c++) {
                weight[c] = 1.0f;
                mean[c] = 0.0f;
                mean[op->in.channels + c] = 1.0f;
            }
        } else if (op->n_weights) {
            const float limit = initial_limit(net, i);
            mc_rng_uniform(seed, (uint64_t)op->source, weight, op->n_weights);
            for (size_t k = 0; k < op->n_weights; k++) weight[k] = limit * (2 * weight[k] - 1);
        }
    }
    mc_net_touch(net);
}

/* Up to MC_PACK_PANELS of them, row by row: what they take of a row lies side by side. */
static void pack_some(const mc_net *net, const mc_op *op, int first, int n) {
    const int cols = net->kernels->cols;
    const float *row = net->parameters + op->bias;
    float *panels = op->panels + (size_t)first * mc_panel_floats(net, op);
    mc_columns columns[MC_PACK_PANELS];
    for (int p = 0; p < n; p++) columns[p] = mc_panel_columns(net, op, first + p);
    for (int t = 0; t <= op->n_taps; t++, panels += cols) {
        float *panel = panels;
        for (int p = 0; p < n; p++, panel += mc_panel_floats(net, op)) {
            const int filled = columns[p].n;
            memcpy(panel, row + columns[p].first, (size_t)filled * sizeof(float));
            for (int c = filled; c < cols; c++) panel[c] = 0.0f;
        }
        row = net->parameters + op->weight + (size_t)t * (size_t)op->n_out;
    }
}

void mc_pack_panels(const mc_net *net, const mc_op *op, int first, int last) {
    for (int p = first; op->winograd && p < last; p++) mc_winograd_pack(net, op, p);
    for (int n; first < last; first += n) {
        n = last - first < MC_PACK_PANELS ? last - first : MC_PACK_PANELS;
        pack_some(net, op, first, n);
    }
}

void mc_net_pack(mc_net *net) {
    if (net->packed_version == net->version) return;
    for (int i = 0; i < net->n_ops; i++) {
        const mc_op *op = &net->ops[i];
        if (mc_has_matrix(op)) mc_pack_panels(net, op, 0, op->n_panels);
        if (op->rows) mc_pack_rows(net, op);
    }
    net->packed_version = net->version;
}
