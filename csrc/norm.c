/* norm.c - batch statistics of batch normalisation: sums per lane, finished once per minibatch.
 *
 * Sums of an image run in float32 around a shift (the running mean, near the true one), images and
 * lanes are added in float64, in order.
 */
#include <math.h>

#include "train.h"

static void add_double(double *sum, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) sum[i] += x[i];
}

void mc_norm_lane_moments(mc_trainer *t, int index, int lane, int slot, int n, char *scratch) {
    const mc_op *op = &t->net->ops[index];
    const size_t channels = (size_t)op->in.channels, rows = op->in_size / channels;
    const float *shift = t->net->state + op->state;
    double *sums = t->norm_sums[index] + (size_t)lane * 2 * channels;
    float *partial = (float *)scratch;
    const float *x = t->out[index - 1] + (size_t)slot * op->in_size;
    for (int i = 0; i < n; i++, x += op->in_size) {
        memset(partial, 0, 2 * channels * sizeof(float));
        t->net->kernels->norm_moments(x, shift, rows, channels, partial, partial + channels);
        add_double(sums, partial, 2 * channels);
    }
}

/* Sum of the lanes' sums j of channel c, in order. */
static double lane_total(const mc_trainer *t, int index, size_t channels, int j, size_t c) {
    double sum = 0.0;
    for (int l = 0; l < t->n_lanes; l++)
        sum += t->norm_sums[index][((size_t)l * 2 + (size_t)j) * channels + c];
    return sum;
}

void mc_norm_finish_moments(mc_trainer *t, int index, int m) {
    const mc_op *op = &t->net->ops[index];
    const size_t channels = (size_t)op->in.channels;
    const double count = (double)m * (double)(op->in_size / channels);
    const mc_norm *norm = &t->norms[index];
    const float *gamma = t->net->parameters + op->weight;
    float *running_mean = t->net->state + op->state, *running_var = running_mean + channels;
    const float keep = op->layer.momentum;
    for (size_t c = 0; c < channels; c++) {
        const double d = lane_total(t, index, channels, 0, c) / count;
        double variance = lane_total(t, index, channels, 1, c) / count - d * d;
        if (variance < 0.0) variance = 0.0;
        const double mean = running_mean[c] + d;
        norm->mean[c] = (float)mean;
        norm->inverse_std[c] = (float)(1.0 / sqrt(variance + op->layer.epsilon));
        norm->scale[c] = gamma[c] * norm->inverse_std[c];
        running_mean[c] = keep * running_mean[c] + (1.0f - keep) * (float)mean;
        running_var[c] = keep * running_var[c] + (1.0f - keep) * (float)variance;
    }
    memset(t->norm_sums[index], 0, (size_t)t->n_lanes * 2 * channels * sizeof(double));
}

/* dy loses the activation here, so that norm_backward finds the normalised values' gradient. */
void mc_norm_lane_sums(mc_trainer *t, int index, int lane, int slot, int n, char *scratch) {
    const mc_op *op = &t->net->ops[index];
    const mc_kernels *k = t->net->kernels;
    const size_t channels = (size_t)op->in.channels, rows = op->in_size / channels;
    const mc_norm *norm = &t->norms[index];
    double *sums = t->norm_sums[index] + (size_t)lane * 2 * channels;
    float *partial = (float *)scratch;
    const float *x = t->out[index - 1] + (size_t)slot * op->in_size;
    const float *y = t->out[index] + (size_t)slot * op->in_size;
    float *dy = t->grad[index] + (size_t)slot * op->in_size;
    for (int i = 0; i < n; i++, x += op->in_size, y += op->in_size, dy += op->in_size) {
        k->deactivate(op->layer.activation, y, dy, op->in_size, channels);
        memset(partial, 0, 2 * channels * sizeof(float));
        k->norm_sums(x, dy, norm->mean, norm->inverse_std, rows, channels, partial,
                     partial + channels);
        add_double(sums, partial, 2 * channels);
    }
}

/* Ioffe and Szegedy 2015, section 3: dx = gamma / std (dy - mean(dy) - xhat mean(dy xhat)). */
void mc_norm_finish_sums(mc_trainer *t, int index, int m) {
    const mc_op *op = &t->net->ops[index];
    const size_t channels = (size_t)op->in.channels;
    const double count = (double)m * (double)(op->in_size / channels);
    const mc_norm *norm = &t->norms[index];
    for (size_t c = 0; c < channels; c++) {
        const double sum = lane_total(t, index, channels, 0, c);
        const double product = lane_total(t, index, channels, 1, c);
        const double scale = norm->scale[c];
        norm->b[c] = (float)(-scale * norm->inverse_std[c] * product / count);
        norm->c[c] = (float)(-scale * sum / count);
        t->gradient[op->weight + c] = (float)product;
        t->gradient[op->bias + c] = (float)sum;
    }
    memset(t->norm_sums[index], 0, (size_t)t->n_lanes * 2 * channels * sizeof(double));
}
