/* mlp.c - minibatch descent for small dense networks on images that are mostly paper.
 *
 * Four fifths of MNIST's pixels are zero, and a zero pixel needs neither its row of weights in the
 * forward pass nor its row of the gradient. So the first layer never forms a gradient: every image
 * adds its deltas to the rows of its inked pixels (row_spread), and the next minibatch's images sum
 * the rows of theirs (row_sum). Both happen block of pixels by block of pixels, so that a row comes
 * from the second-level cache once per minibatch. Weight decay of that layer is one factor,
 * `scale`: weights = scale * rows. The layers behind it are small and stay packed (panels.c).
 *
 * Same arithmetic meaning as the general walk (train.c): exact minibatch SGD. Used for plain SGD
 * (see mc_mlp_fits); its steps are those of mc_trainer_gradients up to rounding, which tests check.
 *
 * Threads share the first layer's units. A thread has the rows of its units and the second layer's
 * weights from them to itself, and hands on their part of the second layer's sums. What follows
 * from the sums is little work, and each thread does it for itself, so that they meet once per
 * minibatch. Sums are formed by parts, whose number follows from the network.
 */
#include <math.h>

#include "panels.h"
#include "threads.h"
#include "train.h"

enum {
    MLP_MOST_BATCH = 64,
    MLP_AHEAD = 4,
    MLP_RESCALE = 1 << 10,
    MLP_GRAIN = 64,
    MLP_BLOCK_FLOATS = 22 << 10,
    MLP_MOST_PARTS = 4
};

/* The inked pixels of each image of one minibatch; terms: offset in a group's rows, ink. */
typedef struct {
    int32_t *start; /* (batch * blocks + 1), image by image */
    mc_term *terms;
} mlp_ink;

/* Units of the first layer that are summed together. */
typedef struct {
    int first, width;
    mc_weights next;        /* the second layer's from these units */
    float *values, *deltas; /* in panels */
    float *sums[2];         /* of the second layer, in panels: of one minibatch and of the next */
} mlp_part;

/* What follows from the second layer's sums: all layers' from the second on. */
typedef struct {
    mc_weights *weights;      /* from the third layer on */
    float **values, **deltas; /* in panels; deltas times -rate */
    float *logits, *gradient; /* (batch, outputs) */
    mc_train_result result;
} mlp_rest;

/* The parts that one thread works on. Threads make lists of their own: lists that one makes and
 * another reads cost more on their way between caches than in the making. */
typedef struct {
    int first, width, first_part, n_parts;
    int stride;     /* from row to row: whole vectors, so that none crosses a cache line */
    float *rows;    /* (inputs, stride) */
    float *values;  /* (batch, width) */
    float *step;    /* (batch, width): deltas times -rate / scale */
    mlp_ink ink[2]; /* of one minibatch and of the next */
    mlp_rest rest;
} mlp_group;

struct mc_mlp {
    int first_op, n_layers;
    int stride;          /* units of the first layer in whole vectors */
    int block, n_blocks; /* pixels of a block, whose rows stay in a near cache */
    int n_parts, n_groups;
    double scale;
    float *bias, *start; /* (stride); start = bias / scale */
    float *images;       /* (MLP_AHEAD, batch, inputs): changed by augmentation; else NULL */
    mc_panels panels;
    mlp_part parts[MLP_MOST_PARTS];
    mlp_group groups[MLP_MOST_PARTS];
    float *group_memory;
};

/* The first op that computes: those before it only flatten. n_ops if there is none. */
static int first_op(const mc_net *net) {
    int i = 0;
    while (i < net->n_ops && net->ops[i].layer.type == MC_FLATTEN) i++;
    return i;
}

