/* train.c - the walk of a minibatch: load, forward, loss, backward, update.
 *
 * See train.h for lanes and stages. Phases (mc_parallel) are separated by its return, and every
 * value is written by exactly one task of a phase.
 */
#include "train.h"

#include <math.h>

#include "threads.h"

/* ---- one slice of images through a stage ---- */

static mc_values values_of(const mc_trainer *t, int i, int slot, int first, int n) {
    const mc_op *op = &t->net->ops[i];
    const size_t s = (size_t)slot;
    mc_values v = {.n = n, .first = (uint64_t)first};
    v.x = (i ? t->out[i - 1] : t->input) + s * op->in_size;
    v.y = t->out[i] + s * op->out_size;
    v.dy = t->grad[i] + s * op->out_size;
    if (op->mask_size) v.mask = t->mask[i] + s * op->mask_size;
    if (op->needs_dx) v.dx = t->grad[i - 1] + s * op->in_size;
    return v;
}

static int is_raw(const mc_trainer *t, int i) {
    return t->raw && i == t->net->n_ops - 1;
}

void mc_load_image(const mc_step_context *c, size_t index, float *x, int thread) {
    const mc_trainer *t = c->t;
    const mc_net *net = t->net;
    const size_t size = net->n_inputs;
    const uint8_t *bytes = (const uint8_t *)c->data->x + index * size;
    const float *floats = (const float *)c->data->x + index * size;
    const int is_uint8 = c->data->is_uint8;
    if (t->spec.use_augment)
        net->kernels->augment_image(
            &t->spec.augment, is_uint8 ? (const void *)bytes : (const void *)floats, is_uint8,
            net->input.height, net->input.width, net->input.channels, t->spec.seed, c->epoch, index,
            x, (float *)(t->scratch + (size_t)thread * t->scratch_bytes));
    else if (is_uint8)
        net->kernels->from_uint8(bytes, x, size);
    else
        memcpy(x, floats, size * sizeof(float));
}

/* Images that a thread takes through the layers together. */
typedef struct {
    int lane, slot; /* where their gradients and their values go */
    int first, n;   /* of the minibatch */
    int thread;
} mc_slice;

static void load_images(const mc_step_context *c, const mc_slice *s) {
    const mc_trainer *t = c->t;
    const size_t inputs = t->net->n_inputs;
    float *x = t->input + (size_t)s->slot * inputs;
    for (int i = s->first; i < s->first + s->n; i++, x += inputs) {
        const int ahead = i + MC_IMAGES_AHEAD;
        if (ahead < c->m)
            mc_prefetch(c->data->x, c->data->is_uint8, (size_t)t->position[ahead] * inputs, inputs);
        mc_load_image(c, (size_t)t->position[i], x, s->thread);
    }
}

/* Of n images of a minibatch of m. */
static double loss_of(const mc_step_context *c, int first, int n, int m, float *z, float *dy,
                      int64_t *correct) {
    const mc_trainer *t = c->t;
    const size_t width = t->net->n_outputs;
    return t->net->kernels->loss(
        t->spec.loss, t->net->ops[t->net->n_ops - 1].layer.activation, t->spec.label_smoothing, z,
        (size_t)n, width, c->data->classes ? t->classes + first : NULL,
        c->data->classes ? NULL : t->targets + (size_t)first * width,
        c->data->sample_weight ? t->weights + first : NULL, 1.0f / (float)m, dy, correct);
}

static void slice_loss(const mc_step_context *c, const mc_slice *s) {
    mc_trainer *t = c->t;
    const int last = t->net->n_ops - 1;
    const size_t at = (size_t)s->slot * t->net->n_outputs;
    t->lane_loss[s->lane] += loss_of(c, s->first, s->n, c->m, t->out[last] + at, t->grad[last] + at,
                                     &t->lane_correct[s->lane]);
}

void mc_minibatch_loss(const mc_step_context *c, int n, float *z, float *dy,
                       mc_train_result *result) {
    const double loss = loss_of(c, 0, n, n, z, dy, &result->correct);
    result->loss += mc_loss_unit(loss);
    result->finite = isfinite(loss) != 0;
}

