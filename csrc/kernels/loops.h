/* loops.h - the elementwise loops, in plain C that compilers turn into the vectors of whichever
 * instruction set includes this file. Sums run in a fixed order, so results do not depend on how
 * a loop is split. PANEL_COLS is the panel width of the table.
 */

/* exp(x) to 2 units in the last place: x = n log 2 + r, a polynomial of degree 6 in r
 * (Taylor coefficients; |r| <= log(2) / 2 leaves a relative error below 1.2e-7), 2^n by exponent
 * bits. Branch-free, so that loops over it vectorise. */
static inline float loop_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const float shifted = x * 1.44269504f + magic;
    const float n = shifted - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (int32_t)((uint32_t)bits << 23) + 0x3f800000;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

/* Eight zeros (not -0), as most of paper is. */
static inline int is_blank(const float *x) {
    uint64_t pairs[4];
    memcpy(pairs, x, sizeof pairs);
    return !(pairs[0] | pairs[1] | pairs[2] | pairs[3]);
}

#ifndef HAVE_LIST_INPUTS
/* Without a branch to guess but for paper, which is skipped by eights. */
static int list_inputs(const float *x, size_t n, int32_t stride, int32_t first, mc_term *terms) {
    int count = 0;
    for (size_t i0 = 0; i0 < n; i0 += 8) {
        const size_t end = i0 + 8 < n ? i0 + 8 : n;
        if (end == i0 + 8 && is_blank(x + i0)) continue;
        for (size_t i = i0; i < end; i++) {
            terms[count] = (mc_term){first + (int32_t)i * stride, x[i]};
            count += mc_is_live(x[i]);
        }
    }
    return count;
}

static int list_pixels(const uint8_t *x, size_t n, int32_t stride, int32_t first, mc_term *terms) {
    int count = 0;
    for (size_t i = 0; i < n; i++) {
        terms[count] = (mc_term){first + (int32_t)i * stride, (float)x[i] * (1.0f / 255.0f)};
        count += x[i] != 0;
    }
    return count;
}
#endif

#ifndef HAVE_INK_ROWS
static void ink_rows(const float *image, int width, int height, uint64_t *rows) {
    for (int y = 0; y < height; y++, image += width) {
        uint64_t bits = 0;
        int x = 0;
        for (; x + 8 <= width; x += 8) {
            uint64_t eight = 0;
            if (is_blank(image + x)) continue;
            for (int i = 0; i < 8; i++) eight |= (uint64_t)mc_is_live(image[x + i]) << i;
            bits |= eight << x;
        }
        for (; x < width; x++) bits |= (uint64_t)mc_is_live(image[x]) << x;
        rows[y] = bits;
    }
}
#endif

/* One filter's winners from window w on, behind the `count` terms that there are; returns how many
 * there are then. */
static inline int list_filter(const float *dy, const uint8_t *winner, int n_out, int w,
                              int n_windows, const int32_t *position, mc_term *restrict terms,
                              int count) {
    for (ptrdiff_t i = (ptrdiff_t)w * n_out; w < n_windows; w++, i += n_out) {
        terms[count] = (mc_term){position[4 * w + winner[i]], dy[i]};
        count += mc_is_live(dy[i]);
    }
    return count;
}

/* Where a table has a list_block, it takes LIST_WINDOWS windows of eight filters at a time, n terms
 * of each already listed. */
static void list_winners(const float *dy, const uint8_t *winner, int n_out, int n_windows,
                         const int32_t *position, mc_term *terms, ptrdiff_t stride,
                         int32_t *count) {
    int c = 0;
#ifdef HAVE_LIST_BLOCK
    for (; c + 8 <= n_out; c += 8, terms += 8 * stride) {
        int n[8] = {0}, w = 0;
        for (; w + LIST_WINDOWS <= n_windows; w += LIST_WINDOWS) {
            const ptrdiff_t at = (ptrdiff_t)w * n_out + c;
            list_block(dy + at, winner + at, n_out, position + 4 * w, terms, stride, n);
        }
        for (int j = 0; j < 8; j++)
            count[c + j] = list_filter(dy + c + j, winner + c + j, n_out, w, n_windows, position,
                                       terms + j * stride, n[j]);
    }
#endif
    for (; c < n_out; c++, terms += stride)
        count[c] = list_filter(dy + c, winner + c, n_out, 0, n_windows, position, terms, 0);
}