int mc_mlp_fits(const mc_net *net, const mc_train_spec *spec) {
    if (spec->optimizer != MC_SGD || spec->momentum > 0.0f || spec->clip_norm > 0.0f ||
        spec->ema_decay > 0.0f || spec->precision != MC_FLOAT32 ||
        spec->batch_size > MLP_MOST_BATCH)
        return 0;
    const int first = first_op(net);
    if (net->n_ops - first < 2) return 0;
    for (int i = first; i < net->n_ops; i++) {
        const mc_layer *layer = &net->ops[i].layer;
        if (layer->type != MC_DENSE) return 0;
        if (i < net->n_ops - 1 && layer->activation == MC_SOFTMAX) return 0; /* not by unit */
    }
    /* Beyond that, rows fall out of the second-level cache and dense blocks win. */
    return net->ops[first].n_weights <= (size_t)1 << 18;
}

static void lay_out_parts(mc_mlp *m, const mc_net *net, mc_arena *arena) {
    const mc_op *op = &net->ops[m->first_op];
    const int unit = net->kernels->unit, units = m->stride / unit;
    m->n_parts = m->stride >= 192 ? 4 : m->stride >= 48 ? 2 : 1;
    for (int p = 0; p < m->n_parts; p++) {
        const int first = units * p / m->n_parts * unit, end = units * (p + 1) / m->n_parts * unit;
        const int n_in = (end < op->n_out ? end : op->n_out) - first;
        m->parts[p] = (mlp_part){.first = first,
                                 .width = end - first,
                                 .next = mc_weights_lay_out(net, op + 1, first, n_in, arena),
                                 .values = mc_panels_take(&m->panels, end - first, arena),
                                 .deltas = mc_panels_take(&m->panels, end - first, arena),
                                 .sums = {mc_panels_take(&m->panels, op[1].n_out, arena),
                                          mc_panels_take(&m->panels, op[1].n_out, arena)}};
    }
}

static mlp_rest lay_out_rest(const mc_mlp *m, const mc_net *net, mc_arena *arena) {
    const size_t layers = (size_t)m->n_layers, out = m->panels.batch * net->n_outputs;
    mlp_rest rest = {.weights = mc_take(arena, layers, sizeof(mc_weights)),
                     .values = mc_take(arena, layers, sizeof(float *)),
                     .deltas = mc_take(arena, layers, sizeof(float *)),
                     .logits = mc_take_floats(arena, out),
                     .gradient = mc_take_floats(arena, out)};
    for (int l = 1; l < m->n_layers; l++) {
        const mc_op *op = &net->ops[m->first_op + l];
        mc_weights weights = {0};
        if (l > 1) weights = mc_weights_lay_out(net, op, 0, op->n_taps, arena);
        float *values = mc_panels_take(&m->panels, op->n_out, arena);
        float *deltas = mc_panels_take(&m->panels, op->n_out, arena);
        if (!arena->base) continue;
        rest.weights[l] = weights;
        rest.values[l] = values;
        rest.deltas[l] = deltas;
    }
    return rest;
}

/* Rows, values and steps of a group; groups begin on a cache line. */
static size_t group_floats(size_t stride, size_t inputs, size_t batch) {
    return ((inputs + 2 * batch) * stride + 15) & ~(size_t)15;
}

mc_mlp *mc_mlp_lay_out(const mc_net *net, const mc_train_spec *spec, mc_arena *arena) {
    const size_t batch = (size_t)spec->batch_size, inputs = net->n_inputs;
    const int first = first_op(net);
    int most = 0;
    for (int i = first; i < net->n_ops; i++)
        if (net->ops[i].n_out > most) most = net->ops[i].n_out;
    mc_mlp draft = {.first_op = first, .n_layers = net->n_ops - first};
    mc_mlp *m = mc_take(arena, 1, sizeof draft);
    draft.stride = mc_whole(net->ops[first].n_out, net->kernels->unit);
    draft.bias = mc_take_floats(arena, (size_t)draft.stride);
    draft.start = mc_take_floats(arena, (size_t)draft.stride);
    if (spec->use_augment) draft.images = mc_take_floats(arena, MLP_AHEAD * batch * inputs);
    draft.panels = mc_panels_lay_out(net, batch, most, arena);
    lay_out_parts(&draft, net, arena);
    for (int g = 0; g < draft.n_parts; g++) {
        mlp_group *group = &draft.groups[g];
        group->rest = lay_out_rest(&draft, net, arena);
        for (int i = 0; i < 2; i++)
            group->ink[i] =
                (mlp_ink){.start = mc_take(arena, batch * inputs + 1, sizeof(int32_t)),
                          .terms = mc_take(arena, batch * inputs + MC_MORE_TERMS, sizeof(mc_term))};
    }
    const int strides = draft.stride + MLP_MOST_PARTS * net->kernels->lane; /* of all groups */
    draft.group_memory =
        mc_take_floats(arena, group_floats((size_t)strides, inputs, batch) + 16 * MLP_MOST_PARTS);
    if (m) *m = draft;
    return m;
}