static void slice_forward(const mc_step_context *c, const mc_slice *s) {
    const mc_trainer *t = c->t;
    const mc_run run = mc_run_of(t, s->thread);
    const int next = c->stage->last;
    if (c->stage->first == 0) load_images(c, s);
    for (int i = c->stage->first; i < next; i++) {
        const mc_values v = values_of(t, i, s->slot, s->first, s->n);
        mc_op_forward(&run, i, &v, is_raw(t, i));
    }
    if (mc_is_norm(t->net, next))
        mc_norm_lane_moments(c->t, next, s->lane, s->slot, s->n, run.scratch);
}

static void slice_backward(const mc_step_context *c, const mc_slice *s) {
    const mc_trainer *t = c->t;
    const mc_net *net = t->net;
    const mc_stage *stage = c->stage;
    const mc_run run = mc_run_of(t, s->thread);
    float *gradient = t->lanes + (size_t)s->lane * t->lane_size;
    /* The normalisation that ends this stage left its input gradient to us, now that its sums
     * are known. */
    if (mc_is_norm(net, stage->last)) {
        const mc_values v = values_of(t, stage->last, s->slot, s->first, s->n);
        mc_op_backward(&run, stage->last, &v, 0);
    }
    for (int i = stage->last - 1; i >= stage->first; i--) {
        const mc_op *op = &net->ops[i];
        if (mc_is_norm(net, i)) {
            mc_norm_lane_sums(c->t, i, s->lane, s->slot, s->n, run.scratch);
            return; /* always the first of its stage */
        }
        if (!op->needs_dx && !op->n_weights) continue;
        mc_values v = values_of(t, i, s->slot, s->first, s->n);
        v.dweight = gradient + t->lane_offset[i];
        v.dbias = v.dweight + op->n_weights;
        mc_op_backward(&run, i, &v, is_raw(t, i));
    }
}

/* ---- tasks of lanes ---- */

typedef void slice_function(const mc_step_context *c, const mc_slice *s);

static void walk_lane(const mc_step_context *c, int lane, int thread, slice_function *work) {
    const mc_trainer *t = c->t;
    const int end = mc_lane_first(c, lane + 1);
    for (int first = mc_lane_first(c, lane); first < end; first += t->slice) {
        const mc_slice s = {.lane = lane,
                            .slot =
                                mc_keeps_minibatch(t->net, t->n_stages) ? first : thread * t->slice,
                            .first = first,
                            .n = end - first < t->slice ? end - first : t->slice,
                            .thread = thread};
        work(c, &s);
    }
}

static void forward_lane(void *context, int lane, int thread) {
    walk_lane(context, lane, thread, slice_forward);
}

static void backward_lane(void *context, int lane, int thread) {
    walk_lane(context, lane, thread, slice_backward);
}

static void clear_lane(const mc_trainer *t, int lane) {
    memset(t->lanes + (size_t)lane * t->lane_size, 0, t->lane_size * sizeof(float));
    t->lane_loss[lane] = 0.0;
    t->lane_correct[lane] = 0;
}

static void slice_turn(const mc_step_context *c, const mc_slice *s) {
    slice_forward(c, s);
    slice_loss(c, s);
    slice_backward(c, s);
}

/* The last stage, where forward becomes backward. */
static void turn_lane(void *context, int lane, int thread) {
    const mc_step_context *c = context;
    clear_lane(c->t, lane);
    walk_lane(c, lane, thread, slice_turn);
}

static void loss_lane(void *context, int lane, int thread) {
    const mc_step_context *c = context;
    clear_lane(c->t, lane);
    walk_lane(c, lane, thread, slice_loss);
}

static void load_lane(void *context, int lane, int thread) {
    walk_lane(context, lane, thread, load_images);
}

static void slice_activate(const mc_step_context *c, const mc_slice *s) {
    const int i = c->stage->first;
    const mc_op *op = &c->t->net->ops[i];
    c->t->net->kernels->activate(op->layer.activation,
                                 c->t->out[i] + (size_t)s->slot * op->out_size,
                                 (size_t)s->n * op->out_size, op->out_size);
}

static void activate_lane(void *context, int lane, int thread) {
    walk_lane(context, lane, thread, slice_activate);
}

