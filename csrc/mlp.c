/* mlp.c - minibatch descent for small dense networks on images that are mostly paper.
 *
 * Four fifths of MNIST's pixels are zero, and a zero pixel needs neither its row of weights in the
 * forward pass nor its row of the gradient. So the first layer never forms a gradient: every image
 * adds its deltas to the rows of its inked pixels (row_spread), and the next minibatch's images sum
 * the rows of theirs (row_sum). Both happen block of pixels by block of pixels, so that a row comes
 * from the second-level cache once per minibatch. Weight decay of that layer is one factor,
 * `scale`: weights = scale * rows. The small layers behind it live in packed panels, one set for
 * each direction, updated in place alike.
 *
 * Same arithmetic meaning as the general walk (train.c): exact minibatch SGD. Used for plain SGD
 * (see mc_mlp_fits); its steps are those of mc_trainer_gradients up to rounding, which tests check.
 *
 * Shapes: values and deltas of layer l (batch, strides[l]), columns beyond the layer's units zero.
 * Threads split the first layer by columns into groups, each with rows of its own, so that no sum
 * depends on them and no cache line is shared.
 */
#include <math.h>

#include "threads.h"
#include "train.h"

enum {
    MLP_MOST_BATCH = 64,
    MLP_AHEAD = 4,
    MLP_RESCALE = 1 << 10,
    MLP_GRAIN = 64,
    MLP_BLOCK_FLOATS = 16 << 10,
    MLP_MOST_GROUPS = 4
};

/* The inked pixels of each image of one minibatch; terms: offset in a group's rows, ink. */
typedef struct {
    int32_t *start; /* (batch * blocks + 1), image by image */
    mc_term *terms;
} mlp_ink;

/* The columns of the first layer that one thread works on. Threads make lists of their own: lists
 * that one makes and another reads cost more on their way between caches than in the making. */
typedef struct {
    int first, width;
    float *rows;    /* (inputs, group stride) */
    float *sums;    /* (batch, group stride): before the activation */
    float *step;    /* (batch, group stride): deltas times -rate / scale */
    mlp_ink ink[2]; /* of one minibatch and of the next */
} mlp_group;

struct mc_mlp {
    int first_op, n_layers;
    int block, n_blocks; /* pixels of a block, whose rows stay in a near cache */
    int n_groups, group_stride;
    int stride; /* units of the first layer in whole vectors */
    double scale;
    float *bias, *start;      /* (stride); start = bias / scale */
    float **values, **deltas; /* per layer */
    int *strides;
    float *scaled; /* (batch, widest): deltas of a later layer times -rate */
    float *panel;  /* (batch, cols) */
    float *images; /* (MLP_AHEAD, batch, inputs): changed by augmentation; else NULL */
    int32_t *positions;
    mlp_group groups[MLP_MOST_GROUPS];
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
    for (int i = first; i < net->n_ops; i++)
        if (net->ops[i].layer.type != MC_DENSE) return 0;
    /* Beyond that, rows fall out of the second-level cache and dense blocks win. */
    return net->ops[first].n_weights <= (size_t)1 << 18;
}

static int whole(int n, int unit) {
    return (n + unit - 1) / unit * unit;
}

/* Rows, sums and steps of a group; groups begin on a cache line. */
static size_t group_floats(size_t stride, size_t inputs, size_t batch) {
    return ((inputs + 2 * batch) * stride + 15) & ~(size_t)15;
}

