/* ops.h - one op forward and backward over a few images; the walk over the ops is the caller's. */
#ifndef MNISTC_OPS_H
#define MNISTC_OPS_H

#include "net.h"

enum { MC_IMAGES_AHEAD = 2 }; /* asked for before their turn, as images come from far away */

/* Ask for n of the pixels x, from `first` on, that are needed soon. Always inlined: GCC takes a
 * function that does nothing else for one without effect and drops its calls. */
__attribute__((always_inline)) static inline void mc_prefetch(const void *x, int is_uint8,
                                                              size_t first, size_t n) {
    const size_t pixel = is_uint8 ? 1 : sizeof(float);
    const char *at = (const char *)x + first * pixel;
    for (size_t i = 0; i < n * pixel; i += 64) __builtin_prefetch(at + i, 0, 3);
}

/* Batch statistics of one normalisation and what its gradient needs, all (channels). */
typedef struct {
    float *mean, *inverse_std, *scale;
    float *b, *c; /* see norm_gradient in kernels.h; its a is scale */
} mc_norm;

/* Rounded weights of one op, see pack_bf16 in kernels.h. */
typedef struct {
    float *panels, *back;
} mc_bf16;

/* What a walk over the ops carries along; one per thread. */
typedef struct {
    const mc_net *net;
    int training;
    uint64_t seed, step;  /* dropout is a function of these, the layer and the image */
    const mc_norm *norms; /* one per op; training only */
    float *const *back;   /* packed weights of the input gradients, one per op; training only */
    char *scratch;        /* mc_scratch_bytes(), this thread's */
    const mc_bf16 *bf16;  /* one per op; NULL: products in float32 */
    char *bf16_scratch;   /* mc_bf16_scratch_bytes(), this thread's */
} mc_run;

/* Values of the n images that an op sees. */
typedef struct {
    int n;
    uint64_t first;         /* place of the first image in the minibatch */
    const float *x;         /* (n, in_size) */
    float *y;               /* (n, out_size) */
    uint8_t *mask;          /* (n, mask_size) */
    float *dy;              /* (n, out_size); becomes the gradient before the activation */
    float *dx;              /* (n, in_size) or NULL if nobody needs it */
    float *dweight, *dbias; /* added to; dweight is (n_out, n_taps) if op->by_filter */
} mc_values;

/* Without the activation if `raw` (the loss takes logits). */
void mc_op_forward(const mc_run *run, int op, const mc_values *v, int raw);
/* dy is the gradient before the activation already if `raw`. */
void mc_op_backward(const mc_run *run, int op, const mc_values *v, int raw);

/* out (n_rows, n_cols of those panels) for dense layers and their input gradients. */
void mc_dense_rows(const mc_net *net, const float *x, size_t in_size, const int32_t *taps,
                   int n_taps, const float *panels, int first_panel, int last_panel, int n_cols,
                   int relu, int n, float *y);
/* dweight rows of taps first..last and columns of one panel, over n images; added if `add`. */
void mc_dense_outer(const mc_net *net, const mc_op *op, const float *x, const float *dy, int n,
                    int first_tap, int last_tap, int panel, int add, float *dweight,
                    float *dy_panel);

/* Packed weights of an op's input gradient; see backward.c. */
size_t mc_back_floats(const mc_net *net, const mc_op *op);
int mc_back_parts(const mc_net *net, const mc_op *op);
void mc_pack_back(const mc_net *net, const mc_op *op, int part, float *back);

/* bf16.c: the same products of rounded operands. */
enum { MC_BF16_GROUP = 8 }; /* panels of a wide dense layer that one task takes */
size_t mc_bf16_scratch_bytes(const mc_net *net);
size_t mc_bf16_panel_floats(const mc_net *net, int n_taps);
size_t mc_bf16_panels_floats(const mc_net *net, const mc_op *op); /* of all panels */
size_t mc_bf16_back_floats(const mc_net *net, const mc_op *op);
void mc_bf16_pack(const mc_net *net, const mc_op *op, int panel, const mc_bf16 *weights);
void mc_bf16_pack_back(const mc_net *net, const mc_op *op, int part, const float *back,
                       const mc_bf16 *weights);
void mc_bf16_dense(const mc_run *run, int op, const mc_values *v, int first_panel, int last_panel,
                   int relu);
void mc_bf16_dense_dx(const mc_run *run, int op, const mc_values *v, int first_part, int last_part);
void mc_bf16_conv(const mc_run *run, int op, const mc_values *v, int relu);
/* dweight += of one image, inside its border. */
void mc_bf16_conv_dw(const mc_run *run, int op, const float *image, const float *dy,
                     float *dweight);