/* ---- what threads do ---- */

/* What changes with each minibatch shares no cache line with what does not. */
typedef struct {
    mc_mlp *m;
    const mc_net *net;
    const mc_train_data *data;
    const mc_step_context *step;
    _Alignas(64) const int64_t *order; /* of the minibatches from the next on */
    size_t n_order;
    const float *images; /* of the next minibatch, where they are changed */
    int turn;            /* of two lists or sums, the next minibatch's */
    int n_last, n_next;  /* images to update by, images to go forward; 0 for none */
    float rate, keep;    /* of that update: learning rate, 1 - rate * decay */
    int64_t steps;       /* done */
} mlp_work;

static void split_units(mc_mlp *m, const mc_net *net, int threads) {
    const size_t batch = m->panels.batch;
    int widest = 0;
    float *memory = m->group_memory;
    m->n_groups = m->n_parts;
    while (m->n_groups > threads) m->n_groups /= 2;
    for (int g = 0; g < m->n_groups; g++) {
        mlp_group *group = &m->groups[g];
        group->n_parts = m->n_parts / m->n_groups;
        group->first_part = group->n_parts * g;
        const mlp_part *part = &m->parts[group->first_part], *last = part + group->n_parts - 1;
        group->first = part->first;
        group->width = last->first + last->width - part->first;
        group->stride = mc_whole(group->width, net->kernels->lane);
        group->rows = memory;
        group->values = group->rows + net->n_inputs * (size_t)group->stride;
        group->step = group->values + batch * (size_t)group->width;
        memory += group_floats((size_t)group->stride, net->n_inputs, batch);
        if (group->stride > widest) widest = group->stride;
    }
    const int block = MLP_BLOCK_FLOATS / widest / 16 * 16;
    m->block = block < 16 ? 16 : block;
    m->n_blocks = mc_whole((int)net->n_inputs, m->block) / m->block;
}

/* Minibatch `task` of those that are changed ahead. */
static void change_images(void *context, int task, int thread) {
    const mlp_work *w = context;
    const mc_trainer *t = w->step->t;
    const size_t inputs = t->net->n_inputs, batch = (size_t)t->spec.batch_size;
    const size_t first = (size_t)task * batch;
    for (size_t i = first; i < first + batch && i < w->n_order; i++)
        mc_load_image(w->step, (size_t)w->order[i], w->m->images + i * inputs, thread);
}

/* The ink of the next minibatch, by image and by block of pixels. */
static void list_ink(const mlp_work *w, const mlp_group *g, const mlp_ink *ink) {
    const mc_kernels *k = w->net->kernels;
    const mc_train_data *data = w->data;
    const size_t inputs = w->net->n_inputs, block = (size_t)w->m->block;
    const int is_uint8 = data->is_uint8 && !w->images;
    const void *images = w->images ? w->images : data->x;
    int32_t *start = ink->start, count = 0;
    for (size_t i = 0; i < (size_t)w->n_next; i++) {
        const size_t image = (w->images ? i : (size_t)w->order[i]) * inputs;
        for (size_t first = 0; first < inputs; first += block) {
            const size_t left = inputs - first, n = left < block ? left : block, at = image + first;
            const int32_t offset = (int32_t)first * g->stride;
            mc_term *terms = ink->terms + count;
            *start++ = count;
            count += is_uint8
                         ? k->list_pixels((const uint8_t *)images + at, n, g->stride, offset, terms)
                         : k->list_inputs((const float *)images + at, n, g->stride, offset, terms);
        }
    }
    *start = count;
}

