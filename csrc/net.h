/* net.h - a checked network: the layer table that forward.c, backward.c and train.c walk.
 *
 * Each layer becomes one op; a convolution swallows the 2x2 max-pooling after it. An op knows its
 * shapes, where its parameters lie, and the offset tables (`taps`, `positions`, see kernels.h) that
 * turn it into calls of the kernels.
 */
#ifndef MNISTC_NET_H
#define MNISTC_NET_H

#include <stdatomic.h>

#include "arena.h"
#include "kernels/kernels.h"

enum {
    MC_DENSE_ROWS = 48,         /* images that a dense layer takes at once */
    MC_DY_CHUNK = 256,          /* positions whose gradients are packed at once */
    MC_POOL_WINDOWS = 24,       /* windows whose outputs are made at once, before pooling */
    MC_WINOGRAD_WINDOWS = 48,   /* windows that are transformed at once */
    MC_PACK_PANELS = 4,         /* panels that are packed together */
    MC_WIDE_WEIGHTS = 1 << 15,  /* a dense layer from here on makes its gradient per minibatch */
    MC_FEW_IMAGES = 4,          /* from here on dense loops pay */
    MC_MOST_ROWS = 1 << 24,     /* floats of packed rows */
    MC_MANY_FILTERS = 48,       /* from here on a window has enough winners to be taken alone */
    MC_WINNER_IMAGES = 4,       /* images whose winners are listed together, at most, and */
    MC_WINNER_FLOATS = 1 << 15, /* their floats */
};

typedef struct {
    mc_layer layer;
    int source;     /* index of this op's layer in the caller's list */
    int needs_dx;   /* some op before this one has parameters */
    int fused_pool; /* a convolution followed by 2x2 max-pooling with stride 2 */
    int wide;       /* a dense layer split by weights, not by images */
    int grey;       /* a pooled one of one channel and few filters, by grey_windows */
    int winograd;   /* a 3x3 convolution before a pooling, its products by winograd.c */
    int by_window;  /* a pooled one, whose input gradient is made window by window */
    int by_filter;  /* its weight gradient is made filter by filter: (out, taps), not (taps, out) */
    mc_shape in, out;
    size_t in_size, out_size; /* floats per image */
    size_t mask_size;         /* bytes per image: winners of a pooling, what a dropout kept */

    int conv_height, conv_width; /* positions of a convolution, before pooling */
    int pad_height, pad_width;   /* zeros on each side of the input */
    mc_shape padded;

    /* Forward and weight gradient: on the padded input. */
    int n_taps, n_positions;
    int32_t *taps, *positions; /* positions of winner_images images, one behind the other */
    int winner_images;         /* of a pooled convolution; else 1 */
    /* Input gradient as a convolution of the (padded) output gradient; 0 where not used. With a
     * pooling: back_padded is the padded input gradient, its pixels filled up to whole vectors,
     * back_positions those of the windows in it, n_back_taps the floats of a filter of such pixels.
     */
    int n_back_taps, n_back_positions;
    int32_t *back_taps, *back_positions;
    int back_pad_height, back_pad_width;
    mc_shape back_padded;

    /* Groups of group_out outputs see group_in channels each. */
    int groups, group_in, group_out;
    int n_out;                                /* columns of the weight matrix (taps, n_out) */
    size_t weight, n_weights, bias, n_biases; /* in parameters; gamma and beta of a norm */
    size_t state;                             /* in state */
    int n_panels;                             /* none has columns of two groups */
    float *panels;                            /* packed weights, see kernels.h */
    float *winograd_panels;
    int row_stride; /* n_out in whole vectors */
    float *rows;    /* (n_taps + 1, row_stride): biases and weights of a dense layer, see sparse.c;
                       NULL where they would be too large */
} mc_op;

struct mc_net {
    const mc_kernels *kernels;
    mc_shape input;
    size_t n_inputs, n_outputs;
    int n_ops;
    mc_op *ops;
    size_t n_parameters, n_state;
    float *parameters, *state;
    uint64_t version, packed_version; /* the panels are current if equal */
    atomic_flag busy;
    uint64_t caller_mode;           /* of the thread that is in it, see float_mode.h */
    struct mc_predictor *predictor; /* made at the first prediction */
};

static inline size_t mc_size(mc_shape s) {
    return (size_t)s.height * (size_t)s.width * (size_t)s.channels;
}

static inline int mc_has_matrix(const mc_op *op) {
    return op->layer.type == MC_DENSE || op->layer.type == MC_CONV2D;
}

/* Others hand on what they get. */
static inline int mc_has_activation(const mc_op *op) {
    const mc_layer_type type = op->layer.type;
    return type != MC_MAX_POOL2D && type != MC_GLOBAL_AVERAGE_POOL2D && type != MC_DROPOUT &&
           type != MC_FLATTEN;
}

/* Whether precision="bf16" rounds its operands. */
static inline int mc_rounds(const mc_op *op) {
    return mc_has_matrix(op) && op->groups == 1;
}

/* The columns of one panel, and the first of the inputs that they see. */
typedef struct {
    int first, n, input;
} mc_columns;

/* Panels of n columns. */
static inline int mc_panels_of(const mc_net *net, int n) {
    return (n + net->kernels->cols - 1) / net->kernels->cols;
}

/* Panel p of groups of n_out columns that see n_in inputs. */
static inline mc_columns mc_columns_of(const mc_net *net, int p, int n_in, int n_out) {
    const int cols = net->kernels->cols, panels = mc_panels_of(net, n_out);
    const int group = p / panels, c = p % panels * cols;
    return (mc_columns){group * n_out + c, n_out - c < cols ? n_out - c : cols, group * n_in};
}

static inline mc_columns mc_panel_columns(const mc_net *net, const mc_op *op, int p) {
    return mc_columns_of(net, p, op->group_in, op->group_out);
}

/* The same for the input gradient: columns are inputs, and see output gradients. */
static inline mc_columns mc_back_columns(const mc_net *net, const mc_op *op, int part) {
    return mc_columns_of(net, part, op->group_out, op->group_in);
}

static inline size_t mc_panel_floats(const mc_net *net, const mc_op *op) {
    return (size_t)(op->n_taps + 1) * (size_t)net->kernels->cols;
}

/* winograd.c */
int mc_winograd_fits(const mc_op *op);
size_t mc_winograd_floats(const mc_net *net, const mc_op *op);
void mc_winograd_pack(const mc_net *net, const mc_op *op, int panel);

/* Pack the panels `first` .. `last` - 1 of an op's weights. */
void mc_pack_panels(const mc_net *net, const mc_op *op, int first, int last);
/* Pack the rows of a dense layer (sparse.c). */
void mc_pack_rows(const mc_net *net, const mc_op *op);
/* Make all panels and rows current (predictions only; a trainer packs on its own threads). */
void mc_net_pack(mc_net *net);

/* Enters the float mode, too; 0 if another thread is in the network. */
int mc_net_acquire(mc_net *net);
void mc_net_release(mc_net *net);
void mc_predictor_destroy(struct mc_predictor *predictor);

/* Images that pass through the ops together: enough for the dense loops, few enough that their
 * values (`floats` per image) stay in half of a second-level cache. */
int mc_slice_images(size_t floats);

#endif