mc_mlp *mc_mlp_lay_out(const mc_net *net, const mc_train_spec *spec, mc_arena *arena) {
    const size_t batch = (size_t)spec->batch_size, inputs = net->n_inputs;
    const int cols = net->kernels->cols, first = first_op(net);
    int most = 0;
    for (int i = first; i < net->n_ops; i++)
        if (net->ops[i].n_out > most) most = net->ops[i].n_out;
    const size_t layers = (size_t)(net->n_ops - first), wide = (size_t)whole(most, cols);
    mc_mlp draft = {.first_op = first, .n_layers = (int)layers};
    mc_mlp *m = mc_take(arena, 1, sizeof draft);
    draft.stride = whole(net->ops[first].n_out, net->kernels->unit);
    draft.n_blocks = (int)inputs; /* at most */
    draft.bias = mc_take_floats(arena, (size_t)draft.stride);
    draft.start = mc_take_floats(arena, (size_t)draft.stride);
    draft.values = mc_take(arena, layers, sizeof(float *));
    draft.deltas = mc_take(arena, layers, sizeof(float *));
    draft.strides = mc_take(arena, layers, sizeof(int));
    draft.scaled = mc_take_floats(arena, batch * wide);
    draft.panel = mc_take_floats(arena, batch * (size_t)cols);
    if (spec->use_augment) draft.images = mc_take_floats(arena, MLP_AHEAD * batch * inputs);
    draft.positions = mc_take(arena, batch, sizeof(int32_t));
    /* Each group may be a unit wider than its share. */
    const size_t all = (size_t)(draft.stride + MLP_MOST_GROUPS * net->kernels->unit);
    draft.group_memory =
        mc_take_floats(arena, group_floats(all, inputs, batch) + 16 * MLP_MOST_GROUPS);
    for (int i = 0; i < 2 * MLP_MOST_GROUPS; i++)
        draft.groups[i / 2].ink[i % 2] =
            (mlp_ink){.start = mc_take(arena, batch * (size_t)draft.n_blocks + 1, sizeof(int32_t)),
                      .terms = mc_take(arena, batch * inputs + MC_MORE_TERMS, sizeof(mc_term))};
    for (size_t l = 0; l < layers; l++) {
        const int last = l == layers - 1, n = net->ops[first + (int)l].n_out;
        const int stride = l == 0 && !last ? draft.stride : last ? n : whole(n, cols);
        float *values = mc_take_floats(arena, batch * (size_t)stride);
        float *deltas = mc_take_floats(arena, batch * (size_t)stride);
        if (!arena->base) continue;
        memset(values, 0, batch * (size_t)stride * sizeof(float));
        memset(deltas, 0, batch * (size_t)stride * sizeof(float));
        draft.values[l] = values;
        draft.deltas[l] = deltas;
        draft.strides[l] = stride;
    }
    if (m) *m = draft;
    return m;
}

/* ---- the first layer, by columns ---- */

typedef struct {
    mc_mlp *m;
    const mc_step_context *step;
    const int64_t *order; /* of the minibatches from the next on */
    size_t n_order;
    int turn;            /* of the two lists, the next minibatch's */
    int n_last, n_next;  /* images to update by, images to go forward; 0 for none */
    float rate, keep;    /* of that update: learning rate, 1 - rate * decay */
    const float *images; /* of the next minibatch, where they are changed */
} mlp_work;

static void split_columns(mc_mlp *m, const mc_net *net, int threads, size_t batch) {
    const int unit = net->kernels->unit, units = m->stride / unit;
    int n = threads < units / 3 ? threads : units / 3;
    n = n > MLP_MOST_GROUPS ? MLP_MOST_GROUPS : n < 1 ? 1 : n;
    m->n_groups = n;
    m->group_stride = (units + n - 1) / n * unit;
    const int block = MLP_BLOCK_FLOATS / m->group_stride / 16 * 16;
    m->block = block < 16 ? 16 : block;
    m->n_blocks = whole((int)net->n_inputs, m->block) / m->block;
    float *memory = m->group_memory;
    for (int g = 0; g < n; g++) {
        const int first = units * g / n * unit, last = units * (g + 1) / n * unit;
        mlp_group *group = &m->groups[g];
        group->first = first;
        group->width = last - first;
        group->rows = memory;
        group->sums = group->rows + net->n_inputs * (size_t)m->group_stride;
        group->step = group->sums + batch * (size_t)m->group_stride;
        memory += group_floats((size_t)m->group_stride, net->n_inputs, batch);
    }
}

/* The images come in random order from far more memory than any cache holds: ask early. */
static void prefetch_images(const mc_train_data *data, const int64_t *order, int n, size_t inputs) {
    const size_t bytes = inputs * (data->is_uint8 ? 1 : sizeof(float));
    for (int i = 0; i < n; i++) {
        const char *image = (const char *)data->x + (size_t)order[i] * bytes;
        for (size_t b = 0; b < bytes; b += 64) __builtin_prefetch(image + b);
    }
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

static void list_ink(const mlp_work *w, const mlp_ink *ink) {
    const mc_mlp *m = w->m;
    const mc_kernels *k = w->step->t->net->kernels;
    const mc_train_data *data = w->step->data;
    const size_t inputs = w->step->t->net->n_inputs, block = (size_t)m->block;
    const size_t after = w->n_order - (size_t)w->n_next, n = (size_t)w->n_next;
    const int32_t stride = m->group_stride;
    prefetch_images(data, w->order + n, (int)(after < n ? after : n), inputs);
    int32_t *start = ink->start;
    int count = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t at = (w->images ? i : (size_t)w->order[i]) * inputs;
        const float *image = (w->images ? w->images : (const float *)data->x) + at;
        const uint8_t *bytes = (const uint8_t *)data->x + at;
        for (size_t p = 0; p < inputs; p += block) {
            const size_t length = inputs - p < block ? inputs - p : block;
            const int32_t row = (int32_t)p * stride;
            *start++ = count;
            if (data->is_uint8 && !w->images)
                count += k->list_pixels(bytes + p, length, stride, row, ink->terms + count);
            else
                count += k->list_inputs(image + p, length, stride, row, ink->terms + count);
        }
    }
    *start = count;
}