static void slice_deactivate(const mc_step_context *c, const mc_slice *s) {
    const int i = c->stage->first;
    const mc_op *op = &c->t->net->ops[i];
    const size_t at = (size_t)s->slot * op->out_size;
    c->t->net->kernels->deactivate(op->layer.activation, c->t->out[i] + at, c->t->grad[i] + at,
                                   (size_t)s->n * op->out_size, op->out_size);
}

static void deactivate_lane(void *context, int lane, int thread) {
    walk_lane(context, lane, thread, slice_deactivate);
}

/* ---- wide dense layers, split by weights ---- */

enum { WIDE_TAPS = 192 };

/* n things in groups of `size`, of which the last has what is left. */
static int groups_of(int n, int size) {
    return (n + size - 1) / size;
}

static int group_end(int first, int size, int n) {
    return n - first < size ? n : first + size;
}

static int row_blocks(const mc_step_context *c) {
    return groups_of(c->m, MC_DENSE_ROWS);
}

static int block_rows(const mc_step_context *c, int block) {
    const int first = block * MC_DENSE_ROWS;
    return group_end(first, MC_DENSE_ROWS, c->m) - first;
}

/* Panels that one task takes: products in bf16 round and gather their inputs for all of them. */
static int group_panels(const mc_step_context *c) {
    return c->t->bf16 ? MC_BF16_GROUP : 1;
}

static void wide_forward(void *context, int task, int thread) {
    const mc_step_context *c = context;
    const int i = c->stage->first, block = task % row_blocks(c);
    const int panel = task / row_blocks(c) * group_panels(c);
    const mc_op *op = &c->t->net->ops[i];
    const int end = group_end(panel, group_panels(c), op->n_panels);
    const mc_values v = values_of(c->t, i, block * MC_DENSE_ROWS, 0, block_rows(c, block));
    const int relu = !is_raw(c->t, i) && op->layer.activation == MC_RELU;
    const mc_run run = mc_run_of(c->t, thread);
    if (run.bf16)
        mc_bf16_dense(&run, i, &v, panel, end, relu);
    else
        mc_dense_rows(c->t->net, v.x, op->in_size, op->taps, op->n_taps, op->panels, panel, end,
                      op->n_out, relu, v.n, v.y);
}

static void wide_input_gradient(void *context, int task, int thread) {
    const mc_step_context *c = context;
    const int i = c->stage->first, block = task % row_blocks(c);
    const int part = task / row_blocks(c) * group_panels(c);
    const mc_op *op = &c->t->net->ops[i];
    const int end = group_end(part, group_panels(c), mc_back_parts(c->t->net, op));
    const mc_values v = values_of(c->t, i, block * MC_DENSE_ROWS, 0, block_rows(c, block));
    const mc_run run = mc_run_of(c->t, thread);
    if (run.bf16)
        mc_bf16_dense_dx(&run, i, &v, part, end);
    else
        mc_dense_rows(c->t->net, v.dy, op->out_size, op->back_taps, op->n_back_taps, c->t->back[i],
                      part, end, (int)op->in_size, 0, v.n, v.dx);
}

static void wide_weight_gradient(void *context, int task, int thread) {
    const mc_step_context *c = context;
    mc_trainer *t = c->t;
    const int i = c->stage->first;
    const mc_op *op = &t->net->ops[i];
    const int panel = task % op->n_panels, first = task / op->n_panels * WIDE_TAPS;
    const int last = group_end(first, WIDE_TAPS, op->n_taps);
    const mc_columns columns = mc_panel_columns(t->net, op, panel);
    const size_t n_out = (size_t)op->n_out, n = (size_t)columns.n;
    const mc_values v = values_of(t, i, 0, 0, c->m);
    float *dweight = t->gradient + op->weight, *dbias = t->gradient + op->bias + columns.first;
    mc_dense_outer(t->net, op, v.x, v.dy, c->m, first, last, panel, 0, dweight,
                   (float *)(t->scratch + (size_t)thread * t->scratch_bytes));
    if (first) return;
    memset(dbias, 0, n * sizeof(float));
    for (int image = 0; image < c->m; image++)
        t->net->kernels->add(dbias, v.dy + (size_t)image * n_out + columns.first, n);
}

