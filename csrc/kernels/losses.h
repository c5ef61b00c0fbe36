/* losses.h - the losses and their gradients, part of loops.h. Logits in, outputs and gradients out,
 * in one pass; sums of losses in float64.
 */

/* log(1 + e) for e in [0, 1]: 2 artanh(e / (2 + e)), its series up to the 13th power. */
static inline float loop_log1p(float e) {
    const float s = e / (2.0f + e), q = s * s;
    float p = 1.0f / 13;
    p = p * q + 1.0f / 11;
    p = p * q + 1.0f / 9;
    p = p * q + 1.0f / 7;
    p = p * q + 1.0f / 5;
    p = p * q + 1.0f / 3;
    p = p * q + 1.0f;
    return 2.0f * s * p;
}

static size_t largest(const float *y, size_t width) {
    size_t best = 0;
    for (size_t j = 1; j < width; j++)
        if (y[j] > y[best]) best = j;
    return best;
}

/* What one row should have been: a class, or a row of targets; smoothed. */
typedef struct {
    const float *row;
    size_t class;
    float keep, rest;
} loss_target;

static inline float target_at(const loss_target *t, size_t j) {
    return t->rest + t->keep * (t->row ? t->row[j] : (float)(j == t->class));
}

/* These turn logits z (of one row but for sigmoids) into outputs, in place, dy into scale *
 * gradient, and returns the loss. y - t is formed from y and 1 - y without cancellation. */
static double softmax_loss(float *z, size_t width, const loss_target *target, float scale,
                           float *dy) {
    float most = z[0];
    double total = 0.0, mass = 0.0, sum = 0.0;
    for (size_t j = 1; j < width; j++) most = z[j] > most ? z[j] : most;
    for (size_t j = 0; j < width; j++) dy[j] = loop_exp(z[j] - most);
    for (size_t j = 0; j < width; j++) total += dy[j];
    const double log_total = most + log(total), inverse = 1.0 / total;
    for (size_t j = 0; j < width; j++) {
        const double t = target_at(target, j);
        sum += t * (log_total - z[j]);
        mass += t;
    }
    for (size_t j = 0; j < width; j++) {
        const double t = target_at(target, j), y = dy[j] * inverse, others = total - dy[j];
        z[j] = (float)y;
        dy[j] = (float)(scale * ((mass - t) * y - t * others * inverse));
    }
    return sum;
}

/* All rows in one go, 16 values at a time: of 10 outputs a vector would stay half empty. */
static double sigmoid_losses(float *z, size_t n, size_t width, loss_target target,
                             const int32_t *classes, const float *targets, const float *weights,
                             float scale, float *dy) {
    enum { BLOCK = 16 };
    double sum = 0.0;
    size_t row = 0, column = 0;
    for (size_t i = 0; i < n * width; i += BLOCK) {
        const size_t count = n * width - i < BLOCK ? n * width - i : BLOCK;
        float x[BLOCK] = {0}, t[BLOCK] = {0}, weight[BLOCK] = {0}, d[BLOCK], loss[BLOCK];
        for (size_t j = 0; j < count; j++) {
            target.row = classes ? NULL : targets + row * width;
            target.class = classes ? (size_t)classes[row] : 0;
            t[j] = target_at(&target, column);
            weight[j] = weights ? weights[row] : 1.0f;
            x[j] = z[i + j];
            column = column + 1 < width ? column + 1 : 0;
            row += column == 0;
        }
        for (int j = 0; j < BLOCK; j++) {
            const float e = loop_exp(x[j] < 0.0f ? x[j] : -x[j]), r = 1.0f / (1.0f + e);
            const float y = x[j] < 0.0f ? e * r : r, rest = x[j] < 0.0f ? r : e * r;
            loss[j] = (x[j] < 0.0f ? 0.0f : x[j]) - t[j] * x[j] + loop_log1p(e);
            d[j] = weight[j] * scale * ((1.0f - t[j]) * y - t[j] * rest);
            x[j] = y;
        }
        for (size_t j = 0; j < count; j++) {
            sum += (double)weight[j] * loss[j];
            z[i + j] = x[j];
            dy[i + j] = d[j];
        }
    }
    return sum;
}

static double square_loss(mc_activation last, float *z, size_t width, const loss_target *target,
                          float scale, float *dy) {
    double sum = 0.0;
    activate(last, z, width, width);
    for (size_t j = 0; j < width; j++) {
        const double error = (double)z[j] - target_at(target, j);
        sum += error * error / (double)width;
        dy[j] = (float)(scale * 2.0 * error / (double)width);
    }
    deactivate(last, z, dy, width, width);
    return sum;
}

static double loss_rows(mc_loss loss, mc_activation last, float smoothing, float *z, size_t n,
                        size_t width, const int32_t *classes, const float *targets,
                        const float *weights, float scale, float *dy, int64_t *correct) {
    double sum = 0.0;
    loss_target target = {.keep = 1.0f - smoothing, .rest = smoothing / (float)width};
    float *const first_z = z, *const first_dy = dy;
    for (size_t i = 0; i < n; i++, z += width, dy += width) {
        const float weight = weights ? weights[i] : 1.0f, factor = weight * scale;
        target.row = classes ? NULL : targets + i * width;
        target.class = classes ? (size_t)classes[i] : largest(target.row, width);
        *correct += largest(z, width) == target.class;
        if (loss == MC_SOFTMAX_CROSS_ENTROPY)
            sum += (double)weight * softmax_loss(z, width, &target, factor, dy);
        else if (loss == MC_MEAN_SQUARED_ERROR)
            sum += (double)weight * square_loss(last, z, width, &target, factor, dy);
    }
    if (loss == MC_SIGMOID_CROSS_ENTROPY)
        sum +=
            sigmoid_losses(first_z, n, width, target, classes, targets, weights, scale, first_dy);
    return sum;
}