/* Both gradients of n images from the winners of a pooling, as conv_winners. */
void mc_bf16_winners(const mc_run *run, int op, const float *images, int n, const float *dy,
                     const uint8_t *mask, float *dimages, float *dweight);
void mc_bf16_conv_dx(const mc_run *run, int op, const float *dy, float *dx);

size_t mc_scratch_bytes(const mc_net *net, int training);

/* Scratch of the op kinds; the same code counts and carves. */
typedef struct {
    float *padded;          /* an input with its border */
    uint64_t *ink_rows;     /* (padded height): a bit for each pixel, see kernels.h */
    int32_t *live;          /* (windows + 1) */
    int32_t *live_places;   /* (n_positions) */
    float *winograd_in;     /* (16, MC_WINOGRAD_WINDOWS, channels) */
    float *winograd_out;    /* (16, MC_WINOGRAD_WINDOWS, cols) */
    mc_term *terms;         /* lists for row_sum */
    float *sums;            /* (row_stride) */
    float *back_padded;     /* an output gradient with its border */
    float *dy_panel;        /* (MC_DY_CHUNK, cols) */
    mc_term *filter_terms;  /* (n_out, windows of winner_images + 1): each filter's winners */
    int32_t *filter_counts; /* (n_out) */
    float *dx_padded;
} mc_scratch;

void mc_carve(const mc_net *net, const mc_op *op, int training, mc_arena *arena, mc_scratch *s);

static inline mc_scratch mc_scratch_of(const mc_run *run, const mc_op *op) {
    mc_scratch s;
    mc_arena arena = {.base = run->scratch};
    mc_carve(run->net, op, run->training, &arena, &s);
    return s;
}

/* sparse.c: n images through a dense layer, one by one. */
void mc_sparse_images(const mc_run *run, const mc_op *op, const float *x, int relu, int n,
                      float *y);

/* Where the ink of a slice of images is. */
typedef struct {
    int n_images, n_pixels; /* so far, with ink */
    uint64_t *bits;         /* (images, words): a bit for each pixel */
    float *sums;            /* (images, row_stride) */
} mc_ink;

void mc_ink_lay_out(mc_ink *ink, const mc_op *op, int slice, mc_arena *arena);
/* One image more; returns its most_bits. */
uint32_t mc_ink_add(mc_ink *ink, const mc_net *net, const mc_op *op, const float *x, uint32_t mask);
/* y (images, out_size), before the activation, of the images added, which lie at x. Meanwhile
 * `size` bytes for each are asked for that are needed later, from `ahead` on. */
void mc_ink_forward(const mc_ink *ink, const mc_net *net, const mc_op *op, const float *x,
                    const char *ahead, size_t size, float *y);

/* Windows of a pooled convolution that see anything but zeros. Of the others every output is the
 * bias, and none has a part in the weights' gradient. */
typedef struct {
    int n;
    const int32_t *window;   /* (n), ascending */
    const int32_t *position; /* (4 n) */
} mc_live;

mc_live mc_live_windows(const mc_kernels *k, const mc_op *op, const float *image,
                        const mc_scratch *s);
/* The end of a block of at most `most` live windows. */
static inline int mc_live_block(const mc_live *live, int first, int most) {
    return live->n - first < most ? live->n : first + most;
}

/* The first of the live windows after i, up to `last`, that does not lie next to the one before. */
static inline int mc_live_run(const mc_live *live, int i, int last) {
    do i++;
    while (i < last && live->window[i] == live->window[i - 1] + 1);
    return i;
}

/* One image through a convolution with these packed weights, and its pooling. */
void mc_conv_image(const mc_run *run, const mc_op *op, const mc_scratch *s, const float *x,
                   const float *panels, int relu, float *y, uint8_t *mask);

/* One image through a pooled 3x3 convolution (winograd.c). */
void mc_winograd_image(const mc_net *net, const mc_op *op, const mc_scratch *s, const float *image,
                       int relu, float *y, uint8_t *mask);

/* Of a pooling: the input gradients of a filter's winners, by filters from mc_pack_back. */
void mc_spread_winners(const mc_run *run, const mc_op *op, const mc_scratch *s, const float *dy,
                       const uint8_t *mask, int windows, const float *back, float *dimages);

/* The image inside a border of zeros. */
void mc_pad(const float *image, mc_shape shape, int pad_height, int pad_width, float *padded);
/* n inputs of a convolution, each inside its border, one behind the other; returns where. */
const float *mc_pad_images(const mc_op *op, const float *images, size_t n, float *padded);

#endif