static void softmax_rows(float *y, size_t n, size_t width) {
    for (size_t i = 0; i < n; i++, y += width) {
        float most = y[0], sum = 0.0f;
        for (size_t j = 1; j < width; j++) most = y[j] > most ? y[j] : most;
        for (size_t j = 0; j < width; j++) y[j] = loop_exp(y[j] - most);
        for (size_t j = 0; j < width; j++) sum += y[j];
        const float inverse = 1.0f / sum;
        for (size_t j = 0; j < width; j++) y[j] *= inverse;
    }
}

static void activate(mc_activation activation, float *y, size_t n, size_t width) {
    switch (activation) {
    case MC_LINEAR:
        break;
    case MC_RELU:
        for (size_t i = 0; i < n; i++) y[i] = y[i] > 0.0f ? y[i] : 0.0f;
        break;
    case MC_SIGMOID:
        for (size_t i = 0; i < n; i++) y[i] = 1.0f / (1.0f + loop_exp(-y[i]));
        break;
    case MC_TANH:
        for (size_t i = 0; i < n; i++) {
            /* Near 0 the quotient cancels: the series is exact to 1e-8 there. */
            const float x = y[i], s = x * x;
            const float e = loop_exp(2.0f * (x > 10.0f ? 10.0f : x));
            const float far = (e - 1.0f) / (e + 1.0f);
            const float near = x * (1.0f + s * (-1.0f / 3 + s * (2.0f / 15 + s * (-17.0f / 315))));
            y[i] = s < 0.04f ? near : far;
        }
        break;
    case MC_SOFTMAX:
        softmax_rows(y, n / width, width);
        break;
    }
}

static void deactivate(mc_activation activation, const float *y, float *dy, size_t n,
                       size_t width) {
    switch (activation) {
    case MC_LINEAR:
        break;
    case MC_RELU:
        for (size_t i = 0; i < n; i++) dy[i] = y[i] > 0.0f ? dy[i] : 0.0f;
        break;
    case MC_SIGMOID:
        for (size_t i = 0; i < n; i++) dy[i] *= y[i] * (1.0f - y[i]);
        break;
    case MC_TANH:
        for (size_t i = 0; i < n; i++) dy[i] *= 1.0f - y[i] * y[i];
        break;
    case MC_SOFTMAX:
        for (size_t i = 0; i + width <= n; i += width) {
            float dot = 0.0f;
            for (size_t j = i; j < i + width; j++) dot += dy[j] * y[j];
            for (size_t j = i; j < i + width; j++) dy[j] = y[j] * (dy[j] - dot);
        }
        break;
    }
}

#include "losses.h"

static uint32_t most_bits(const float *x, size_t n, uint32_t mask) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        most = (bits & mask) > most ? bits & mask : most;
    }
    return most;
}

#ifndef HAVE_INK_BITS
static uint32_t ink_bits(const float *x, size_t n, uint32_t mask, uint64_t *bits, int *count) {
    const size_t whole = n / 64, rest = n % 64;
    ink_rows(x, 64, (int)whole, bits);
    if (rest) ink_rows(x + n - rest, (int)rest, 1, bits + whole);
    for (size_t i = 0; i * 64 < n; i++) *count += __builtin_popcountll(bits[i]);
    return most_bits(x, n, mask);
}
#endif

static void from_uint8(const uint8_t *in, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = (float)in[i] * (1.0f / 255.0f);
}

static void add(float *sum, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) sum[i] += x[i];
}

static void reduce(const float *lanes, ptrdiff_t lane_stride, int n_lanes, float *gradient,
                   size_t n) {
    memcpy(gradient, lanes, n * sizeof(float));
    for (int l = 1; l < n_lanes; l++) add(gradient, lanes + l * lane_stride, n);
}

static double square_sum(const float *x, size_t n) {
    double part[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) part[j] += (double)x[i + j] * x[i + j];
    for (; i < n; i++) part[0] += (double)x[i] * x[i];
    double sum = 0.0;
    for (int j = 0; j < 8; j++) sum += part[j];
    return sum;
}

/* v = momentum v + g; w -= rate (nesterov ? g + momentum v : v). Without momentum velocity may be
 * NULL. The form is PyTorch's, with dampening 0. */