/* The groups' sums side by side. */
static void gather_sums(const mc_mlp *m, int n) {
    const float scale = (float)m->scale;
    for (int g = 0; g < m->n_groups; g++) {
        const mlp_group *group = &m->groups[g];
        for (int i = 0; i < n; i++) {
            const float *from = group->sums + (size_t)i * (size_t)m->group_stride;
            float *to = m->values[0] + (size_t)i * (size_t)m->stride + group->first;
            for (int c = 0; c < group->width; c++) to[c] = scale * from[c];
        }
    }
}

/* Deltas of the first layer to the groups' steps, and the bias. */
static void spread_deltas(mc_mlp *m, int n, float rate) {
    const float factor = (float)(-rate / m->scale), inverse = (float)(1.0 / m->scale);
    for (int g = 0; g < m->n_groups; g++) {
        const mlp_group *group = &m->groups[g];
        for (int i = 0; i < n; i++) {
            const float *from = m->deltas[0] + (size_t)i * (size_t)m->stride + group->first;
            float *to = group->step + (size_t)i * (size_t)m->group_stride;
            for (int c = 0; c < group->width; c++) to[c] = factor * from[c];
        }
    }
    const float *delta = m->deltas[0];
    for (int i = 0; i < n; i++, delta += m->stride)
        for (int c = 0; c < m->stride; c++) m->bias[c] -= rate * delta[c];
    for (int c = 0; c < m->stride; c++) m->start[c] = inverse * m->bias[c];
}

/* ---- the layers behind it ---- */

static void set_positions(mc_mlp *m, int n, int stride) {
    for (int i = 0; i < n; i++) m->positions[i] = i * stride;
}

static void forward_rest(mc_mlp *m, const mc_trainer *t, int n) {
    const mc_net *net = t->net;
    const mc_kernels *k = net->kernels;
    for (int l = 0; l < m->n_layers; l++) {
        const mc_op *op = &net->ops[m->first_op + l];
        float *y = m->values[l];
        const int stride = m->strides[l];
        if (l) {
            set_positions(m, n, m->strides[l - 1]);
            for (int p = 0; p < op->n_panels; p++) {
                const int c0 = p * k->cols, left = stride - c0;
                k->dot_panel(m->values[l - 1], m->positions, n, op->taps, op->n_taps,
                             op->panels + (size_t)p * mc_panel_floats(net, op), 0, y + c0, stride,
                             left < k->cols ? left : k->cols);
            }
        }
        if (l < m->n_layers - 1)
            k->activate(op->layer.activation, y, (size_t)n * (size_t)stride, (size_t)stride);
    }
}

/* panel (n, cols) = factor * columns c0 .. of x, zeros beyond `columns`. */
static void take_columns(const float *x, int stride, int c0, int columns, int cols, int n,
                         float factor, float *panel) {
    const int inside = columns - c0 < cols ? columns - c0 : cols;
    for (int i = 0; i < n; i++, x += stride, panel += cols) {
        for (int c = 0; c < inside; c++) panel[c] = factor * x[c0 + c];
        for (int c = inside; c < cols; c++) panel[c] = 0.0f;
    }
}

static void shrink(float *panel, int n_taps, int cols, float factor) {
    float *x = panel + cols; /* the biases do not decay */
    for (int i = 0; i < n_taps * cols; i++) x[i] *= factor;
}

/* Both packings of layer l's weights go down the gradient; the products and their order are the
 * same, so they stay equal to the bit. */