/* The images come in random order from far more memory than any cache holds: ask for those of the
 * minibatch after the next, some at a time, as many requests at once would be waited for. */
__attribute__((always_inline)) static inline void ask_for_pixels(const mlp_work *w, size_t image,
                                                                 size_t block) {
    const mc_train_data *data = w->data;
    const size_t at = (size_t)w->n_next + image;
    if (w->images || at >= w->n_order) return;
    const size_t inputs = w->net->n_inputs;
    const size_t first = block * (size_t)w->m->block, left = inputs - first;
    const size_t n = left < (size_t)w->m->block ? left : (size_t)w->m->block;
    mc_prefetch(data->x, data->is_uint8, (size_t)w->order[at] * inputs + first, n);
}

/* The last minibatch from the second layer's sums to its deltas; 0 if the loss is not finite. */
static int finish_rest(const mlp_work *w, mlp_rest *rest) {
    const mc_mlp *m = w->m;
    const mc_panels *p = &m->panels;
    const mc_op *ops = w->net->ops + m->first_op;
    const int top = m->n_layers - 1, width = ops[top].n_out, n = w->n_last;
    memcpy(rest->values[1], m->parts[0].sums[!w->turn],
           mc_panels_floats(p, ops[1].n_out) * sizeof(float));
    for (int q = 1; q < m->n_parts; q++)
        mc_panels_add(p, m->parts[q].sums[!w->turn], ops[1].n_out, n, rest->values[1]);
    for (int l = 1; l < top; l++) {
        mc_panels_activate(p, &ops[l], n, rest->values[l]);
        mc_weights_forward(p, &rest->weights[l + 1], rest->values[l], n, rest->values[l + 1]);
    }
    mc_panels_read(p, rest->values[top], width, n, rest->logits, width);
    mc_minibatch_loss(w->step, n, rest->logits, rest->gradient, &rest->result);
    if (!rest->result.finite) return 0;
    mc_panels_fill(p, rest->gradient, width, width, n, -w->rate, rest->deltas[top]);
    for (int l = top; l > 1; l--) {
        mc_weights_backward(p, &rest->weights[l], rest->deltas[l], n, rest->deltas[l - 1]);
        mc_panels_deactivate(p, &ops[l - 1], rest->values[l - 1], n, rest->deltas[l - 1]);
    }
    for (int l = 2; l <= top; l++)
        mc_weights_update(p, &rest->weights[l], rest->values[l - 1], rest->deltas[l], n, w->keep);
    return 1;
}

/* The last minibatch's deltas of a group's units, and all of its update but that of the rows. */
static void group_backward(const mlp_work *w, const mlp_group *g) {
    const mc_mlp *m = w->m;
    const mc_panels *panels = &m->panels;
    const mc_kernels *k = w->net->kernels;
    const int n = w->n_last;
    const size_t size = (size_t)n * (size_t)g->width;
    const float inverse = (float)(1.0 / m->scale), *deltas = g->rest.deltas[1];
    for (int p = g->first_part; p < g->first_part + g->n_parts; p++) {
        const mlp_part *part = &m->parts[p];
        mc_weights_backward(panels, &part->next, deltas, n, part->deltas);
        mc_panels_read(panels, part->deltas, part->width, n, g->step + part->first - g->first,
                       g->width);
        mc_weights_update(panels, &part->next, part->values, deltas, n, w->keep);
    }
    k->deactivate(w->net->ops[m->first_op].layer.activation, g->values, g->step, size,
                  (size_t)g->width);
    for (int i = 0; i < n; i++) /* in an order that knows no group's width */
        k->add(m->bias + g->first, g->step + (size_t)i * (size_t)g->width, (size_t)g->width);
    for (int c = g->first; c < g->first + g->width; c++) m->start[c] = inverse * m->bias[c];
    for (size_t i = 0; inverse != 1.0f && i < size; i++) g->step[i] *= inverse;
}

