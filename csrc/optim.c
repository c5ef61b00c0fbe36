/* optim.c - from the lanes' gradients to new parameters, block by block.
 *
 * Blocks are runs of at most MC_BLOCK parameters of one array, the same for any number of threads;
 * each is reduced over the lanes in order and updated by one task.
 */
#include <math.h>

#include "threads.h"
#include "train.h"

static int plan_array(mc_block *blocks, int n, mc_block block, size_t length) {
    for (size_t done = 0; done < length; done += MC_BLOCK, n++) {
        if (!blocks) continue;
        blocks[n] = block;
        blocks[n].first = block.first + done;
        blocks[n].n = length - done < MC_BLOCK ? length - done : MC_BLOCK;
    }
    return n;
}

/* The plan for updates: arrays in order, so that filters of a by_filter weight are ignored. */
int mc_plan_blocks(const mc_trainer *t, mc_block *blocks) {
    int n = 0;
    for (int i = 0; i < t->net->n_ops; i++) {
        const mc_op *op = &t->net->ops[i];
        const int direct = mc_is_direct(op);
        const int matrix = op->layer.type != MC_BATCH_NORM;
        const mc_block weight = {.op = i, .first = op->weight, .direct = direct, .decay = matrix};
        const mc_block bias = {.op = i, .first = op->bias, .direct = direct};
        n = plan_array(blocks, n, weight, op->n_weights);
        n = plan_array(blocks, n, bias, op->n_biases);
    }
    return n;
}

/* (out, taps) of all lanes -> (taps, out) of the gradient, for one run of the former. */
static void reduce_by_filter(const mc_trainer *t, const mc_op *op, const mc_block *b) {
    const size_t n_out = (size_t)op->n_out, taps = (size_t)op->n_taps;
    const size_t first = b->first - op->weight;
    float sum[MC_BLOCK];
    t->net->kernels->reduce(t->lanes + t->lane_offset[b->op] + first, (ptrdiff_t)t->lane_size,
                            t->n_lanes, sum, b->n);
    float *gradient = t->gradient + op->weight;
    for (size_t i = 0, tap = first % taps, out = first / taps; i < b->n; i++) {
        gradient[tap * n_out + out] = sum[i];
        if (++tap < taps) continue;
        tap = 0;
        out++;
    }
}

static void reduce_block(void *context, int task, int thread) {
    (void)thread;
    const mc_step_context *c = context;
    const mc_trainer *t = c->t;
    const mc_block *b = &t->blocks[task];
    const mc_op *op = &t->net->ops[b->op];
    const int weight = b->first < op->bias;
    if (!b->direct && weight && op->by_filter)
        reduce_by_filter(t, op, b);
    else if (!b->direct)
        t->net->kernels->reduce(t->lanes + t->lane_offset[b->op] + (b->first - op->weight),
                                (ptrdiff_t)t->lane_size, t->n_lanes, t->gradient + b->first, b->n);
}

static void square_block(void *context, int task, int thread) {
    (void)thread;
    const mc_step_context *c = context;
    const mc_trainer *t = c->t;
    const mc_block *b = &t->blocks[task];
    t->block_norm[task] = t->net->kernels->square_sum(t->gradient + b->first, b->n);
}

void mc_reduce_gradient(mc_step_context *c) {
    mc_parallel(c->n_threads, c->t->n_blocks, reduce_block, c);
    if (c->t->spec.clip_norm > 0.0f) mc_parallel(c->n_threads, c->t->n_blocks, square_block, c);
}

static void update_block(void *context, int task, int thread) {
    (void)thread;
    const mc_step_context *c = context;
    mc_trainer *t = c->t;
    const mc_block *b = &t->blocks[task];
    const mc_kernels *k = t->net->kernels;
    mc_step update = c->update;
    if (!b->decay) {
        update.decay = 0.0f;
        update.shrink = 1.0f;
    }
    float *weight = t->net->parameters + b->first;
    const float *gradient = t->gradient + b->first;
    if (t->spec.optimizer == MC_SGD)
        k->sgd(&update, weight, t->m ? t->m + b->first : NULL, gradient, b->n);
    else
        k->adam(&update, weight, t->m + b->first, t->v + b->first, gradient, b->n);
}

/* The decay starts low, so that the average forgets the random start. */
static void update_averages(mc_trainer *t) {
    const double n = (double)t->step;
    const double decay = fmin(t->spec.ema_decay, (1.0 + n) / (10.0 + n));
    const float share = (float)(1.0 - decay);
    t->net->kernels->blend(t->ema, t->net->parameters, share, t->net->n_parameters);
    if (t->ema_state) t->net->kernels->blend(t->ema_state, t->net->state, share, t->net->n_state);
}

void mc_update_parameters(mc_step_context *c, float rate) {
    mc_trainer *t = c->t;
    const mc_train_spec *s = &t->spec;
    t->step++;
    mc_step update = {.rate = rate,
                      .scale = 1.0f,
                      .shrink = 1.0f,
                      .momentum = s->momentum,
                      .nesterov = s->nesterov,
                      .beta_1 = s->beta_1,
                      .beta_2 = s->beta_2};
    if (s->optimizer == MC_ADAMW)
        update.shrink = 1.0f - rate * s->weight_decay;
    else
        update.decay = s->weight_decay;
    if (s->optimizer != MC_SGD) {
        const double n = (double)t->step, root = sqrt(1.0 - pow(s->beta_2, n));
        update.rate = (float)(rate * root / (1.0 - pow(s->beta_1, n)));
        update.epsilon = (float)(s->epsilon * root);
    }
    if (s->clip_norm > 0.0f) {
        double sum = 0.0;
        for (int i = 0; i < t->n_blocks; i++) sum += t->block_norm[i];
        const double norm = sqrt(sum);
        if (norm > s->clip_norm) update.scale = (float)(s->clip_norm / norm);
    }
    c->update = update;
    mc_parallel(c->n_threads, t->n_blocks, update_block, c);
    if (t->ema) update_averages(t);
    mc_net_touch(t->net);
}
