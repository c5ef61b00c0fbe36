/* panels.h - values of a minibatch and small weight matrices in panels, see panels.c. */
#ifndef MNISTC_PANELS_H
#define MNISTC_PANELS_H

#include "ops.h"

/* n rounded up to whole units. */
static inline int mc_whole(int n, int unit) {
    return (n + unit - 1) / unit * unit;
}

typedef struct {
    const mc_net *net;
    size_t batch;
    int32_t *positions, *taps; /* of image i, of value k */
} mc_panels;

/* All weights of a dense layer, or those from some of its inputs. */
typedef struct {
    const mc_op *op;
    int first, n_in; /* the inputs */
    float *panels;   /* (op's panels, n_in + 1, cols); biases only where first is 0 */
    float *back;     /* (panels of inputs, n_out + 1, cols): transposed */
} mc_weights;

/* `most`: of the units of any layer. */
mc_panels mc_panels_lay_out(const mc_net *net, size_t batch, int most, mc_arena *arena);
/* Of n columns; and zeros for them. */
size_t mc_panels_floats(const mc_panels *p, int n);
float *mc_panels_take(const mc_panels *p, int n, mc_arena *arena);
/* factor * x (n, stride), `columns` of it, to panels; and back. */
void mc_panels_fill(const mc_panels *p, const float *x, int stride, int columns, int n,
                    float factor, float *panels);
void mc_panels_read(const mc_panels *p, const float *panels, int columns, int n, float *x,
                    int stride);
void mc_panels_add(const mc_panels *p, const float *x, int columns, int n, float *sum);
void mc_panels_activate(const mc_panels *p, const mc_op *op, int n, float *y);
void mc_panels_deactivate(const mc_panels *p, const mc_op *op, const float *y, int n, float *dy);

mc_weights mc_weights_lay_out(const mc_net *net, const mc_op *op, int first, int n_in,
                              mc_arena *arena);
void mc_weights_pack(const mc_weights *w, const mc_net *net);
void mc_weights_unpack(const mc_weights *w, const mc_net *net);
void mc_weights_forward(const mc_panels *p, const mc_weights *w, const float *x, int n, float *y);
void mc_weights_backward(const mc_panels *p, const mc_weights *w, const float *dy, int n,
                         float *dx);
/* weights = keep * weights + x' dy, biases += column sums of dy. */
void mc_weights_update(const mc_panels *p, const mc_weights *w, const float *x, const float *dy,
                       int n, float keep);

#endif