static void sgd(const mc_step *s, float *weight, float *velocity, const float *gradient, size_t n) {
    const float rate = s->rate, decay = s->decay, scale = s->scale, momentum = s->momentum;
    if (!velocity) {
        for (size_t i = 0; i < n; i++)
            weight[i] -= rate * (gradient[i] * scale + decay * weight[i]);
    } else if (s->nesterov) {
        for (size_t i = 0; i < n; i++) {
            const float g = gradient[i] * scale + decay * weight[i];
            velocity[i] = momentum * velocity[i] + g;
            weight[i] -= rate * (g + momentum * velocity[i]);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            const float g = gradient[i] * scale + decay * weight[i];
            velocity[i] = momentum * velocity[i] + g;
            weight[i] -= rate * velocity[i];
        }
    }
}

/* Kingma and Ba, arXiv:1412.6980, with the bias corrections folded into rate and epsilon. */
static void adam(const mc_step *s, float *weight, float *m, float *v, const float *gradient,
                 size_t n) {
    const float rate = s->rate, decay = s->decay, shrink = s->shrink, scale = s->scale;
    const float b1 = s->beta_1, b2 = s->beta_2, c1 = 1.0f - b1, c2 = 1.0f - b2, eps = s->epsilon;
    for (size_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale + decay * weight[i];
        m[i] = b1 * m[i] + c1 * g;
        v[i] = b2 * v[i] + c2 * (g * g);
        weight[i] = shrink * weight[i] - rate * m[i] / (sqrtf(v[i]) + eps);
    }
}

static void blend(float *average, const float *x, float share, size_t n) {
    for (size_t i = 0; i < n; i++) average[i] += share * (x[i] - average[i]);
}

static void norm_moments(const float *x, const float *shift, size_t n, size_t channels, float *sum,
                         float *square) {
    for (size_t i = 0; i < n; i++, x += channels)
        for (size_t c = 0; c < channels; c++) {
            const float d = x[c] - shift[c];
            sum[c] += d;
            square[c] += d * d;
        }
}

static void norm_apply(const float *x, const float *mean, const float *scale, const float *offset,
                       size_t n, size_t channels, int relu, float *y) {
    const float floor = relu ? 0.0f : -__builtin_inff();
    for (size_t i = 0; i < n; i++, x += channels, y += channels)
        for (size_t c = 0; c < channels; c++) {
            const float v = (x[c] - mean[c]) * scale[c] + offset[c];
            y[c] = v > floor ? v : floor;
        }
}

static void norm_sums(const float *x, const float *dy, const float *mean, const float *inverse_std,
                      size_t n, size_t channels, float *sum, float *product) {
    for (size_t i = 0; i < n; i++, x += channels, dy += channels)
        for (size_t c = 0; c < channels; c++) {
            sum[c] += dy[c];
            product[c] += dy[c] * ((x[c] - mean[c]) * inverse_std[c]);
        }
}

static void norm_gradient(const float *x, const float *dy, const float *mean, const float *a,
                          const float *b, const float *k, size_t n, size_t channels, float *dx) {
    for (size_t i = 0; i < n; i++, x += channels, dy += channels, dx += channels)
        for (size_t c = 0; c < channels; c++) dx[c] = a[c] * dy[c] + b[c] * (x[c] - mean[c]) + k[c];
}

static void depthwise(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *weight, const float *bias, int channels,
                      float *out) {
    for (int p = 0; p < n_positions; p++, out += channels) {
        memcpy(out, bias, (size_t)channels * sizeof(float));
        for (int t = 0; t < n_taps; t++) {
            const float *v = x + position[p] + tap[t], *w = weight + t * channels;
            for (int c = 0; c < channels; c++) out[c] += v[c] * w[c];
        }
    }
}

static void depthwise_gradient(const float *x, const int32_t *position, int n_positions,
                               const int32_t *tap, int n_taps, const float *weight, const float *dy,
                               int channels, float *dw, float *dx) {
    for (int p = 0; p < n_positions; p++, dy += channels)
        for (int t = 0; t < n_taps; t++) {
            const float *v = x + position[p] + tap[t], *w = weight + t * channels;
            float *g = dw + t * channels;
            for (int c = 0; c < channels; c++) g[c] += v[c] * dy[c];
            if (!dx) continue;
            float *d = dx + position[p] + tap[t];
            for (int c = 0; c < channels; c++) d[c] += dy[c] * w[c];
        }
}

