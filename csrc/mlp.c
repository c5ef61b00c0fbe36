/* mlp.c - minibatch descent for small dense networks on images that are mostly paper.
 *
 * Four fifths of MNIST's pixels are zero, and a zero pixel needs neither its row of weights in the
 * forward pass nor its row of the gradient. So the first layer never forms a gradient: every image
 * adds its deltas to the rows of its inked pixels (row_spread), and the next minibatch's images sum
 * the rows of theirs (row_sum). Both happen block of pixels by block of pixels, so that a row comes
 * into the first-level cache once per minibatch. Weight decay of that layer is one factor, `scale`:
 * weights = scale * rows. The small layers behind it live in packed panels, one set for each
 * direction, updated in place alike.
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
    MLP_BLOCK = 56,
    MLP_MOST_GROUPS = 4
};

/* The inked pixels of each image of one minibatch; terms: offset in a group's rows, ink. */
typedef struct {
    int32_t *start; /* (batch, blocks + 1), in the image's own terms */
    mc_term *terms; /* (batch, inputs) */
} mlp_ink;

/* The columns of the first layer that one thread works on. */
typedef struct {
    int first, width;
    float *rows; /* (inputs, group stride) */
    float *sums; /* (batch, group stride): before the activation */
    float *step; /* (batch, group stride): deltas times -rate / scale */
} mlp_group;

