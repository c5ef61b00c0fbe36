/* mnistc.h - networks, predictions and trainings: the main public header of the C core.
 *
 * A network is a list of layers over one flat block of float32 parameters. Images are
 * (height, width, channels), channels last, minibatch first; a flat vector is (1, 1, n).
 *
 * Ownership: *_create allocates one aligned block, *_destroy frees it; in between only a first
 * prediction, or one by more threads, allocates. No global state but the constant kernel tables and
 * the worker pool (threads.h). A network in use by one thread refuses others with MC_BUSY. Nothing
 * here prints or aborts.
 */
#ifndef MNISTC_H
#define MNISTC_H

#include <stddef.h>
#include <stdint.h>

#include "augment.h"

typedef enum {
    MC_OK = 0,
    MC_NO_MEMORY, /* the allocation failed, or its size does not fit size_t */
    MC_BAD_SPEC,  /* a layer does not fit its input, or a size is out of range */
    MC_BAD_ARGUMENT,
    MC_OUT_OF_RANGE, /* a pixel */
    MC_BUSY,         /* the network is in use by another thread */
} mc_status;

typedef enum {
    MC_DENSE,
    MC_CONV2D,
    MC_DEPTHWISE_CONV2D,
    MC_MAX_POOL2D,
    MC_GLOBAL_AVERAGE_POOL2D,
    MC_BATCH_NORM,
    MC_DROPOUT,
    MC_FLATTEN,
    MC_ACTIVATION,
} mc_layer_type;

typedef enum { MC_LINEAR, MC_RELU, MC_SIGMOID, MC_TANH, MC_SOFTMAX } mc_activation;

typedef enum {
    MC_SOFTMAX_CROSS_ENTROPY, /* -sum t log softmax(z) */
    MC_SIGMOID_CROSS_ENTROPY, /* -sum t log s(z) + (1 - t) log(1 - s(z)), summed over outputs */
    MC_MEAN_SQUARED_ERROR,    /* mean over outputs of (y - t)^2 */
} mc_loss;

typedef enum { MC_SGD, MC_ADAM, MC_ADAMW } mc_optimizer;

/* MC_BF16: operands of matrix products rounded to bf16, sums and weights float32; see bf16.c. */
typedef enum { MC_FLOAT32, MC_BF16 } mc_precision;

typedef struct {
    int height, width, channels;
} mc_shape;

/* One layer; fields that its type does not use are ignored. */
typedef struct {
    mc_layer_type type;
    mc_activation activation;
    int units;                       /* outputs of DENSE, filters of CONV2D */
    int kernel_height, kernel_width; /* odd */
    int same_padding;                /* 0: valid */
    int groups;                      /* of inputs and filters of CONV2D; 0 is 1 */
    int pool_size, stride;           /* MAX_POOL2D */
    float rate;                      /* DROPOUT, in [0, 1) */
    float momentum, epsilon;         /* BATCH_NORM */
} mc_layer;

typedef struct mc_net mc_net;
typedef struct mc_trainer mc_trainer;
typedef struct mc_kernels mc_kernels;

/* ---- kernel tables (cpu.c) ---- */

/* Tables that this CPU and OS can run, the most demanding last; returns how many (at most `most`).
 */
int mc_kernels_available(const mc_kernels **out, int most);
/* The named table, or NULL if it is unknown here or this machine cannot run it. */
const mc_kernels *mc_kernels_find(const char *name);
/* The fastest of them. */
const mc_kernels *mc_kernels_best(void);
const char *mc_kernels_name(const mc_kernels *kernels);
/* CPU features by name; returns the name or NULL past the end, and sets *has. */
const char *mc_cpu_feature(int index, int *has);

/* ---- networks (net.c) ---- */

/* Check the layers, count bytes and carve one block. On MC_BAD_SPEC *bad_layer is the culprit. */
mc_status mc_net_create(mc_net **out, mc_shape input, const mc_layer *layers, int n_layers,
                        const mc_kernels *kernels, int *bad_layer);
void mc_net_destroy(mc_net *net);

/* Trained parameters, layer by layer: weight (in, out) or (kh, kw, in, out) or (kh, kw, c), then
 * bias; gamma, beta. Whoever writes there calls mc_net_touch before the next prediction. */