static void update_layer(mc_mlp *m, const mc_trainer *t, int l, int n, float rate, float keep) {
    const mc_net *net = t->net;
    const mc_kernels *k = net->kernels;
    const mc_op *op = &net->ops[m->first_op + l];
    const int stride = m->strides[l], before = m->strides[l - 1], cols = k->cols;
    for (int p = 0; p < op->n_panels; p++) {
        float *panel = op->panels + (size_t)p * mc_panel_floats(net, op);
        take_columns(m->deltas[l], stride, p * cols, op->n_out, cols, n, -rate, m->panel);
        if (keep != 1.0f) shrink(panel, op->n_taps, cols, keep);
        set_positions(m, n, before);
        k->outer_panel(m->values[l - 1], m->positions, n, op->taps, op->n_taps, m->panel,
                       panel + cols, cols, cols);
        for (int i = 0; i < n; i++) k->add(panel, m->panel + i * cols, (size_t)cols);
    }
    float *back = t->back[m->first_op + l];
    const int parts = mc_back_parts(net, op);
    for (int i = 0; i < n * stride; i++) m->scaled[i] = -rate * m->deltas[l][i];
    set_positions(m, n, stride);
    for (int p = 0; p < parts; p++) {
        float *panel = back + (size_t)p * (size_t)(op->n_back_taps + 1) * (size_t)cols;
        take_columns(m->values[l - 1], before, p * cols, op->n_taps, cols, n, 1.0f, m->panel);
        if (keep != 1.0f) shrink(panel, op->n_back_taps, cols, keep);
        k->outer_panel(m->scaled, m->positions, n, op->back_taps, op->n_back_taps, m->panel,
                       panel + cols, cols, cols);
    }
}

static void update_rest(const mlp_work *w) {
    for (int l = w->m->n_layers - 1; l > 0; l--)
        update_layer(w->m, w->step->t, l, w->n_last, w->rate, w->keep);
}

/* What one thread does between two minibatches; the first also updates the layers behind, for
 * which its share of the columns is the smaller one. */
static void walk_columns(void *context, int task, int thread) {
    (void)thread;
    const mlp_work *w = context;
    const mc_mlp *m = w->m;
    const mlp_group *g = &m->groups[task];
    const mlp_ink *last = &g->ink[!w->turn], *next = &g->ink[w->turn];
    const mc_kernels *k = w->step->t->net->kernels;
    const size_t stride = (size_t)m->group_stride, blocks = (size_t)m->n_blocks;
    if (task == 0 && w->n_last) update_rest(w);
    if (w->n_next) list_ink(w, next);
    for (size_t i = 0; i < (size_t)w->n_next; i++)
        memcpy(g->sums + i * stride, m->start + g->first, (size_t)g->width * sizeof(float));
    for (size_t b = 0; b < blocks; b++) {
        for (size_t i = 0; i < (size_t)w->n_last; i++) {
            const int32_t *start = last->start + i * blocks + b;
            k->row_spread(g->step + i * stride, last->terms + start[0], start[1] - start[0],
                          g->rows, g->width);
        }
        for (size_t i = 0; i < (size_t)w->n_next; i++) {
            const int32_t *start = next->start + i * blocks + b;
            k->row_sum(g->rows, next->terms + start[0], start[1] - start[0], g->sums + i * stride,
                       g->width);
        }
    }
}

static void backward_rest(mc_mlp *m, const mc_trainer *t, int n) {
    const mc_net *net = t->net;
    const mc_kernels *k = net->kernels;
    for (int l = m->n_layers - 1; l > 0; l--) {
        const mc_op *op = &net->ops[m->first_op + l], *below = op - 1;
        const float *back = t->back[m->first_op + l];
        const int stride = m->strides[l - 1], parts = mc_back_parts(net, op);
        set_positions(m, n, m->strides[l]);
        for (int p = 0; p < parts; p++) {
            const int c0 = p * k->cols, left = stride - c0;
            k->dot_panel(m->deltas[l], m->positions, n, op->back_taps, op->n_back_taps,
                         back + (size_t)p * (size_t)(op->n_back_taps + 1) * (size_t)k->cols, 0,
                         m->deltas[l - 1] + c0, stride, left < k->cols ? left : k->cols);
        }
        k->deactivate(below->layer.activation, m->values[l - 1], m->deltas[l - 1],
                      (size_t)n * (size_t)stride, (size_t)stride);
    }
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
            float *row = group->rows + k * (size_t)m->group_stride;
            float *parameters = weight + k * (size_t)op->n_out + group->first;
            for (int c = 0; out && c < n; c++) parameters[c] = scale * row[c];
            for (int c = 0; !out && c < group->width; c++) row[c] = c < n ? parameters[c] : 0.0f;
        }
    }
}

