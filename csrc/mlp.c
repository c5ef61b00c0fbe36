/* mlp.c - minibatch descent for small dense networks on images that are mostly paper.
 *
 * Four fifths of MNIST's pixels are zero, and a zero pixel needs neither its row of weights in the
 * forward pass nor its row of the gradient. So the first layer never forms a gradient: for each
 * pixel that some image of the minibatch has ink in, its row of weights is corrected in place
 * (row_sum over those images), and the next minibatch spreads the row into its sums (row_spread).
 * Weight decay of that layer is one factor, `scale`: weights = scale * rows. The small layers
 * behind it live in packed panels, one set for each direction, updated in place alike.
 *
 * Same arithmetic meaning as the general walk (train.c): exact minibatch SGD. Used for plain SGD
 * (see mc_mlp_fits); its gradients are those of mc_trainer_gradients up to rounding, which tests
 * check.
 *
 * Shapes: rows (inputs, stride); values and deltas of layer l (batch, strides[l]), columns beyond
 * the layer's units zero. Threads split the first layer by columns, so no sum depends on them.
 */
#include <math.h>

#include "threads.h"
#include "train.h"

enum { MLP_MOST_BATCH = 64, MLP_AHEAD = 4, MLP_RESCALE = 1 << 10 };

/* The pixels of one minibatch that have ink, and for each the images that have it. */
typedef struct {
    int n_pixels;
    int32_t *pixel, *start; /* (inputs), (inputs + 1) into terms */
    mc_term *terms;         /* offset: image * stride of the first layer; value: ink */
} mlp_ink;

struct mc_mlp {
    int first_op, n_layers;
    int stride; /* units of the first layer in whole vectors */
    float *rows, *bias;
    double scale;
    float **values, **deltas; /* per layer */
    int *strides;
    float *step;   /* (batch, stride): deltas of the first layer times -rate / scale */
    float *scaled; /* (batch, widest): deltas of a later layer times -rate */
    float *panel;  /* (batch, cols) */
    float *images; /* (MLP_AHEAD, batch, inputs) */
    int32_t *taps, *positions;
    mlp_ink ink[MLP_AHEAD];
};

int mc_mlp_fits(const mc_net *net, const mc_train_spec *spec) {
    if (spec->optimizer != MC_SGD || spec->momentum > 0.0f || spec->clip_norm > 0.0f ||
        spec->ema_decay > 0.0f || spec->batch_size > MLP_MOST_BATCH)
        return 0;
    int first = 0;
    while (first < net->n_ops && net->ops[first].layer.type == MC_FLATTEN) first++;
    if (net->n_ops - first < 2) return 0;
    for (int i = first; i < net->n_ops; i++)
        if (net->ops[i].layer.type != MC_DENSE) return 0;
    /* Beyond that, rows fall out of the second-level cache and dense blocks win. */
    return net->ops[first].n_weights <= (size_t)1 << 18;
}

static int whole(int n, int unit) {
    return (n + unit - 1) / unit * unit;
}

mc_mlp *mc_mlp_lay_out(const mc_net *net, const mc_train_spec *spec, mc_arena *arena) {
    const size_t batch = (size_t)spec->batch_size, inputs = net->n_inputs;
    const int cols = net->kernels->cols;
    int first = 0, most = 0;
    while (net->ops[first].layer.type != MC_DENSE) first++;
    for (int i = first; i < net->n_ops; i++)
        if (net->ops[i].n_out > most) most = net->ops[i].n_out;
    const size_t layers = (size_t)(net->n_ops - first), wide = (size_t)whole(most, cols);
    mc_mlp draft = {.first_op = first, .n_layers = (int)layers};
    mc_mlp *m = mc_take(arena, 1, sizeof draft);
    draft.stride = whole(net->ops[first].n_out, net->kernels->lane);
    draft.rows = mc_take_floats(arena, inputs * (size_t)draft.stride);
    draft.bias = mc_take_floats(arena, (size_t)draft.stride);
    draft.values = mc_take(arena, layers, sizeof(float *));
    draft.deltas = mc_take(arena, layers, sizeof(float *));
    draft.strides = mc_take(arena, layers, sizeof(int));
    draft.step = mc_take_floats(arena, batch * (size_t)draft.stride);
    draft.scaled = mc_take_floats(arena, batch * wide);
    draft.panel = mc_take_floats(arena, batch * (size_t)cols);
    draft.images = mc_take_floats(arena, MLP_AHEAD * batch * inputs);
    draft.taps = mc_take(arena, wide > inputs ? wide : inputs, sizeof(int32_t));
    draft.positions = mc_take(arena, batch, sizeof(int32_t));
    for (int a = 0; a < MLP_AHEAD; a++)
        draft.ink[a] = (mlp_ink){.pixel = mc_take(arena, inputs, sizeof(int32_t)),
                                 .start = mc_take(arena, inputs + 1, sizeof(int32_t)),
                                 .terms = mc_take(arena, batch * inputs, sizeof(mc_term))};
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
    int n_next;
    int n_groups;
} mlp_work;