static void forward_wide_stage(mc_step_context *c) {
    const mc_trainer *t = c->t;
    const int i = c->stage->first;
    const mc_op *op = &t->net->ops[i];
    if (i == 0) mc_parallel(c->n_threads, t->n_lanes, load_lane, c);
    mc_parallel(c->n_threads, groups_of(op->n_panels, group_panels(c)) * row_blocks(c),
                wide_forward, c);
    if (!is_raw(t, i) && op->layer.activation != MC_LINEAR && op->layer.activation != MC_RELU)
        mc_parallel(c->n_threads, t->n_lanes, activate_lane, c);
    if (mc_is_norm(t->net, i + 1))
        for (int lane = 0; lane < t->n_lanes; lane++) {
            const int first = mc_lane_first(c, lane);
            mc_norm_lane_moments(c->t, i + 1, lane, first, mc_lane_first(c, lane + 1) - first,
                                 t->scratch);
        }
}

static void backward_wide_stage(mc_step_context *c) {
    const mc_trainer *t = c->t;
    const int i = c->stage->first;
    const mc_op *op = &t->net->ops[i];
    if (mc_is_norm(t->net, i + 1)) {
        const mc_run run = mc_run_of(t, 0);
        const mc_values v = values_of(t, i + 1, 0, 0, c->m);
        mc_op_backward(&run, i + 1, &v, 0);
    }
    if (!is_raw(t, i) && op->layer.activation != MC_LINEAR)
        mc_parallel(c->n_threads, t->n_lanes, deactivate_lane, c);
    const int tap_blocks = groups_of(op->n_taps, WIDE_TAPS);
    mc_parallel(c->n_threads, tap_blocks * op->n_panels, wide_weight_gradient, c);
    if (op->needs_dx)
        mc_parallel(c->n_threads,
                    groups_of(mc_back_parts(t->net, op), group_panels(c)) * row_blocks(c),
                    wide_input_gradient, c);
}

/* ---- one step ---- */

static void pack_task(void *context, int task, int thread) {
    (void)thread;
    mc_trainer *t = ((mc_step_context *)context)->t;
    for (int i = 0; i < t->net->n_ops; i++) {
        const mc_op *op = &t->net->ops[i];
        if (!mc_has_matrix(op)) continue;
        const int back = op->needs_dx ? mc_back_parts(t->net, op) : 0;
        const int groups = groups_of(op->n_panels, MC_PACK_PANELS);
        if (task < groups) {
            const int first = task * MC_PACK_PANELS;
            const int last = group_end(first, MC_PACK_PANELS, op->n_panels);
            mc_pack_panels(t->net, op, first, last);
            for (int p = first; t->bf16 && mc_rounds(op) && p < last; p++)
                mc_bf16_pack(t->net, op, p, &t->bf16[i]);
            return;
        }
        task -= groups;
        if (task < back) {
            mc_pack_back(t->net, op, task, t->back[i]);
            if (t->bf16 && mc_rounds(op))
                mc_bf16_pack_back(t->net, op, task, t->back[i], &t->bf16[i]);
            return;
        }
        task -= back;
    }
}

static void pack_weights(mc_step_context *c) {
    const mc_net *net = c->t->net;
    int n = 0;
    for (int i = 0; i < net->n_ops; i++)
        if (mc_has_matrix(&net->ops[i]))
            n += groups_of(net->ops[i].n_panels, MC_PACK_PANELS) +
                 (net->ops[i].needs_dx ? mc_back_parts(net, &net->ops[i]) : 0);
    mc_parallel(c->n_threads, n, pack_task, c);
}

void mc_gather_targets(const mc_step_context *c, const int64_t *order, int n) {
    mc_trainer *t = c->t;
    const mc_train_data *d = c->data;
    const size_t width = t->net->n_outputs;
    for (int i = 0; i < n; i++) {
        const size_t index = (size_t)order[i];
        t->position[i] = order[i];
        if (d->classes)
            t->classes[i] = d->classes[index];
        else
            memcpy(t->targets + (size_t)i * width, d->targets + index * width,
                   width * sizeof(float));
        if (d->sample_weight) t->weights[i] = d->sample_weight[index];
    }
}

static int stage_begins_with_norm(const mc_trainer *t, int stage) {
    return stage < t->n_stages && mc_is_norm(t->net, t->stages[stage].first);
}