/* The next minibatch's values of a group's units, from sums of rows, and what comes of them. */
static void group_forward(const mlp_work *w, const mlp_group *g) {
    const mc_mlp *m = w->m;
    const size_t size = (size_t)w->n_next * (size_t)g->width;
    const float scale = (float)m->scale;
    for (size_t i = 0; scale != 1.0f && i < size; i++) g->values[i] *= scale;
    w->net->kernels->activate(w->net->ops[m->first_op].layer.activation, g->values, size,
                              (size_t)g->width);
    for (int p = g->first_part; p < g->first_part + g->n_parts; p++) {
        const mlp_part *part = &m->parts[p];
        mc_panels_fill(&m->panels, g->values + part->first - g->first, g->width, part->next.n_in,
                       w->n_next, 1.0f, part->values);
        mc_weights_forward(&m->panels, &part->next, part->values, w->n_next, part->sums[w->turn]);
    }
}

/* The last minibatch's update of a group's rows and the next one's sums of them. */
static void walk_rows(const mlp_work *w, const mlp_group *g) {
    const mlp_ink *last = &g->ink[!w->turn], *next = &g->ink[w->turn];
    const mc_kernels *k = w->net->kernels;
    const size_t width = (size_t)g->width, blocks = (size_t)w->m->n_blocks;
    for (size_t i = 0; i < (size_t)w->n_next; i++)
        memcpy(g->values + i * width, w->m->start + g->first, width * sizeof(float));
    for (size_t b = 0; b < blocks; b++) {
        for (size_t i = 0; i < (size_t)w->n_last; i++) {
            const int32_t *start = last->start + i * blocks + b;
            k->row_spread(g->step + i * width, last->terms + start[0], start[1] - start[0], g->rows,
                          g->width);
        }
        for (size_t i = 0; i < (size_t)w->n_next; i++) {
            const int32_t *start = next->start + i * blocks + b;
            ask_for_pixels(w, i, b);
            k->row_sum(g->rows, next->terms + start[0], start[1] - start[0], g->values + i * width,
                       g->width);
        }
    }
}

/* What one thread does between two meetings. */
static void turn_minibatch(void *context, int task, int thread) {
    (void)thread;
    const mlp_work *w = context;
    mlp_group *g = &w->m->groups[task];
    if (w->n_last) {
        if (!finish_rest(w, &g->rest)) return;
        group_backward(w, g);
    }
    if (w->n_next) list_ink(w, g, &g->ink[w->turn]);
    walk_rows(w, g);
    if (w->n_next) group_forward(w, g);
}

/* ---- in and out of the parameters ---- */

/* Copy the first layer's rows in or out of the parameters. */
static void copy_rows(const mc_mlp *m, const mc_net *net, int out) {
    const mc_op *op = &net->ops[m->first_op];
    float *weight = net->parameters + op->weight;
    const float scale = (float)m->scale;
    for (int g = 0; g < m->n_groups; g++) {
        const mlp_group *group = &m->groups[g];
        const int left = op->n_out - group->first, n = left < group->width ? left : group->width;
        for (size_t k = 0; k < net->n_inputs; k++) {
            float *row = group->rows + k * (size_t)group->stride;
            float *parameters = weight + k * (size_t)op->n_out + group->first;
            for (int c = 0; out && c < n; c++) parameters[c] = scale * row[c];
            for (int c = 0; !out && c < group->stride; c++) row[c] = c < n ? parameters[c] : 0.0f;
        }
    }
}

static void enter(mc_mlp *m, const mc_net *net) {
    const mc_op *op = &net->ops[m->first_op];
    m->scale = 1.0;
    copy_rows(m, net, 0);
    memset(m->bias, 0, (size_t)m->stride * sizeof(float));
    memcpy(m->bias, net->parameters + op->bias, op->n_biases * sizeof(float));
    memcpy(m->start, m->bias, (size_t)m->stride * sizeof(float));
    for (int p = 0; p < m->n_parts; p++) mc_weights_pack(&m->parts[p].next, net);
    for (int g = 0; g < m->n_groups; g++) {
        mlp_rest *rest = &m->groups[g].rest;
        rest->result = (mc_train_result){.finite = 1};
        for (int l = 2; l < m->n_layers; l++) mc_weights_pack(&rest->weights[l], net);
    }
}