/* Bits that some image has in pixels k .. k + 7; 0 where all is paper. */
static int any_ink(const float *images, int n, size_t inputs) {
    uint32_t seen[8] = {0}, all = 0;
    for (int i = 0; i < n; i++, images += inputs) {
        uint32_t bits[8];
        memcpy(bits, images, sizeof bits);
        for (int j = 0; j < 8; j++) seen[j] |= bits[j];
    }
    for (int j = 0; j < 8; j++) all |= seen[j];
    return all != 0;
}

static void list_ink(const float *images, int n, size_t inputs, int stride, mlp_ink *ink) {
    int n_pixels = 0, n_terms = 0;
    mc_term *terms = ink->terms;
    for (size_t k0 = 0; k0 < inputs; k0 += 8) {
        if (k0 + 8 <= inputs && !any_ink(images + k0, n, inputs)) continue;
        for (size_t k = k0; k < k0 + 8 && k < inputs; k++) {
            const int before = n_terms;
            const float *value = images + k;
            for (int i = 0; i < n; i++, value += inputs) {
                terms[n_terms] = (mc_term){i * stride, *value};
                n_terms += mc_is_live(*value);
            }
            ink->pixel[n_pixels] = (int32_t)k;
            ink->start[n_pixels] = before;
            n_pixels += n_terms > before;
        }
    }
    ink->start[n_pixels] = n_terms;
    ink->n_pixels = n_pixels;
}

/* The images come in random order from far more memory than any cache holds: ask early. */
static void prefetch_images(const mc_train_data *data, const int64_t *order, int n, size_t inputs) {
    const size_t bytes = inputs * (data->is_uint8 ? 1 : sizeof(float));
    for (int i = 0; i < n; i++) {
        const char *image = (const char *)data->x + (size_t)order[i] * bytes;
        for (size_t b = 0; b < bytes; b += 64) __builtin_prefetch(image + b);
    }
}

/* Images of minibatch `task` of those read ahead, and the lists of its ink. */
static void read_minibatch(void *context, int task, int thread) {
    const mlp_work *w = context;
    mc_mlp *m = w->m;
    const mc_trainer *t = w->step->t;
    const size_t inputs = t->net->n_inputs, batch = (size_t)t->spec.batch_size;
    const size_t first = (size_t)task * batch;
    const int n = (int)(w->n_order - first < batch ? w->n_order - first : batch);
    float *images = m->images + (size_t)task * batch * inputs;
    mlp_ink *ink = &m->ink[task];
    if (first + (size_t)n < w->n_order) {
        const size_t after = w->n_order - first - (size_t)n;
        prefetch_images(w->step->data, w->order + first + n, (int)(after < batch ? after : batch),
                        inputs);
    }
    for (int i = 0; i < n; i++)
        mc_load_image(w->step, (size_t)w->order[first + (size_t)i], images + (size_t)i * inputs,
                      thread);
    list_ink(images, n, inputs, m->stride, ink);
}