/* Forward and backward of one minibatch, and its gradient. */
static void compute_gradient(mc_step_context *c, const int64_t *order) {
    mc_trainer *t = c->t;
    const int last = t->n_stages - 1;
    mc_gather_targets(c, order, c->m);
    pack_weights(c);
    for (int s = 0; s <= last; s++) {
        c->stage = &t->stages[s];
        if (c->stage->wide)
            forward_wide_stage(c);
        else
            mc_parallel(c->n_threads, t->n_lanes, s == last ? turn_lane : forward_lane, c);
        if (stage_begins_with_norm(t, s + 1))
            mc_norm_finish_moments(t, t->stages[s + 1].first, c->m);
    }
    if (t->stages[last].wide) mc_parallel(c->n_threads, t->n_lanes, loss_lane, c);
    for (int s = last; s >= 0; s--) {
        c->stage = &t->stages[s];
        if (c->stage->wide)
            backward_wide_stage(c);
        else if (s < last)
            mc_parallel(c->n_threads, t->n_lanes, backward_lane, c);
        if (stage_begins_with_norm(t, s)) mc_norm_finish_sums(t, t->stages[s].first, c->m);
    }
    mc_reduce_gradient(c);
}

static double take_loss(const mc_trainer *t, mc_train_result *result) {
    double loss = 0.0;
    for (int l = 0; l < t->n_lanes; l++) {
        loss += t->lane_loss[l];
        result->correct += t->lane_correct[l];
    }
    result->loss += mc_loss_unit(loss);
    return loss;
}

static mc_status check_data(const mc_trainer *t, const mc_train_data *data, int n_threads) {
    if (!data->x || !data->order || !data->classes == !data->targets) return MC_BAD_ARGUMENT;
    if (n_threads < 1) return MC_BAD_ARGUMENT;
    if (data->classes)
        for (size_t i = 0; i < data->n_order; i++) {
            const int32_t class = data->classes[data->order[i]];
            if (class < 0 || (size_t) class >= t->net->n_outputs) return MC_BAD_ARGUMENT;
        }
    return MC_OK;
}

mc_status mc_trainer_run(mc_trainer *t, const mc_train_data *data, const float *learning_rates,
                         uint32_t epoch, int n_threads, mc_train_result *result) {
    *result = (mc_train_result){.finite = 1};
    const mc_status status = check_data(t, data, n_threads);
    if (status != MC_OK) return status;
    if (!mc_net_acquire(t->net)) return MC_BUSY;
    const size_t batch = (size_t)t->spec.batch_size;
    mc_step_context c = {.t = t, .data = data, .epoch = epoch};
    c.n_threads = n_threads < t->n_lanes ? n_threads : t->n_lanes;
    if (t->mlp) mc_mlp_run(t->mlp, &c, learning_rates, result);
    for (size_t done = 0; !t->mlp && done < data->n_order && result->finite; done += batch) {
        c.m = (int)(data->n_order - done < batch ? data->n_order - done : batch);
        compute_gradient(&c, data->order + done);
        result->finite = isfinite(take_loss(t, result)) != 0;
        if (result->finite) mc_update_parameters(&c, *learning_rates++);
    }
    mc_net_release(t->net);
    return MC_OK;
}

mc_status mc_trainer_gradients(mc_trainer *t, const mc_train_data *data, uint32_t epoch,
                               int n_threads, float *gradient, mc_train_result *result) {
    *result = (mc_train_result){.finite = 1};
    const mc_status status = check_data(t, data, n_threads);
    if (status != MC_OK) return status;
    if (data->n_order < 1 || data->n_order > (size_t)t->spec.batch_size) return MC_BAD_ARGUMENT;
    if (!mc_net_acquire(t->net)) return MC_BUSY;
    mc_step_context c = {.t = t, .data = data, .epoch = epoch, .m = (int)data->n_order};
    c.n_threads = n_threads < t->n_lanes ? n_threads : t->n_lanes;
    compute_gradient(&c, data->order);
    take_loss(t, result);
    memcpy(gradient, t->gradient, t->net->n_parameters * sizeof(float));
    mc_net_release(t->net);
    return MC_OK;
}
