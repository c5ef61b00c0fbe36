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

/* Without a branch to guess: which output is the largest is hardly known before. */
static size_t largest(const float *y, size_t width) {
    float most = y[0];
    size_t best = 0;
    for (size_t j = 1; j < width; j++) most = y[j] > most ? y[j] : most;
    for (size_t j = width; j-- > 0;) best = y[j] == most ? j : best;
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

/* The targets of all rows. */
static void fill_targets(size_t n, size_t width, const loss_target *target, const int32_t *classes,
                         const float *targets, float *t) {
    for (size_t i = 0; i < n * width; i++)
        t[i] = classes ? target->rest : target->rest + target->keep * targets[i];
    for (size_t i = 0; classes && i < n; i++)
        t[i * width + (size_t)classes[i]] = target->rest + target->keep;
}

enum { LOSS_BLOCK = 16 };

/* Logits to outputs and targets to gradients, in place. */
static inline void sigmoid_block(float *z, float *t, const float *weight, float scale,
                                 double *sums) {
    float x[LOSS_BLOCK], d[LOSS_BLOCK];
    memcpy(x, z, sizeof x);
    memcpy(d, t, sizeof d);
    for (int j = 0; j < LOSS_BLOCK; j++) {
        const float e = loop_exp(x[j] < 0.0f ? x[j] : -x[j]), r = 1.0f / (1.0f + e);
        const float y = x[j] < 0.0f ? e * r : r, rest = x[j] < 0.0f ? r : e * r;
        const float loss = (x[j] < 0.0f ? 0.0f : x[j]) - d[j] * x[j] + loop_log1p(e);
        sums[j] += (double)weight[j] * loss;
        d[j] = weight[j] * scale * ((1.0f - d[j]) * y - d[j] * rest);
        x[j] = y;
    }
    memcpy(z, x, sizeof x);
    memcpy(t, d, sizeof d);
}

/* All rows in one go, 16 values at a time: of 10 outputs a vector would stay half empty. dy holds
 * the targets to begin with. */
static double sigmoid_losses(float *z, size_t n, size_t width, const float *weights, float scale,
                             float *dy) {
    double sums[LOSS_BLOCK] = {0}, sum = 0.0;
    float weight[LOSS_BLOCK];
    for (int j = 0; j < LOSS_BLOCK; j++) weight[j] = 1.0f;
    const size_t size = n * width;
    for (size_t i = 0; i < size; i += LOSS_BLOCK) {
        const size_t count = size - i < LOSS_BLOCK ? size - i : LOSS_BLOCK;
        for (size_t j = 0; weights && j < count; j++) weight[j] = weights[(i + j) / width];
        if (count == LOSS_BLOCK) {
            sigmoid_block(z + i, dy + i, weight, scale, sums);
            continue;
        }
        float x[LOSS_BLOCK] = {0}, d[LOSS_BLOCK] = {0};
        memcpy(x, z + i, count * sizeof(float));
        memcpy(d, dy + i, count * sizeof(float));
        for (size_t j = count; j < LOSS_BLOCK; j++) weight[j] = 0.0f;
        sigmoid_block(x, d, weight, scale, sums);
        memcpy(z + i, x, count * sizeof(float));
        memcpy(dy + i, d, count * sizeof(float));
    }
    for (int j = 0; j < LOSS_BLOCK; j++) sum += sums[j];
    return sum;
}

static double square_loss(mc_activation last, float *z, size_t width, const loss_target *target,
                          float scale, float *dy) {
    double sum = 0.0;
    const double slope = 2.0 * scale / (double)width;
    activate(last, z, width, width);
    for (size_t j = 0; j < width; j++) {
        const double error = (double)z[j] - target_at(target, j);
        sum += error * error;
        dy[j] = (float)(slope * error);
    }
    deactivate(last, z, dy, width, width);
    return sum / (double)width;
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
        *correct += width > 1 && largest(z, width) == target.class;
        if (loss == MC_SOFTMAX_CROSS_ENTROPY)
            sum += (double)weight * softmax_loss(z, width, &target, factor, dy);
        else if (loss == MC_MEAN_SQUARED_ERROR)
            sum += (double)weight * square_loss(last, z, width, &target, factor, dy);
    }
    if (loss == MC_SIGMOID_CROSS_ENTROPY) {
        fill_targets(n, width, &target, classes, targets, first_dy);
        sum += sigmoid_losses(first_z, n, width, weights, scale, first_dy);
    }
    for (size_t i = 0; width == 1 && i < n; i++) /* one output alone is always the largest */
        *correct += (first_z[i] > 0.5f) == (classes || targets[i] > 0.5f);
    return sum;
}
