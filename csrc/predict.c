/* predict.c - forward passes: slices of images through all ops, spread over the threads.
 *
 * A thread owns two buffers that the ops write in turn. Slices are independent, so the number of
 * threads changes nothing but time.
 */
#include <string.h>

#include "ops.h"
#include "threads.h"

typedef struct mc_predictor {
    int n_threads, slice;
    size_t most;   /* floats of the largest value of an image */
    float *values; /* (n_threads, 2, slice, most) */
    char *scratch; /* (n_threads, scratch_bytes) */
    size_t scratch_bytes;
} mc_predictor;

typedef struct {
    mc_net *net;
    const mc_predictor *predictor;
    const void *x;
    int is_uint8;
    size_t n;
    float *out;
} mc_prediction;

int mc_slice_images(size_t floats) {
    const size_t budget = (size_t)1 << 16; /* 256 KiB of floats */
    const size_t n = budget / (floats ? floats : 1);
    return n < 4 ? 4 : n > 32 ? 32 : (int)n;
}

static void predict_slice(void *context, int task, int thread) {
    const mc_prediction *p = context;
    const mc_net *net = p->net;
    const mc_predictor *r = p->predictor;
    const size_t slice = (size_t)r->slice, first = (size_t)task * slice;
    const size_t n = p->n - first < slice ? p->n - first : slice;
    float *buffer[2];
    buffer[0] = r->values + (size_t)thread * 2 * slice * r->most;
    buffer[1] = buffer[0] + slice * r->most;
    const mc_run run = {.net = net, .scratch = r->scratch + (size_t)thread * r->scratch_bytes};
    const float *x;
    if (p->is_uint8) {
        const uint8_t *bytes = (const uint8_t *)p->x + first * net->n_inputs;
        net->kernels->from_uint8(bytes, buffer[1], n * net->n_inputs);
        x = buffer[1];
    } else {
        x = (const float *)p->x + first * net->n_inputs;
    }
    for (int i = 0, turn = 0; i < net->n_ops; i++) {
        const int last = i == net->n_ops - 1;
        if (!last && net->ops[i].layer.type == MC_FLATTEN) continue; /* the same values */
        float *y = last ? p->out + first * net->n_outputs : buffer[turn];
        const mc_values v = {.n = (int)n, .first = first, .x = x, .y = y};
        mc_op_forward(&run, i, &v, 0);
        x = y;
        turn = !turn;
    }
}

static void lay_out(mc_predictor *r, mc_arena *arena) {
    const size_t threads = (size_t)r->n_threads;
    size_t values;
    if (__builtin_mul_overflow(threads * 2 * (size_t)r->slice, r->most, &values))
        arena->overflow = 1;
    else
        r->values = mc_take_floats(arena, values);
    r->scratch = mc_take(arena, threads, r->scratch_bytes);
}

static mc_predictor *predictor_create(const mc_net *net, int n_threads) {
    size_t most = net->n_inputs;
    for (int i = 0; i < net->n_ops; i++)
        if (net->ops[i].out_size > most) most = net->ops[i].out_size;
    mc_predictor draft = {.n_threads = n_threads, .most = most};
    draft.slice = mc_slice_images(2 * most);
    draft.scratch_bytes = mc_scratch_bytes(net, 0);
    mc_arena arena = {0};
    mc_take(&arena, 1, sizeof draft);
    lay_out(&draft, &arena);
    mc_predictor *predictor = mc_arena_allocate(&arena, 0);
    if (!predictor) return NULL;
    arena = (mc_arena){.base = (char *)predictor};
    mc_take(&arena, 1, sizeof draft);
    *predictor = draft;
    lay_out(predictor, &arena);
    return predictor;
}

void mc_predictor_destroy(mc_predictor *predictor) {
    free(predictor);
}

mc_status mc_net_predict(mc_net *net, const void *x, int is_uint8, size_t n, int n_threads,
                         float *out) {
    if (n == 0) return MC_OK;
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
        mc_prediction p = {net, net->predictor, x, is_uint8, n, out};
        status = MC_BAD_ARGUMENT;
        if (n / slice < INT32_MAX) {
            mc_parallel(n_threads, (int)((n + slice - 1) / slice), predict_slice, &p);
            status = MC_OK;
        }
    }
    mc_net_release(net);
    return status;
}

int mc_in_unit_range(const float *x, size_t n) {
    uint32_t beyond = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits; /* of positive floats are in their order; signs and NaN lie above */
        memcpy(&bits, x + i, sizeof bits);
        beyond |= bits > 0x3f800000u;
    }
    return !beyond;
}
