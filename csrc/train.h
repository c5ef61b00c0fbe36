/* train.h - what one training owns, shared by train.c (the walk), norm.c (batch statistics) and
 * optim.c (from lane gradients to new parameters).
 *
 * A minibatch is cut into a fixed number of lanes, whatever the number of threads: a lane adds up
 * the gradients of its images in order, and lanes are added in order. That is why threads never
 * change a bit.
 *
 * Ops are grouped into stages. Within a stage images do not see each other, so a lane walks
 * through it alone, a slice of images at a time. A batch normalisation starts a new stage (it
 * needs all images' statistics); a wide dense layer is a stage by itself (split by weights). A
 * network of one stage goes forward and backward slice by slice: its values never leave the cache.
 */
#ifndef MNISTC_TRAIN_H
#define MNISTC_TRAIN_H

#include <math.h>

#include "ops.h"

enum { MC_LANES = 16, MC_LANE_IMAGES = 8, MC_BLOCK = 8192 };

typedef struct {
    int first, last; /* ops first .. last - 1 */
    int wide;
} mc_stage;

/* A run of parameters that one task reduces and updates. */
typedef struct {
    int op;
    size_t first, n; /* in parameters */
    int direct;      /* its gradient was not made in lanes */
    int decay;
} mc_block;

typedef struct mc_mlp mc_mlp;

struct mc_trainer {
    mc_net *net;
    mc_train_spec spec;
    int64_t step;
    int n_stages, n_lanes, slice, n_slots, n_blocks, raw;
    mc_stage *stages;
    mc_block *blocks;
    float *input, **out, **grad; /* (n_slots, size); out and grad one per op */
    uint8_t **mask;
    float **back; /* packed weights of input gradients */
    mc_norm *norms;
    double **norm_sums;  /* per op (n_lanes, 2, channels), NULL unless a normalisation */
    size_t *lane_offset; /* per op, in a lane's gradient */
    size_t lane_size;
    float *lanes, *gradient; /* (n_lanes, lane_size), (n_parameters) */
    float *m, *v, *ema, *ema_state;
    double *lane_loss;
    int64_t *lane_correct;
    int32_t *classes; /* of the minibatch */
    float *targets, *weights;
    double *block_norm; /* squared gradient norms */
    int64_t *position;  /* of the minibatch: index of each image in the data */
    char *scratch;
    size_t scratch_bytes;
    mc_bf16 *bf16; /* one per op; NULL: float32 */
    char *bf16_scratch;
    size_t bf16_scratch_bytes;
    mc_mlp *mlp; /* NULL unless mc_mlp_fits */
};

/* Whether values are kept for the whole minibatch, image by image, and not slice by slice: stages
 * hand them on, and a wide dense layer takes its images together even if it is the whole network.
 */
static inline int mc_keeps_minibatch(const mc_net *net, int n_stages) {
    return n_stages > 1 || net->ops[0].wide;
}

/* What the tasks of one step see. */
typedef struct {
    mc_trainer *t;
    const mc_train_data *data;
    const mc_stage *stage;
    uint32_t epoch;
    int m; /* images in this minibatch */
    int n_threads;
    mc_step update;
} mc_step_context;

/* Losses are added in multiples of 2^-32: such sums (below 2^21) are exact, so that it does not
 * matter into how many calls the steps of an epoch are split. */
static inline double mc_loss_unit(double loss) {
    return nearbyint(loss * 0x1p32) * 0x1p-32;
}

static inline int mc_lane_first(const mc_step_context *c, int lane) {
    return (int)((int64_t)c->m * lane / c->t->n_lanes);
}

static inline mc_run mc_run_of(const mc_trainer *t, int thread) {
    return (mc_run){.net = t->net,
                    .training = 1,
                    .seed = t->spec.seed,
                    .step = (uint64_t)t->step,
                    .norms = t->norms,
                    .back = t->back,
                    .scratch = t->scratch + (size_t)thread * t->scratch_bytes,
                    .bf16 = t->bf16,
                    .bf16_scratch =
                        t->bf16 ? t->bf16_scratch + (size_t)thread * t->bf16_scratch_bytes : NULL};
}

/* Does a normalisation come at op i? It wants statistics of what the op before it makes. */
static inline int mc_is_norm(const mc_net *net, int i) {
    return i < net->n_ops && net->ops[i].layer.type == MC_BATCH_NORM;
}

/* Its gradient is made at once for the whole minibatch, not in lanes. */
static inline int mc_is_direct(const mc_op *op) {
    return op->wide || op->layer.type == MC_BATCH_NORM;
}

/* train.c */
void mc_load_image(const mc_step_context *c, size_t index, float *x, int thread);
void mc_gather_targets(const mc_step_context *c, const int64_t *order, int n);
/* Loss of the logits of a whole minibatch of n images, its gradient in dy; adds to result. */
void mc_minibatch_loss(const mc_step_context *c, int n, float *z, float *dy,
                       mc_train_result *result);

/* mlp.c */
int mc_mlp_fits(const mc_net *net, const mc_train_spec *spec);
mc_mlp *mc_mlp_lay_out(const mc_net *net, const mc_train_spec *spec, mc_arena *arena);
int mc_mlp_grain(void);
void mc_mlp_run(mc_mlp *m, mc_step_context *c, const float *rates, mc_train_result *result);

/* norm.c */
void mc_norm_lane_moments(mc_trainer *t, int op, int lane, int slot, int n, char *scratch);
void mc_norm_finish_moments(mc_trainer *t, int op, int m);
void mc_norm_lane_sums(mc_trainer *t, int op, int lane, int slot, int n, char *scratch);
void mc_norm_finish_sums(mc_trainer *t, int op, int m);

/* optim.c */
int mc_plan_blocks(const mc_trainer *t,
                   mc_block *blocks); /* returns how many; blocks may be NULL */
void mc_reduce_gradient(mc_step_context *c);
void mc_update_parameters(mc_step_context *c, float rate);

#endif
