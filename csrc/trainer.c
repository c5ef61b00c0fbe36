/* trainer.c - making a trainer: plan the stages and lanes, count, carve one block. */
#include "train.h"

static int plan_stages(const mc_net *net, mc_stage *stages) {
    int n = 0;
    for (int i = 0; i < net->n_ops; i++) {
        const int wide = net->ops[i].wide;
        const int starts = i == 0 || wide || net->ops[i - 1].wide || mc_is_norm(net, i);
        if (starts) {
            if (stages) stages[n] = (mc_stage){i, i + 1, wide};
            n++;
        } else if (stages) {
            stages[n - 1].last = i + 1;
        }
    }
    return n;
}

/* Whether the last layer's values before its activation, if it has one, are there for a loss. What
 * an earlier activation made is no logits, whatever it has passed through. */
static int has_logits(const mc_net *net, mc_loss loss) {
    const mc_op *last = &net->ops[net->n_ops - 1];
    const mc_layer_type type = last->layer.type;
    if (type == MC_FLATTEN || type == MC_GLOBAL_AVERAGE_POOL2D) {
        if (net->n_ops == 1) return 0;
        last--;
        while (loss != MC_MEAN_SQUARED_ERROR && last > net->ops && !mc_has_activation(last)) last--;
        return last->layer.activation == MC_LINEAR;
    }
    return type == MC_ACTIVATION || (mc_has_matrix(last) && !last->fused_pool);
}

/* The loss takes logits where its formula and the last activation belong together. */
static mc_status check_loss(const mc_net *net, const mc_train_spec *spec, int *raw) {
    const mc_op *last = &net->ops[net->n_ops - 1];
    const mc_activation activation = last->layer.activation;
    const int is_flat = last->out.height * last->out.width == 1;
    int fits = has_logits(net, spec->loss);
    *raw = 1;
    if (spec->loss == MC_SOFTMAX_CROSS_ENTROPY)
        fits = fits && is_flat && (activation == MC_SOFTMAX || activation == MC_LINEAR);
    else if (spec->loss == MC_SIGMOID_CROSS_ENTROPY)
        fits = fits && (activation == MC_SIGMOID || activation == MC_LINEAR);
    else if (spec->loss == MC_MEAN_SQUARED_ERROR)
        fits = fits && (activation != MC_SOFTMAX || is_flat);
    else
        fits = 0;
    return fits ? MC_OK : MC_BAD_ARGUMENT;
}

static int in_range(float value, float low, float high) {
    return value >= low && value <= high; /* false for NaN */
}

static mc_status check_spec(const mc_train_spec *s) {
    const int good =
        s->batch_size >= 1 && s->batch_size <= 1 << 20 &&
        in_range(s->label_smoothing, 0.0f, 0.9999999f) && in_range(s->momentum, 0.0f, 0.999999f) &&
        in_range(s->beta_1, 0.0f, 0.999999f) && in_range(s->beta_2, 0.0f, 0.9999999f) &&
        in_range(s->epsilon, 0.0f, 1.0f) && in_range(s->weight_decay, 0.0f, 1e6f) &&
        in_range(s->clip_norm, 0.0f, 1e30f) && in_range(s->ema_decay, 0.0f, 0.9999999f) &&
        (s->precision == MC_FLOAT32 || s->precision == MC_BF16) && s->optimizer >= MC_SGD &&
        s->optimizer <= MC_ADAMW && (!s->use_augment || !mc_augment_check(&s->augment, NULL, NULL));
    return good ? MC_OK : MC_BAD_ARGUMENT;
}

/* Floats of an op's gradient in a lane, in whole cache lines. */
static size_t lane_floats(const mc_op *op) {
    return mc_is_direct(op) ? 0 : (op->n_weights + op->n_biases + 15) & ~(size_t)15;
}

/* Lanes are many enough to feed the threads and few enough that their gradients, which are cleared
 * and added up in each step, stay small: from 8 lanes on, more of them are longer ones. */
static int plan_lanes(const mc_net *net, int batch_size, size_t *lane_size) {
    *lane_size = 0;
    for (int i = 0; i < net->n_ops; i++) {
        const mc_op *op = &net->ops[i];
        *lane_size += lane_floats(op);
    }
    int n = (batch_size + MC_LANE_IMAGES - 1) / MC_LANE_IMAGES;
    if (n > MC_LANES / 2) n = n / 2 > MC_LANES / 2 ? n / 2 : MC_LANES / 2;
    if (n > MC_LANES) n = MC_LANES;
    while (n > 4 && (size_t)n * *lane_size > (size_t)1 << 24) n /= 2; /* 64 MiB */
    return n;
}