static void walk_columns(void *context, int task, int thread) {
    (void)thread;
    const mlp_work *w = context;
    const mc_mlp *m = w->m;
    const mc_kernels *k = w->step->t->net->kernels;
    const int lane = k->lane, vectors = m->stride / lane;
    const int c0 = vectors * task / w->n_groups * lane;
    const int length = vectors * (task + 1) / w->n_groups * lane - c0;
    if (w->last)
        for (int p = 0; p < w->last->n_pixels; p++) {
            const int32_t *start = w->last->start + p;
            k->row_sum(m->step + c0, w->last->terms + start[0], start[1] - start[0],
                       m->rows + (ptrdiff_t)w->last->pixel[p] * m->stride + c0, length);
        }
    if (!w->next) return;
    float *sums = m->values[0] + c0;
    const float scale = (float)m->scale, inverse = 1.0f / scale;
    for (int i = 0; i < w->n_next; i++)
        for (int c = 0; c < length; c++)
            sums[(ptrdiff_t)i * m->stride + c] = inverse * m->bias[c0 + c];
    for (int p = 0; p < w->next->n_pixels; p++) {
        const int32_t *start = w->next->start + p;
        k->row_spread(m->rows + (ptrdiff_t)w->next->pixel[p] * m->stride + c0,
                      w->next->terms + start[0], start[1] - start[0], sums, length);
    }
    for (int i = 0; scale != 1.0f && i < w->n_next; i++, sums += m->stride)
        for (int c = 0; c < length; c++) sums[c] *= scale;
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
    const float factor = (float)(-rate / m->scale);
    const float *delta = m->deltas[0];
    for (int i = 0; i < n * m->stride; i++) m->step[i] = factor * delta[i];
    for (int i = 0; i < n; i++)
        for (int c = 0; c < m->stride; c++) m->bias[c] -= rate * delta[i * m->stride + c];
}

/* ---- in and out of the parameters ---- */

static void enter(mc_mlp *m, const mc_trainer *t) {
    const mc_net *net = t->net;
    const mc_op *op = &net->ops[m->first_op];
    const size_t n = (size_t)op->n_out, stride = (size_t)m->stride;
    const float *weight = net->parameters + op->weight;
    for (size_t k = 0; k < net->n_inputs; k++) {
        memcpy(m->rows + k * stride, weight + k * n, n * sizeof(float));
        memset(m->rows + k * stride + n, 0, (stride - n) * sizeof(float));
    }
    memset(m->bias, 0, stride * sizeof(float));
    memcpy(m->bias, net->parameters + op->bias, n * sizeof(float));
    m->scale = 1.0;
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
    const size_t n = (size_t)op->n_out, stride = (size_t)m->stride, cols = net->kernels->cols;
    float *weight = net->parameters + op->weight;
    const float scale = (float)m->scale;
    for (size_t k = 0; k < net->n_inputs; k++)
        for (size_t c = 0; c < n; c++) weight[k * n + c] = scale * m->rows[k * stride + c];
    memcpy(net->parameters + op->bias, m->bias, n * sizeof(float));
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

static void rescale(mc_mlp *m, const mc_trainer *t) {
    if (m->scale > 1.0 / MLP_RESCALE && m->scale < MLP_RESCALE) return;
    const size_t n = t->net->n_inputs * (size_t)m->stride;
    for (size_t i = 0; i < n; i++) m->rows[i] *= (float)m->scale;
    m->scale = 1.0;
}

void mc_mlp_run(mc_mlp *m, mc_step_context *c, const float *rates, mc_train_result *result) {
    mc_trainer *t = c->t;
    const mc_train_data *data = c->data;
    const size_t batch = (size_t)t->spec.batch_size;
    const int vectors = m->stride / t->net->kernels->lane, top = m->n_layers - 1;
    const int threads = c->n_threads;
    mlp_work work = {.m = m, .step = c};
    work.n_groups = threads < vectors / 3 ? threads : vectors / 3 ? vectors / 3 : 1;
    enter(m, t);
    for (size_t ahead = 0; ahead < data->n_order && result->finite; ahead += MLP_AHEAD * batch) {
        work.order = data->order + ahead;
        work.n_order = data->n_order - ahead;
        const size_t left = (work.n_order + batch - 1) / batch;
        const int n_ahead = left < MLP_AHEAD ? (int)left : MLP_AHEAD;
        mc_parallel(threads, n_ahead, read_minibatch, &work);
        for (int a = 0; a < n_ahead && result->finite; a++) {
            const size_t done = (size_t)a * batch;
            c->m = work.n_next = (int)(work.n_order - done < batch ? work.n_order - done : batch);
            work.next = &m->ink[a];
            mc_parallel(threads, work.n_groups, walk_columns, &work);
            rescale(m, t);
            forward_rest(m, t, c->m);
            mc_gather_targets(c, work.order + done);
            mc_minibatch_loss(c, m->values[top], m->deltas[top], result);
            work.last = NULL;
            if (!result->finite) break;
            backward_rest(m, t, c->m, *rates++);
            t->step++;
            work.last = work.next;
        }
        work.next = NULL; /* before its lists are read over */
        if (work.last) mc_parallel(threads, work.n_groups, walk_columns, &work);
        work.last = NULL;
    }
    leave(m, t);
}