struct mc_mlp {
    int first_op, n_layers, n_blocks;
    int n_groups, group_stride;
    int stride; /* units of the first layer in whole vectors */
    double scale;
    float *bias, *start;      /* (stride); start = bias / scale */
    float **values, **deltas; /* per layer */
    int *strides;
    float *scaled; /* (batch, widest): deltas of a later layer times -rate */
    float *panel;  /* (batch, cols) */
    float *images; /* (MLP_AHEAD, batch, inputs) */
    int32_t *positions;
    mlp_group groups[MLP_MOST_GROUPS];
    float *group_memory;
    mlp_ink ink[MLP_AHEAD];
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

/* All groups' strides together: each may be a vector longer than its share. */
static size_t group_floats(int stride, const mc_kernels *k) {
    return (size_t)(stride + MLP_MOST_GROUPS * 16 * k->lane);
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
    draft.stride = whole(net->ops[first].n_out, net->kernels->lane);
    draft.n_blocks = whole((int)inputs, MLP_BLOCK) / MLP_BLOCK;
    draft.bias = mc_take_floats(arena, (size_t)draft.stride);
    draft.start = mc_take_floats(arena, (size_t)draft.stride);
    draft.values = mc_take(arena, layers, sizeof(float *));
    draft.deltas = mc_take(arena, layers, sizeof(float *));
    draft.strides = mc_take(arena, layers, sizeof(int));
    draft.scaled = mc_take_floats(arena, batch * wide);
    draft.panel = mc_take_floats(arena, batch * (size_t)cols);
    draft.images = mc_take_floats(arena, MLP_AHEAD * batch * inputs);
    draft.positions = mc_take(arena, batch, sizeof(int32_t));
    draft.group_memory =
        mc_take_floats(arena, (inputs + 2 * batch) * group_floats(draft.stride, net->kernels));
    for (int a = 0; a < MLP_AHEAD; a++)
        draft.ink[a] = (mlp_ink){
            .start = mc_take(arena, batch * ((size_t)draft.n_blocks + 1), sizeof(int32_t)),
            .terms = mc_take(arena, batch * (inputs + 8), sizeof(mc_term))};
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
    const int64_t *order; /* of the minibatches that are read ahead */
    size_t n_order;
    const mlp_ink *last, *next; /* update by the last minibatch, forward of the next; or NULL */
    int n_last, n_next;
} mlp_work;

static void split_columns(mc_mlp *m, const mc_net *net, int threads, size_t batch) {
    const int lane = net->kernels->lane, vectors = m->stride / lane;
    int n = threads < vectors / 3 ? threads : vectors / 3;
    n = n > MLP_MOST_GROUPS ? MLP_MOST_GROUPS : n < 1 ? 1 : n;
    m->n_groups = n;
    m->group_stride = (vectors + n - 1) / n * lane;
    float *memory = m->group_memory;
    for (int g = 0; g < n; g++) {
        const int first = vectors * g / n * lane, last = vectors * (g + 1) / n * lane;
        mlp_group *group = &m->groups[g];
        *group = (mlp_group){.first = first, .width = last - first, .rows = memory};
        group->sums = group->rows + net->n_inputs * (size_t)m->group_stride;
        group->step = group->sums + batch * (size_t)m->group_stride;
        memory = group->step + whole((int)batch * m->group_stride, 16);
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

/* Images of minibatch `task` of those read ahead, and the lists of their ink. */
static void read_minibatch(void *context, int task, int thread) {
    const mlp_work *w = context;
    const mc_mlp *m = w->m;
    const mc_trainer *t = w->step->t;
    const size_t inputs = t->net->n_inputs, batch = (size_t)t->spec.batch_size;
    const size_t first = (size_t)task * batch, stride = (size_t)m->group_stride;
    const int n = (int)(w->n_order - first < batch ? w->n_order - first : batch);
    if (first + (size_t)n < w->n_order) {
        const size_t after = w->n_order - first - (size_t)n;
        prefetch_images(w->step->data, w->order + first + n, (int)(after < batch ? after : batch),
                        inputs);
    }
    float *image = m->images + (size_t)task * batch * inputs;
    int32_t *start = m->ink[task].start;
    mc_term *terms = m->ink[task].terms;
    for (int i = 0; i < n; i++, image += inputs, terms += inputs + 8) {
        mc_load_image(w->step, (size_t)w->order[first + (size_t)i], image, thread);
        int count = 0;
        for (size_t k = 0; k < inputs; k += MLP_BLOCK) {
            const size_t left = inputs - k;
            *start++ = count;
            count +=
                t->net->kernels->list_inputs(image + k, left < MLP_BLOCK ? left : MLP_BLOCK,
                                             (int32_t)stride, (int32_t)(k * stride), terms + count);
        }
        *start++ = count;
    }
}

static void walk_columns(void *context, int task, int thread) {
    (void)thread;
    const mlp_work *w = context;
    const mc_mlp *m = w->m;
    const mlp_group *g = &m->groups[task];
    const mc_kernels *k = w->step->t->net->kernels;
    const size_t stride = (size_t)m->group_stride, room = w->step->t->net->n_inputs + 8;
    const size_t starts = (size_t)m->n_blocks + 1;
    const int n_last = w->last ? w->n_last : 0, n_next = w->next ? w->n_next : 0;
    for (size_t i = 0; i < (size_t)n_next; i++)
        memcpy(g->sums + i * stride, m->start + g->first, (size_t)g->width * sizeof(float));
    for (int b = 0; b < m->n_blocks; b++) {
        for (size_t i = 0; i < (size_t)n_last; i++) {
            const int32_t *start = w->last->start + i * starts + b;
            k->row_spread(g->step + i * stride, w->last->terms + i * room + start[0],
                          start[1] - start[0], g->rows, g->width);
        }
        for (size_t i = 0; i < (size_t)n_next; i++) {
            const int32_t *start = w->next->start + i * starts + b;
            k->row_sum(g->rows, w->next->terms + i * room + start[0], start[1] - start[0],
                       g->sums + i * stride, g->width);
        }
    }
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

static void backward_rest(mc_mlp *m, const mc_trainer *t, int n, float rate) {
    const mc_net *net = t->net;
    const mc_kernels *k = net->kernels;
    const float keep = 1.0f - rate * t->spec.weight_decay;
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
        update_layer(m, t, l, n, rate, keep);
    }
    m->scale *= keep;
    spread_deltas(m, n, rate);
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
static void fold_scale(mc_mlp *m, const mc_trainer *t) {
    copy_rows(m, t->net, 1);
    m->scale = 1.0;
    copy_rows(m, t->net, 0);
    memcpy(m->start, m->bias, (size_t)m->stride * sizeof(float));
}

/* One minibatch that has been read: the last one's update with its forward pass, then the rest. */
static void run_minibatch(mlp_work *w, mc_step_context *c, const mlp_ink *ink, const int64_t *order,
                          float rate, mc_train_result *result) {
    mc_mlp *m = w->m;
    mc_trainer *t = c->t;
    const int top = m->n_layers - 1;
    w->next = ink;
    w->n_next = c->m;
    mc_parallel(c->n_threads, m->n_groups, walk_columns, w);
    gather_sums(m, c->m);
    if (m->scale < 1.0 / MLP_RESCALE || m->scale > MLP_RESCALE) fold_scale(m, t);
    forward_rest(m, t, c->m);
    mc_gather_targets(c, order);
    mc_minibatch_loss(c, m->values[top], m->deltas[top], result);
    w->last = NULL;
    if (!result->finite) return;
    backward_rest(m, t, c->m, rate);
    t->step++;
    w->last = ink;
    w->n_last = c->m;
}

/* The scale is folded at fixed steps, so that it does not matter where calls end in between. */
int mc_mlp_grain(void) {
    return MLP_GRAIN;
}

void mc_mlp_run(mc_mlp *m, mc_step_context *c, const float *rates, mc_train_result *result) {
    mc_trainer *t = c->t;
    const mc_train_data *data = c->data;
    const size_t batch = (size_t)t->spec.batch_size;
    mlp_work work = {.m = m, .step = c};
    split_columns(m, t->net, c->n_threads, batch);
    enter(m, t);
    for (size_t ahead = 0; ahead < data->n_order && result->finite; ahead += MLP_AHEAD * batch) {
        work.order = data->order + ahead;
        work.n_order = data->n_order - ahead;
        const size_t left = (work.n_order + batch - 1) / batch;
        const int n_ahead = left < MLP_AHEAD ? (int)left : MLP_AHEAD;
        mc_parallel(c->n_threads, n_ahead, read_minibatch, &work);
        for (int a = 0; a < n_ahead && result->finite; a++) {
            const size_t done = (size_t)a * batch;
            c->m = (int)(work.n_order - done < batch ? work.n_order - done : batch);
            run_minibatch(&work, c, &m->ink[a], work.order + done, *rates++, result);
        }
        work.next = NULL; /* the lists are read over */
        if (work.last) mc_parallel(c->n_threads, m->n_groups, walk_columns, &work);
        work.last = NULL;
        if ((ahead / batch + MLP_AHEAD) % MLP_GRAIN == 0) fold_scale(m, t);
    }
    leave(m, t);
}