static void leave(const mc_mlp *m, mc_net *net, mc_train_result *result) {
    const mc_op *op = &net->ops[m->first_op];
    const mlp_rest *rest = &m->groups[0].rest;
    copy_rows(m, net, 1);
    memcpy(net->parameters + op->bias, m->bias, op->n_biases * sizeof(float));
    for (int p = 0; p < m->n_parts; p++) mc_weights_unpack(&m->parts[p].next, net);
    for (int l = 2; l < m->n_layers; l++) mc_weights_unpack(&rest->weights[l], net);
    result->loss += rest->result.loss;
    result->correct += rest->result.correct;
    result->finite = rest->result.finite;
    mc_net_touch(net);
}

/* What `leave` and `enter` would do to the rows; between minibatches. */
static void fold_scale(mc_mlp *m, const mc_net *net) {
    if (m->scale == 1.0) return;
    const float scale = (float)m->scale;
    for (int g = 0; g < m->n_groups; g++) {
        float *rows = m->groups[g].rows;
        const size_t size = net->n_inputs * (size_t)m->groups[g].stride;
        for (size_t i = 0; i < size; i++) rows[i] *= scale;
    }
    m->scale = 1.0;
    memcpy(m->start, m->bias, (size_t)m->stride * sizeof(float));
}

/* The last minibatch's update with the next one's forward pass. */
static void run_minibatch(mlp_work *w, int n_next) {
    mc_mlp *m = w->m;
    double scale = m->scale;
    w->n_next = n_next;
    w->keep = 1.0f - w->rate * w->step->t->spec.weight_decay;
    if (w->n_last && w->keep != 1.0f) {
        m->scale *= w->keep;
        if (fabs(m->scale) < 1.0 / MLP_RESCALE || fabs(m->scale) > MLP_RESCALE) {
            fold_scale(m, w->net); /* before the step, which is divided by it */
            scale = 1.0;
        }
    }
    mc_parallel_own(m->n_groups, turn_minibatch, w);
    if (w->n_last && m->groups[0].rest.result.finite)
        w->steps++;
    else
        m->scale = scale; /* there was no update */
    w->n_last = n_next;
    w->turn = !w->turn;
}

/* The scale is folded at fixed steps, so that it does not matter where calls end in between. */
int mc_mlp_grain(void) {
    return MLP_GRAIN;
}

void mc_mlp_run(mc_mlp *m, mc_step_context *c, const float *rates, mc_train_result *result) {
    const mc_net *net = c->t->net;
    const mc_train_data *data = c->data;
    const size_t batch = m->panels.batch, n = (data->n_order + batch - 1) / batch;
    const int *finite = &m->groups[0].rest.result.finite;
    mlp_work work = {.m = m, .net = net, .data = data, .step = c};
    split_units(m, net, c->n_threads);
    enter(m, net);
    for (size_t i = 0; i < n && *finite; i++) {
        work.order = data->order + i * batch;
        work.n_order = data->n_order - i * batch;
        if (m->images) {
            const size_t ahead = i % MLP_AHEAD, left = n - i < MLP_AHEAD ? n - i : MLP_AHEAD;
            if (ahead == 0) mc_parallel(c->n_threads, (int)left, change_images, &work);
            work.images = m->images + ahead * batch * net->n_inputs;
        }
        run_minibatch(&work, (int)(work.n_order < batch ? work.n_order : batch));
        if (!*finite) break;
        mc_gather_targets(c, work.order, work.n_last);
        work.rate = rates[i];
        if (i + 1 == n || ((i + 1) % MLP_GRAIN == 0 && c->t->spec.weight_decay > 0.0f)) {
            run_minibatch(&work, 0);
            fold_scale(m, net);
        }
    }
    leave(m, c->t->net, result);
    c->t->step += work.steps;
}