static void enter(mc_mlp *m, const mc_trainer *t) {
    const mc_net *net = t->net;
    const mc_op *op = &net->ops[m->first_op];
    m->scale = 1.0;
    copy_rows(m, net, 0);
    memset(m->bias, 0, (size_t)m->stride * sizeof(float));
    memcpy(m->bias, net->parameters + op->bias, op->n_biases * sizeof(float));
    memcpy(m->start, m->bias, (size_t)m->stride * sizeof(float));
    for (int l = 1; l < m->n_layers; l++) {
        op = &net->ops[m->first_op + l];
        mc_pack_panels(net, op, 0, op->n_panels);
        for (int p = 0; p < mc_back_parts(net, op); p++)
            mc_pack_back(net, op, p, t->back[m->first_op + l]);
    }
}

static void leave(const mc_mlp *m, mc_trainer *t) {
    mc_net *net = t->net;
    const mc_op *op = &net->ops[m->first_op];
    const size_t cols = (size_t)net->kernels->cols;
    copy_rows(m, net, 1);
    memcpy(net->parameters + op->bias, m->bias, op->n_biases * sizeof(float));
    for (int l = 1; l < m->n_layers; l++) {
        op = &net->ops[m->first_op + l];
        const size_t units = (size_t)op->n_out;
        for (size_t c = 0; c < units; c++) {
            const float *from = op->panels + c / cols * mc_panel_floats(net, op) + c % cols;
            net->parameters[op->bias + c] = from[0];
            for (size_t k = 0; k < (size_t)op->n_taps; k++)
                net->parameters[op->weight + k * units + c] = from[(k + 1) * cols];
        }
    }
    mc_net_touch(net);
}

/* What `leave` and `enter` would do to the rows; between minibatches, when no step is pending. */
static void fold_scale(mc_mlp *m, const mc_net *net) {
    if (m->scale == 1.0) return;
    const float scale = (float)m->scale;
    for (int g = 0; g < m->n_groups; g++) {
        float *rows = m->groups[g].rows;
        for (size_t i = 0; i < net->n_inputs * (size_t)m->group_stride; i++) rows[i] *= scale;
    }
    m->scale = 1.0;
    memcpy(m->start, m->bias, (size_t)m->stride * sizeof(float));
}

/* The update that is pending. */
static void settle(mlp_work *w) {
    w->n_next = 0;
    if (w->n_last) mc_parallel_own(w->m->n_groups, walk_columns, w);
    w->n_last = 0;
}

/* The last minibatch's update with this one's forward pass, then the rest. */
static void run_minibatch(mlp_work *w, mc_step_context *c, float rate, mc_train_result *result) {
    mc_mlp *m = w->m;
    mc_trainer *t = c->t;
    const int top = m->n_layers - 1;
    w->n_next = c->m;
    mc_parallel_own(m->n_groups, walk_columns, w);
    gather_sums(m, c->m);
    if (m->scale < 1.0 / MLP_RESCALE || m->scale > MLP_RESCALE) fold_scale(m, t->net);
    forward_rest(m, t, c->m);
    mc_gather_targets(c, w->order);
    mc_minibatch_loss(c, m->values[top], m->deltas[top], result);
    w->n_last = 0;
    if (!result->finite) return;
    backward_rest(m, t, c->m);
    w->rate = rate;
    w->keep = 1.0f - rate * t->spec.weight_decay;
    m->scale *= w->keep;
    spread_deltas(m, c->m, rate);
    t->step++;
    w->n_last = c->m;
    w->turn = !w->turn;
}

/* The scale is folded at fixed steps, so that it does not matter where calls end in between. */
int mc_mlp_grain(void) {
    return MLP_GRAIN;
}

void mc_mlp_run(mc_mlp *m, mc_step_context *c, const float *rates, mc_train_result *result) {
    mc_trainer *t = c->t;
    const mc_train_data *data = c->data;
    const size_t batch = (size_t)t->spec.batch_size, n = (data->n_order + batch - 1) / batch;
    mlp_work work = {.m = m, .step = c};
    split_columns(m, t->net, c->n_threads, batch);
    enter(m, t);
    for (size_t i = 0; i < n && result->finite; i++) {
        work.order = data->order + i * batch;
        work.n_order = data->n_order - i * batch;
        c->m = (int)(work.n_order < batch ? work.n_order : batch);
        if (m->images) {
            const size_t ahead = i % MLP_AHEAD, left = n - i < MLP_AHEAD ? n - i : MLP_AHEAD;
            if (ahead == 0) mc_parallel(c->n_threads, (int)left, change_images, &work);
            work.images = m->images + ahead * batch * t->net->n_inputs;
        }
        run_minibatch(&work, c, rates[i], result);
        if ((i + 1) % MLP_GRAIN == 0 && m->scale != 1.0) {
            settle(&work);
            fold_scale(m, t->net);
        }
    }
    settle(&work);
    leave(m, t);
}