static void lay_out_values(mc_trainer *t, mc_arena *arena) {
    const mc_net *net = t->net;
    const size_t slots = (size_t)t->n_slots;
    t->input = mc_take(arena, slots, net->n_inputs * sizeof(float));
    for (int i = 0; i < net->n_ops; i++) {
        const mc_op *op = &net->ops[i];
        const int counting = !arena->base;
        /* The same values in another shape; the last ones are the loss's to change. */
        const int same = op->layer.type == MC_FLATTEN && i > 0 && i < net->n_ops - 1;
        const size_t size = same ? 0 : op->out_size * sizeof(float);
        float *out = mc_take(arena, slots, size), *grad = mc_take(arena, slots, size);
        uint8_t *mask = mc_take(arena, slots, op->mask_size);
        float *back = mc_take_floats(arena, op->needs_dx ? mc_back_floats(net, op) : 0);
        const int normal = op->layer.type == MC_BATCH_NORM;
        const size_t channels = normal ? (size_t)op->in.channels : 0;
        float *norm = mc_take_floats(arena, 5 * channels);
        double *sums = mc_take(arena, (size_t)t->n_lanes * 2 * channels, sizeof(double));
        if (counting) continue;
        t->out[i] = same ? t->out[i - 1] : out;
        t->grad[i] = same ? t->grad[i - 1] : grad;
        t->mask[i] = mask;
        t->back[i] = back;
        t->norm_sums[i] = normal ? sums : NULL;
        t->norms[i] = (mc_norm){norm, norm + channels, norm + 2 * channels, norm + 3 * channels,
                                norm + 4 * channels};
        if (normal) memset(sums, 0, (size_t)t->n_lanes * 2 * channels * sizeof(double));
    }
}

static void lay_out_bf16(mc_trainer *t, mc_arena *arena) {
    const mc_net *net = t->net;
    t->bf16 = mc_take(arena, (size_t)net->n_ops, sizeof(mc_bf16));
    t->bf16_scratch = mc_take(arena, (size_t)t->n_lanes, t->bf16_scratch_bytes);
    for (int i = 0; i < net->n_ops; i++) {
        const mc_op *op = &net->ops[i];
        const int matrix = mc_rounds(op);
        const mc_bf16 weights = {
            mc_take_floats(arena, matrix ? mc_bf16_panels_floats(net, op) : 0),
            mc_take_floats(arena, matrix && op->needs_dx ? mc_bf16_back_floats(net, op) : 0)};
        if (arena->base) t->bf16[i] = weights;
    }
}

static void lay_out(mc_trainer *t, mc_arena *arena) {
    const mc_net *net = t->net;
    const size_t ops = (size_t)net->n_ops, batch = (size_t)t->spec.batch_size;
    const size_t lanes = (size_t)t->n_lanes, parameters = net->n_parameters;
    const int has_m = t->spec.optimizer != MC_SGD || t->spec.momentum > 0.0f;
    t->stages = mc_take(arena, (size_t)t->n_stages, sizeof(mc_stage));
    t->blocks = mc_take(arena, (size_t)t->n_blocks, sizeof(mc_block));
    t->block_norm = mc_take(arena, (size_t)t->n_blocks, sizeof(double));
    t->out = mc_take(arena, ops, sizeof(float *));
    t->grad = mc_take(arena, ops, sizeof(float *));
    t->mask = mc_take(arena, ops, sizeof(uint8_t *));
    t->back = mc_take(arena, ops, sizeof(float *));
    t->norms = mc_take(arena, ops, sizeof(mc_norm));
    t->norm_sums = mc_take(arena, ops, sizeof(double *));
    t->lane_offset = mc_take(arena, ops, sizeof(size_t));
    t->lanes = mc_take(arena, lanes, t->lane_size * sizeof(float));
    t->lane_loss = mc_take(arena, lanes, sizeof(double));
    t->lane_correct = mc_take(arena, lanes, sizeof(int64_t));
    t->gradient = mc_take_floats(arena, parameters);
    if (has_m) t->m = mc_take_floats(arena, parameters);
    if (t->spec.optimizer != MC_SGD) t->v = mc_take_floats(arena, parameters);
    if (t->spec.ema_decay > 0.0f) {
        t->ema = mc_take_floats(arena, parameters);
        if (net->n_state) t->ema_state = mc_take_floats(arena, net->n_state);
    }
    t->position = mc_take(arena, batch, sizeof(int64_t));
    t->classes = mc_take(arena, batch, sizeof(int32_t));
    t->weights = mc_take_floats(arena, batch);
    t->targets = mc_take(arena, batch, net->n_outputs * sizeof(float));
    t->scratch = mc_take(arena, lanes, t->scratch_bytes);
    lay_out_values(t, arena);
    if (t->spec.precision == MC_BF16) lay_out_bf16(t, arena);
    if (mc_mlp_fits(net, &t->spec)) t->mlp = mc_mlp_lay_out(net, &t->spec, arena);
}