#include "augment_body.h"
#include "transpose.h"

/* Element i keeps its value if its 16 random bits are at least rate * 2^16. A batch of 16 Philox
 * blocks has 128 of them: the low halves of its 64 words, then the high halves. */
static void dropout(const float *x, size_t n, float rate, uint64_t seed, uint64_t stream,
                    float *restrict y, uint8_t *restrict mask) {
    const uint32_t limit = (uint32_t)(rate * 65536.0f);
    const float scale = 1.0f / (1.0f - rate);
    const uint32_t tail[3] = {(uint32_t)stream, (uint32_t)(stream >> 32), MC_RNG_DROPOUT};
    uint32_t words[64], bits[128];
    for (size_t i = 0; i < n; i += 128) {
        augment_random(seed, (uint32_t)(i / 8), tail, words);
        for (int j = 0; j < 64; j++) {
            bits[j] = words[j] & 0xffff;
            bits[64 + j] = words[j] >> 16;
        }
        const size_t most = n - i < 128 ? n - i : 128;
        for (size_t j = 0; j < most; j++) {
            mask[i + j] = bits[j] >= limit;
            y[i + j] = bits[j] >= limit ? x[i + j] * scale : 0.0f;
        }
    }
}

static void dropout_gradient(const float *dy, const uint8_t *mask, size_t n, float rate,
                             float *restrict dx) {
    const float scale = 1.0f / (1.0f - rate);
    for (size_t i = 0; i < n; i++) dx[i] = mask[i] ? dy[i] * scale : 0.0f;
}

/* ---- products of operands rounded to bf16: rounded floats in the float32 loops ---- */

#ifndef HAVE_BF16
/* To the nearest float whose lower 16 bits are zero, ties to even; a NaN stays one. */
static inline float nearest_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint32_t nan = bits | 0x400000u;
    const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    bits = ((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded) & 0xffff0000u;
    memcpy(&x, &bits, 4);
    return x;
}

static void round_floats(const float *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = nearest_bf16(x[i]);
}

static void round_bf16(const float *x, size_t n, void *out) {
    round_floats(x, n, out);
}

static void winograd_inputs_bf16(const float *x, const int32_t *position, int n_windows,
                                 ptrdiff_t row, int channels, void *out) {
    winograd_inputs(x, position, n_windows, row, channels, out);
    round_floats(out, 16 * (size_t)n_windows * (size_t)channels, out);
}

static void pair_bf16(const void *rounded, size_t n, size_t stride, void *out) {
    const float *x = rounded;
    float *pairs = out;
    for (size_t i = 0; i < n; i++) {
        pairs[2 * i] = x[i];
        pairs[2 * i + 1] = i + stride < n ? x[i + stride] : 0.0f;
    }
}

static void pack_bf16(const float *panel, int n_taps, int run, float *out) {
    (void)run;
    memcpy(out, panel, PANEL_COLS * sizeof(float));
    round_bf16(panel + PANEL_COLS, (size_t)n_taps * PANEL_COLS, out + PANEL_COLS);
}

/* Positions a tile at a time, so that they can be added. */
static void dot_add(const mc_product *d, const float *panel, float *out, int n_cols) {
    enum { ROWS = 12 };
    float tile[ROWS * PANEL_COLS];
    for (int p = 0; p < d->n_positions; p += ROWS) {
        const int n = d->n_positions - p < ROWS ? d->n_positions - p : ROWS;
        dot_panel(d->x, d->position + p, n, d->tap, d->n_taps, panel, 0, tile, PANEL_COLS, n_cols);
        for (int i = 0; i < n; i++)
            add(out + (p + i) * d->out_stride, tile + i * PANEL_COLS, (size_t)n_cols);
    }
}

static void dot_bf16(const mc_product *d) {
    const size_t panel_floats = (size_t)(d->n_taps + 1 + MC_BF16_PAD) * PANEL_COLS;
    for (int q = 0; q < d->n_panels; q++) {
        const int left = d->n_cols - q * PANEL_COLS, n_cols = left < PANEL_COLS ? left : PANEL_COLS;
        const float *panel = d->panels + (size_t)q * panel_floats;
        float *out = d->out + q * d->out_panel;
        if (d->add)
            dot_add(d, panel, out, n_cols);
        else
            dot_panel(d->x, d->position, d->n_positions, d->tap, d->n_taps, panel, d->relu, out,
                      d->out_stride, n_cols);
    }
}