float *mc_net_parameters(mc_net *net, size_t *count);
/* Kept but not trained, layer by layer: running mean, running variance. */
float *mc_net_state(mc_net *net, size_t *count);
void mc_net_touch(mc_net *net);
size_t mc_net_inputs(const mc_net *net);
size_t mc_net_outputs(const mc_net *net);
const mc_kernels *mc_net_kernels(const mc_net *net);

/* Glorot uniform weights (He uniform before relu), zero biases, unit gammas, fresh statistics. */
void mc_net_initialize(mc_net *net, uint64_t seed);

/* Which floats are accepted: all, those that are finite, those from 0 to 1 (but not -0). */
typedef enum { MC_ALL, MC_FINITE, MC_PIXELS } mc_range;

/* What is predicted: x (n, inputs), uint8, which are divided by 255, or float32. */
typedef struct {
    const void *x;
    int is_uint8;
    size_t n;
    mc_range range;
} mc_images;

/* out (n, outputs) = network(x). MC_OUT_OF_RANGE: a float is not accepted, and
 * out not to be used. */
mc_status mc_net_predict(mc_net *net, const mc_images *images, int n_threads, float *out);

/* ---- training (train.c) ---- */

typedef struct {
    int batch_size;
    mc_loss loss;
    float label_smoothing;
    mc_optimizer optimizer;
    float momentum, beta_1, beta_2, epsilon;
    int nesterov;
    float weight_decay; /* L2, added to the gradient (SGD, Adam); decoupled (AdamW); weights only */
    float clip_norm;    /* 0: off */
    float ema_decay;    /* 0: off */
    uint64_t seed;
    int use_augment;
    mc_augment augment;
    mc_precision precision;
    int scratch_fill; /* a byte that memory is filled with (a test of hygiene), or -1 */
} mc_train_spec;

/* The data of one call. Classes are int32 (n), targets float32 (n, outputs): one of the two. */
typedef struct {
    const void *x; /* (n, inputs) */
    int is_uint8;
    const int32_t *classes;
    const float *targets;
    const float *sample_weight; /* (n) or NULL */
    const int64_t *order;       /* the images of these steps, in order */
    size_t n_order;
} mc_train_data;

typedef struct {
    double loss;     /* sum over images, weighted */
    int64_t correct; /* images whose largest output is their (largest) target; of one output alone,
                      * those on their target's side of 1/2 */
    int finite;      /* 0: stopped at the first step whose loss is not finite */
} mc_train_result;

mc_status mc_trainer_create(mc_trainer **out, mc_net *net, const mc_train_spec *spec);
void mc_trainer_destroy(mc_trainer *trainer);

/* ceil(n_order / batch_size) steps with the given learning rates. Exact minibatch descent: the
 * result is a function of parameters, data, seed, step, epoch and kernel table alone. */
mc_status mc_trainer_run(mc_trainer *trainer, const mc_train_data *data,
                         const float *learning_rates, uint32_t epoch, int n_threads,
                         mc_train_result *result);

/* Steps may be spread over several calls; where each but the last of an epoch makes a multiple of
 * so many, that does not change a bit. */
int mc_trainer_grain(const mc_trainer *trainer);

/* Mean loss and its gradient (parameters) over the whole of data->order (at most batch_size). */
mc_status mc_trainer_gradients(mc_trainer *trainer, const mc_train_data *data, uint32_t epoch,
                               int n_threads, float *gradient, mc_train_result *result);

/* Arrays that a resumed run needs: 0 first moments or momentum, 1 second moments, 2 averaged
 * parameters, 3 averaged state; NULL where this training has none. */
float *mc_trainer_array(mc_trainer *trainer, int which, size_t *count);
int64_t mc_trainer_step(const mc_trainer *trainer);
void mc_trainer_set_step(mc_trainer *trainer, int64_t step);

/* ---- augmentation (augment.c) ---- */

/* What training sees in that epoch of images 0 .. n - 1: (n, h, w, channels) uint8 or float32 0..1
 * -> float32 0..1. */
mc_status mc_augment_images(const mc_kernels *kernels, const mc_augment *options,
                            const void *images, int is_uint8, size_t n, mc_shape shape,
                            uint64_t seed, uint32_t epoch, float *out);

#endif