/* Everything that a first step reads before it writes. */
static void start_values(mc_trainer *t) {
    const mc_net *net = t->net;
    const size_t bytes = net->n_parameters * sizeof(float);
    size_t offset = 0;
    for (int i = 0; i < net->n_ops; i++) {
        const mc_op *op = &net->ops[i];
        t->lane_offset[i] = offset;
        offset += lane_floats(op);
    }
    if (t->m) memset(t->m, 0, bytes);
    if (t->v) memset(t->v, 0, bytes);
    if (t->ema) memcpy(t->ema, net->parameters, bytes);
    if (t->ema_state) memcpy(t->ema_state, net->state, net->n_state * sizeof(float));
}

static size_t scratch_bytes(const mc_net *net, const mc_train_spec *spec) {
    size_t most = mc_scratch_bytes(net, 1);
    size_t others = (size_t)MC_DENSE_ROWS * (size_t)net->kernels->cols * sizeof(float);
    for (int i = 0; i < net->n_ops; i++) {
        const size_t partial = 2 * (size_t)net->ops[i].in.channels * sizeof(float);
        if (partial > others) others = partial;
    }
    if (spec->use_augment) {
        const size_t augment =
            mc_augment_scratch_floats(net->input.height, net->input.width) * sizeof(float);
        if (augment > others) others = augment;
    }
    if (others > most) most = others;
    return most == SIZE_MAX ? most : (most + MC_ALIGN - 1) & ~(size_t)(MC_ALIGN - 1);
}

static size_t values_per_image(const mc_net *net) {
    size_t floats = net->n_inputs;
    for (int i = 0; i < net->n_ops; i++) floats += 2 * net->ops[i].out_size;
    return floats;
}

mc_status mc_trainer_create(mc_trainer **out, mc_net *net, const mc_train_spec *spec) {
    *out = NULL;
    mc_trainer draft = {.net = net, .spec = *spec};
    mc_status status = check_spec(spec);
    if (status == MC_OK) status = check_loss(net, spec, &draft.raw);
    if (status != MC_OK) return status;
    draft.n_stages = plan_stages(net, NULL);
    draft.n_lanes = plan_lanes(net, spec->batch_size, &draft.lane_size);
    /* Tiles take more rows at once, and the machines that have them have larger caches. */
    const int has_tiles = spec->precision == MC_BF16 && net->kernels->windows_bf16;
    draft.slice = mc_slice_images(values_per_image(net) / (has_tiles ? 2 : 1));
    draft.n_slots =
        mc_keeps_minibatch(net, draft.n_stages) ? spec->batch_size : draft.n_lanes * draft.slice;
    draft.n_blocks = mc_plan_blocks(&draft, NULL);
    draft.scratch_bytes = scratch_bytes(net, spec);
    if (spec->precision == MC_BF16) draft.bf16_scratch_bytes = mc_bf16_scratch_bytes(net);
    mc_arena arena = {0};
    mc_take(&arena, 1, sizeof draft);
    lay_out(&draft, &arena);
    mc_trainer *t = mc_arena_allocate(&arena, spec->scratch_fill);
    if (!t) return MC_NO_MEMORY;
    arena = (mc_arena){.base = (char *)t};
    mc_take(&arena, 1, sizeof draft);
    *t = draft;
    lay_out(t, &arena);
    plan_stages(net, t->stages);
    mc_plan_blocks(t, t->blocks);
    start_values(t);
    *out = t;
    return MC_OK;
}

void mc_trainer_destroy(mc_trainer *trainer) {
    free(trainer);
}

float *mc_trainer_array(mc_trainer *t, int which, size_t *count) {
    float *const arrays[4] = {t->m, t->v, t->ema, t->ema_state};
    if (which < 0 || which > 3 || !arrays[which]) return NULL;
    *count = which == 3 ? t->net->n_state : t->net->n_parameters;
    return arrays[which];
}

int mc_trainer_grain(const mc_trainer *t) {
    return t->mlp ? mc_mlp_grain() : 1;
}

int64_t mc_trainer_step(const mc_trainer *t) {
    return t->step;
}

void mc_trainer_set_step(mc_trainer *t, int64_t step) {
    t->step = step;
}
