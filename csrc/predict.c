/* predict.c - forward passes: slices of images through all ops, spread over the threads.
 *
 * A thread owns two buffers that the ops write in turn. Slices are independent, so the number of
 * threads changes nothing but time. Floats are checked where they are read, so that images come
 * from memory once.
 */
#include <stdatomic.h>

#include "ops.h"
#include "threads.h"

/* What a range asks of the bits of its floats, which as integers are in the floats' order. */
typedef struct {
    uint32_t mask, most;
} mc_limit;

static const mc_limit limits[] = {
    [MC_ALL] = {0, 0}, [MC_FINITE] = {0x7fffffff, 0x7f7fffff}, [MC_PIXELS] = {~0u, 0x3f800000}};

enum { PAPER_AHEAD = 8 }; /* ink is given up where so many blank images more would not help */

typedef struct mc_predictor {
    int n_threads, slice;
    int ink_op;    /* a first dense layer, that may take only ink; -1: there is none */
    size_t most;   /* floats of the largest value of an image */
    float *values; /* (n_threads, 2, slice, most) */
    mc_ink *ink;   /* (n_threads) */
    char *scratch; /* (n_threads, scratch_bytes) */
    size_t scratch_bytes;
} mc_predictor;

typedef struct {
    mc_net *net;
    const mc_predictor *predictor;
    const mc_images *images;
    float *out;
    atomic_int outside; /* a value out of range was seen */
} mc_prediction;

int mc_slice_images(size_t floats) {
    const size_t budget = (size_t)1 << 16; /* 256 KiB of floats */
    const size_t n = budget / (floats ? floats : 1);
    return n < 4 ? 4 : n > 32 ? 32 : (int)n;
}

/* n images from `first` on, where they lie or, of bytes, as floats in `room`. */
static const float *read_images(const mc_prediction *p, size_t first, size_t n, float *room) {
    const mc_images *m = p->images;
    const size_t inputs = p->net->n_inputs;
    if (!m->is_uint8) return (const float *)m->x + first * inputs;
    p->net->kernels->from_uint8((const uint8_t *)m->x + first * inputs, room, n * inputs);
    return room;
}

/* The same; NULL if a value is out of range. */
static const float *check_images(const mc_prediction *p, size_t first, size_t n, float *room) {
    const mc_limit limit = limits[p->images->range];
    const float *x = read_images(p, first, n, room);
    if (p->images->is_uint8 || p->images->range == MC_ALL) return x;
    const size_t size = n * p->net->n_inputs;
    return p->net->kernels->most_bits(x, size, limit.mask) <= limit.most ? x : NULL;
}

/* Sums of rows do not pay where more than a third of the pixels is ink. */
static int is_dense(const mc_ink *ink, int n, const mc_op *op) {
    return (size_t)ink->n_pixels * 3 > (size_t)n * op->in_size;
}

/* The first layer from the ink of n images, one by one while they are in the first-level cache.
 * 0 if they are mostly ink, or if a value is out of range. Bytes become floats in `room`. */
static int forward_ink(const mc_prediction *p, size_t first, size_t n, mc_ink *ink, float *room,
                       float *y) {
    const mc_net *net = p->net;
    const mc_op *op = &net->ops[p->predictor->ink_op];
    const mc_images *images = p->images;
    const mc_limit limit = limits[images->range];
    const size_t inputs = net->n_inputs;
    ink->n_images = ink->n_pixels = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t ahead = first + i + MC_IMAGES_AHEAD;
        if (ahead < images->n) mc_prefetch(images->x, images->is_uint8, ahead * inputs, inputs);
        const float *x = read_images(p, first + i, 1, room + i * inputs);
        if (mc_ink_add(ink, net, op, x, limit.mask) > limit.most) return 0;
        if (is_dense(ink, ink->n_images + PAPER_AHEAD, op)) return 0;
    }
    if (is_dense(ink, ink->n_images, op)) return 0;
    /* The slice that comes next to this thread: memory is idle while rows are summed. */
    const size_t next = first + (size_t)p->predictor->slice;
    const size_t size = inputs * (images->is_uint8 ? 1 : sizeof(float));
    const int comes = next < images->n && images->n - next >= n;
    const char *ahead = (const char *)images->x + (comes ? next * size : 0);
    const float *x = images->is_uint8 ? room : (const float *)images->x + first * inputs;
    mc_ink_forward(ink, net, op, x, ahead, comes ? size : 0, y);
    net->kernels->activate(op->layer.activation, y, n * op->out_size, op->out_size);
    return 1;
}