static void begin_bf16(void) {}

static void end_bf16(void) {}
#endif

#ifdef HAVE_HALF
#define ROW_UNIT (VW / 2)
#elif defined(VW)
#define ROW_UNIT VW
#else
#define ROW_UNIT 1
#endif

#ifndef WINNER_SUM_3X3
#define WINNER_SUM_3X3 NULL
#endif
#ifndef WINNER_SPREAD_3X3
#define WINNER_SPREAD_3X3 NULL
#endif
#ifndef PATCH_SUM_BF16
#define PATCH_SUM_BF16 NULL
#endif
#ifndef WINDOWS_BF16
#define WINDOWS_BF16 NULL
#endif
#ifndef GREY_WINDOWS
#define GREY_WINDOWS NULL
#define GREY_FILTERS 0
#endif

#define MC_TABLE(table, label, lanes)                                                              \
    const mc_kernels table = {.name = label,                                                       \
                              .cols = PANEL_COLS,                                                  \
                              .lane = lanes,                                                       \
                              .unit = ROW_UNIT,                                                    \
                              .dot_panel = dot_panel,                                              \
                              .outer_panel = outer_panel,                                          \
                              .list_inputs = list_inputs,                                          \
                              .list_pixels = list_pixels,                                          \
                              .ink_rows = ink_rows,                                                \
                              .ink_bits = ink_bits,                                                \
                              .list_winners = list_winners,                                        \
                              .row_sum = row_sum,                                                  \
                              .row_sums = row_sums,                                                \
                              .patch_sum = patch_sum,                                              \
                              .row_spread = row_spread,                                            \
                              .patch_spread = patch_spread,                                        \
                              .winner_sum = winner_sum,                                            \
                              .winner_sum_3x3 = WINNER_SUM_3X3,                                    \
                              .winner_spread_3x3 = WINNER_SPREAD_3X3,                              \
                              .column_sums = column_sums,                                          \
                              .pool_windows = pool_windows,                                        \
                              .dot_windows = dot_windows,                                          \
                              .grey_windows = GREY_WINDOWS,                                        \
                              .grey_filters = GREY_FILTERS,                                        \
                              .unpool_windows = unpool_windows,                                    \
                              .max_pixel = max_pixel,                                              \
                              .max_pixel_gradient = max_pixel_gradient,                            \
                              .winograd_inputs = winograd_inputs,                                  \
                              .winograd_windows = winograd_windows,                                \
                              .dropout = dropout,                                                  \
                              .dropout_gradient = dropout_gradient,                                \
                              .activate = activate,                                                \
                              .deactivate = deactivate,                                            \
                              .loss = loss_rows,                                                   \
                              .most_bits = most_bits,                                              \
                              .from_uint8 = from_uint8,                                            \
                              .transpose = transpose,                                              \
                              .add = add,                                                          \
                              .reduce = reduce,                                                    \
                              .square_sum = square_sum,                                            \
                              .sgd = sgd,                                                          \
                              .adam = adam,                                                        \
                              .blend = blend,                                                      \
                              .norm_moments = norm_moments,                                        \
                              .norm_apply = norm_apply,                                            \
                              .norm_sums = norm_sums,                                              \
                              .norm_gradient = norm_gradient,                                      \
                              .depthwise = depthwise,                                              \
                              .depthwise_gradient = depthwise_gradient,                            \
                              .augment_image = augment_image,                                      \
                              .round_bf16 = round_bf16,                                            \
                              .round_floats = round_floats,                                        \
                              .winograd_inputs_bf16 = winograd_inputs_bf16,                        \
                              .pair_bf16 = pair_bf16,                                              \
                              .pack_bf16 = pack_bf16,                                              \
                              .dot_bf16 = dot_bf16,                                                \
                              .windows_bf16 = WINDOWS_BF16,                                        \
                              .patch_sum_bf16 = PATCH_SUM_BF16,                                    \
                              .begin_bf16 = begin_bf16,                                            \
                              .end_bf16 = end_bf16}