static void predict_slice(void *context, int task, int thread) {
    mc_prediction *p = context;
    const mc_net *net = p->net;
    const mc_predictor *r = p->predictor;
    const size_t slice = (size_t)r->slice, first = (size_t)task * slice;
    const size_t left = p->images->n - first, n = left < slice ? left : slice;
    float *buffer[2];
    buffer[0] = r->values + (size_t)thread * 2 * slice * r->most;
    buffer[1] = buffer[0] + slice * r->most;
    const mc_run run = {.net = net, .scratch = r->scratch + (size_t)thread * r->scratch_bytes};
    float *out = p->out + first * net->n_outputs;
    int i = 0, turn = 0;
    const float *x = NULL;
    if (r->ink_op >= 0 && n >= MC_FEW_IMAGES) {
        float *y = r->ink_op == net->n_ops - 1 ? out : buffer[0];
        if (forward_ink(p, first, n, &r->ink[thread], buffer[1], y)) {
            x = y;
            i = r->ink_op + 1;
            turn = 1;
        }
    }
    if (!x) x = check_images(p, first, n, buffer[1]);
    if (!x) {
        atomic_store(&p->outside, 1);
        return;
    }
    for (; i < net->n_ops; i++) {
        const int last = i == net->n_ops - 1;
        if (!last && net->ops[i].layer.type == MC_FLATTEN) continue; /* the same values */
        float *y = last ? out : buffer[turn];
        const mc_values v = {.n = (int)n, .first = first, .x = x, .y = y};
        mc_op_forward(&run, i, &v, 0);
        x = y;
        turn = !turn;
    }
}

static void lay_out(mc_predictor *r, const mc_net *net, mc_arena *arena) {
    const size_t threads = (size_t)r->n_threads;
    size_t values;
    if (__builtin_mul_overflow(threads * 2 * (size_t)r->slice, r->most, &values))
        arena->overflow = 1;
    else
        r->values = mc_take_floats(arena, values);
    r->scratch = mc_take(arena, threads, r->scratch_bytes);
    if (r->ink_op < 0) return;
    mc_ink *ink = mc_take(arena, threads, sizeof *ink), draft = {0};
    for (size_t i = 0; i < threads; i++)
        mc_ink_lay_out(ink && arena->base ? &ink[i] : &draft, &net->ops[r->ink_op], r->slice,
                       arena);
    r->ink = ink;
}

/* Of networks that start with a dense layer. */
static int find_ink_op(const mc_net *net) {
    int i = 0;
    while (i < net->n_ops - 1 && net->ops[i].layer.type == MC_FLATTEN) i++;
    return net->ops[i].layer.type == MC_DENSE && net->ops[i].rows ? i : -1;
}

static mc_predictor *predictor_create(const mc_net *net, int n_threads) {
    size_t most = net->n_inputs;
    for (int i = 0; i < net->n_ops; i++)
        if (net->ops[i].out_size > most) most = net->ops[i].out_size;
    mc_predictor draft = {.n_threads = n_threads, .most = most, .ink_op = find_ink_op(net)};
    draft.slice = mc_slice_images(2 * most);
    if (draft.ink_op >= 0)
        draft.slice *= 2; /* rows of weights come from further away than images */
    draft.scratch_bytes = mc_scratch_bytes(net, 0);
    mc_arena arena = {0};
    mc_take(&arena, 1, sizeof draft);
    lay_out(&draft, net, &arena);
    mc_predictor *predictor = mc_arena_allocate(&arena, 0);
    if (!predictor) return NULL;
    arena = (mc_arena){.base = (char *)predictor};
    mc_take(&arena, 1, sizeof draft);
    *predictor = draft;
    lay_out(predictor, net, &arena);
    return predictor;
}

void mc_predictor_destroy(mc_predictor *predictor) {
    free(predictor);
}

mc_status mc_net_predict(mc_net *net, const mc_images *images, int n_threads, float *out) {
    if (images->n == 0) return MC_OK;
    if (n_threads < 1 || n_threads > MC_MAX_THREADS) return MC_BAD_ARGUMENT;
    if (!mc_net_acquire(net)) return MC_BUSY;
    if (!net->predictor || net->predictor->n_threads < n_threads) {
        mc_predictor_destroy(net->predictor);
        net->predictor = predictor_create(net, n_threads);
    }
    mc_status status = MC_NO_MEMORY;
    if (net->predictor) {
        mc_net_pack(net);
        const size_t slice = (size_t)net->predictor->slice;
        mc_prediction p = {net, net->predictor, images, out, 0};
        status = MC_BAD_ARGUMENT;
        if (images->n / slice < INT32_MAX) {
            mc_parallel(n_threads, (int)((images->n + slice - 1) / slice), predict_slice, &p);
            status = atomic_load(&p.outside) ? MC_OUT_OF_RANGE : MC_OK;
        }
    }
    mc_net_release(net);
    return status;
}
