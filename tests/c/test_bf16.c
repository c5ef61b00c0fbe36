/* Products of rounded operands of every table, against double precision with operands rounded
 * here; and gradients of networks in bf16 against those of the plain table. MC_EMULATED
 * names the one table to test where its instructions are emulated (see simde/immintrin.h). */
#include "check.h"
#include "kernels/kernels.h"

static const mc_kernels *table;

static int named(const char *what, int holds) {
    char text[200];
    snprintf(text, sizeof text, "%s: %s", table->name, what);
    return check(holds, text);
}

/* To 8 significant bits, ties to even. */
static double rounded(double x) {
    int exponent;
    if (x == 0 || !isfinite(x)) return x;
    const double fraction = frexp(x, &exponent),
                 y = ldexp(nearbyint(fraction * 256) / 256, exponent);
    return fabs(y) < 0x1p128 ? y : copysign(INFINITY, y);
}

static size_t room(int n_taps) {
    return ((size_t)n_taps + 1 + MC_BF16_PAD) * (size_t)table->cols * sizeof(float);
}

/* Whether rounded values are words, not floats. */
static int has_words(void) {
    return !strcmp(table->name, "avx512bf16") || !strcmp(table->name, "amx");
}

/* x rounded, in a block of exactly its size: words end with a zero. */
static void *take_rounded(const float *x, size_t n) {
    float *wide = take(n * sizeof *wide);
    const size_t size = has_words() ? (n + 1) * sizeof(uint16_t) : n * sizeof(float);
    table->round_bf16(x, n, wide);
    void *exact = take(size);
    memcpy(exact, wide, size);
    free(wide);
    return exact;
}

/* ---- rounding, seen through a product with 1 ---- */

static void product_of_one(float x, float weight, float *out) {
    float *panel = take((size_t)(2 * table->cols) * sizeof *panel), *packed = take(room(1));
    const int32_t zero = 0;
    for (int c = 0; c < table->cols; c++) {
        panel[c] = 0.0f;
        panel[table->cols + c] = weight;
    }
    table->pack_bf16(panel, 1, 1, packed);
    void *input = take_rounded(&x, 1);
    const mc_product product = {.x = input,
                                .position = &zero,
                                .tap = &zero,
                                .n_positions = 1,
                                .n_taps = 1,
                                .run = 1,
                                .panels = packed,
                                .n_panels = 1,
                                .n_cols = 1,
                                .out = out,
                                .out_stride = 1};
    table->begin_bf16();
    table->dot_bf16(&product);
    table->end_bf16();
    free(panel);
    free(packed);
    free(input);
}

static void test_rounding(void) {
    static const float special[] = {0.0f,           1.0f,    1.00390625f, /* a tie, down to even */
                                    1.01171875f,                          /* a tie, up to even */
                                    1.0039063692f,                        /* just above a tie */
                                    1.0117186308f,                        /* just below one */
                                    0x1.fffffep0f,  /* to the next power of two */
                                    3.38953139e38f, /* the largest bf16 */
                                    3.3961776e38f,  /* above half a step beyond: infinite */
                                    0x1p-126f,      INFINITY};
    const size_t n_special = sizeof special / sizeof *special;
    float *random = take_random(2000, 3);
    for (size_t i = 0; i < 2000 + 2 * n_special; i++) {
        const size_t k = (i - 2000) / 2;
        const float x =
            i < 2000 ? ldexpf(random[i], (int)(i % 60) - 30) : (i % 2 ? -special[k] : special[k]);
        float a = 7, b = 7;
        product_of_one(x, 1.0f, &a);
        product_of_one(1.0f, x, &b);
        char text[100];
        snprintf(text, sizeof text, "%.9g rounded is %.9g and %.9g, wanted %.9g", x, a, b,
                 rounded(x));
        named(text, a == rounded(x) && b == rounded(x));
    }
    free(random);
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < 5; i++) {
        float x, *panel = take(room(1)), packed[2] = {0};
        memcpy(&x, &nans[i], 4);
        for (int c = 0; c < 2 * table->cols; c++) panel[c] = x;
        table->round_bf16(&x, 1, packed);
        uint32_t bits;
        memcpy(&bits, packed, 4);
        if (has_words()) bits <<= 16;
        table->round_floats(&x, 1, packed);
        memcpy(&x, &bits, 4);
        named("a NaN stays one", isnan(x) && isnan(packed[0]) && !(bits & 0xffff));
        free(panel);
    }
    for (size_t n = 1; n < 140; n++) { /* all of a row, and nothing beyond */
        float *x = take_random(n, n), *out = take(n * sizeof *out);
        table->round_bf16(x, n, out);
        int good = 1;
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            uint16_t word;
            memcpy(&bits, out + i, 4);
            memcpy(&word, (char *)out + 2 * i, 2);
            if (has_words()) bits = (uint32_t)word << 16;
            float y;
            memcpy(&y, &bits, 4);
            good &= y == rounded(x[i]);
        }
        named("round_bf16", good);
        table->round_floats(x, n, out);
        for (size_t i = 0; i < n; i++) good &= out[i] == rounded(x[i]);
        named("round_floats", good);
        free(x);
        free(out);
    }
}

static void test_pairs(void) {
    for (size_t n = 1; n < 70; n++)
        for (size_t stride = 1; stride < 40; stride += 6) {
            const size_t size = has_words() ? sizeof(uint16_t) : sizeof(float);
            float *x = take_random(n, n);
            char *rounded = take_rounded(x, n), *out = take(2 * n * size), zero[4] = {0};
            table->pair_bf16(rounded, n, stride, out);
            int good = 1;
            for (size_t i = 0; i < n; i++) {
                const char *next = i + stride < n ? rounded + (i + stride) * size : zero;
                good &= !memcmp(out + 2 * i * size, rounded + i * size, size);
                good &= !memcmp(out + (2 * i + 1) * size, next, size);
            }
            named("pair_bf16", good);
            free(x);
            free(rounded);
            free(out);
        }
}

/* ---- products ---- */

/* Positions 5 values apart, runs of taps 3 values apart; added to what is there if gap is 2. */
static void one_product(int n_positions, int run, int n_runs, int n_cols, int relu, int gap) {
    const int cols = table->cols, n_taps = run * n_runs, n_panels = (n_cols + cols - 1) / cols;
    const size_t n = (size_t)(n_positions - 1) * 5 + (size_t)n_runs * ((size_t)run + 3) - 3;
    const size_t stride = (size_t)(n_cols + gap), size = (size_t)n_positions * stride;
    float *x = take_random(n, 1), *weight = take_random((size_t)(n_taps + 1) * (size_t)n_cols, 2);
    float *out = take(size * sizeof *out), *panel = take(room(n_taps));
    char *packed = take(room(n_taps) * (size_t)n_panels);
    int32_t *position = take((size_t)n_positions * 4), *tap = take((size_t)n_taps * 4);
    for (int c = 0; c < n_cols && gap == 2; c++) weight[c] = 0.0f;
    for (int p = 0; p < n_positions; p++) position[p] = p * 7 % n_positions * 5;
    for (int t = 0; t < n_taps; t++) tap[t] = t / run * (run + 3) + t % run;
    for (int q = 0; q < n_panels; q++) {
        for (int t = 0; t <= n_taps; t++)
            for (int c = 0; c < cols; c++) {
                const int at = q * cols + c;
                panel[t * cols + c] = at < n_cols ? weight[t * n_cols + at] : 0.0f;
            }
        table->pack_bf16(panel, n_taps, run, (float *)(packed + room(n_taps) * (size_t)q));
    }
    void *input = take_rounded(x, n);
    for (size_t i = 0; i < size; i++) out[i] = 77.0f;
    const mc_product product = {.x = input,
                                .position = position,
                                .tap = tap,
                                .n_positions = n_positions,
                                .n_taps = n_taps,
                                .run = run,
                                .panels = (float *)packed,
                                .n_panels = n_panels,
                                .n_cols = n_cols,
                                .relu = relu,
                                .add = gap == 2,
                                .out = out,
                                .out_stride = (ptrdiff_t)stride,
                                .out_panel = cols};
    table->begin_bf16();
    table->dot_bf16(&product);
    table->end_bf16();
    for (size_t i = 0; i < n; i++) x[i] = (float)rounded(x[i]);
    for (int i = n_cols; i < (n_taps + 1) * n_cols; i++) weight[i] = (float)rounded(weight[i]);
    int good = 1;
    for (int p = 0; p < n_positions; p++)
        for (size_t c = 0; c < stride; c++) {
            double sum = c < (size_t)n_cols ? weight[c] + (gap == 2) * 77.0 : 77.0;
            for (int t = 0; t < n_taps && c < (size_t)n_cols; t++)
                sum +=
                    (double)x[position[p] + tap[t]] * weight[(size_t)(t + 1) * (size_t)n_cols + c];
            if (relu && sum < 0) sum = 0;
            good &=
                fabs(out[(size_t)p * stride + c] - sum) <= 2e-7 * (n_taps + 2) * fmax(1, fabs(sum));
        }
    char text[120];
    snprintf(text, sizeof text, "dot_bf16 of %d positions, %d runs of %d taps, %d columns, relu %d",
             n_positions, n_runs, run, n_cols, relu);
    named(text, good);
    void *blocks[] = {x, weight, out, panel, packed, position, tap, input};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

static void test_products(void) {
    static const int positions[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 65};
    static const int runs[][2] = {{1, 1},  {3, 3},   {1, 5},   {5, 5},   {8, 2},  {9, 1},
                                  {31, 1}, {32, 1},  {33, 1},  {7, 9},   {20, 2}, {16, 3},
                                  {96, 3}, {384, 1}, {385, 1}, {40, 10}, {800, 1}};
    static const int columns[] = {1, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 70};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        for (size_t p = 0; p < sizeof positions / sizeof *positions; p++) {
            const size_t n = sizeof columns / sizeof *columns;
            if (runs[i][0] * runs[i][1] <= 33)
                for (size_t c = 0; c < n; c++)
                    one_product(positions[p], runs[i][0], runs[i][1], columns[c], (int)c % 2,
                                (int)p % 3);
            else /* long ones: each size once */
                for (size_t c = p % 3; c < n; c += 3)
                    one_product(positions[p], runs[i][0], runs[i][1], columns[c], (int)i % 2,
                                (int)p % 3);
        }
}

/* ---- poolings ---- */

/* Two images, of so many windows, channels and filters. */
static void one_pooling(int n_y, int n_x, int channels, int kernel, int n_out, int relu) {
    enum { IMAGES = 2 };
    const int width = 2 * n_x + kernel, height = 2 * n_y + kernel - 1;
    const int cols = table->cols, n_panels = (n_out + cols - 1) / cols;
    const int n_taps = kernel * kernel * channels, n_windows = IMAGES * n_y * n_x;
    const size_t image = (size_t)(width * height * channels), size = (size_t)(n_windows * n_out);
    float *x = take_random(IMAGES * image, 1);
    float *weight = take_random((size_t)((n_taps + 1) * n_out), 2);
    float *y = take(size * sizeof *y), *again = take(size * sizeof *again);
    uint8_t *winner = take(size);
    float *panel = take(room(n_taps));
    char *packed = take(room(n_taps) * (size_t)n_panels);
    int32_t *position = take((size_t)n_windows * 16), *tap = take((size_t)n_taps * 4);
    for (int t = 0; t < n_taps; t++) {
        const int spot = t / channels;
        tap[t] = (spot / kernel * width + spot % kernel) * channels + t % channels;
    }
    for (int i = 0; i < 4 * n_windows; i++) {
        const int w = i / 4 % (n_y * n_x), row = w / n_x * 2 + i % 4 / 2;
        position[i] =
            ((i / 4 / (n_y * n_x) * height + row) * width + w % n_x * 2 + i % 2) * channels;
    }
    for (int q = 0; q < n_panels; q++) {
        for (int t = 0; t <= n_taps; t++)
            for (int c = 0; c < cols; c++) {
                const int at = q * cols + c;
                panel[t * cols + c] = at < n_out ? weight[t * n_out + at] : 0.0f;
            }
        table->pack_bf16(panel, n_taps, kernel * channels,
                         (float *)(packed + room(n_taps) * (size_t)q));
    }
    void *input = take_rounded(x, IMAGES * image);
    mc_product product = {.x = input,
                          .position = position,
                          .tap = tap,
                          .n_positions = 4 * n_windows,
                          .n_taps = n_taps,
                          .run = kernel * channels,
                          .panels = (float *)packed,
                          .n_panels = n_panels,
                          .n_cols = n_out,
                          .relu = relu,
                          .out = y,
                          .out_stride = n_out};
    table->begin_bf16();
    table->windows_bf16(&product, n_x, winner);
    product.out = again;
    table->windows_bf16(&product, n_x, NULL);
    table->end_bf16();
    int good = !memcmp(y, again, size * sizeof *y);
    for (size_t i = 0; i < IMAGES * image; i++) x[i] = (float)rounded(x[i]);
    for (int i = n_out; i < (n_taps + 1) * n_out; i++) weight[i] = (float)rounded(weight[i]);
    for (int w = 0; w < n_windows; w++)
        for (int c = 0; c < n_out; c++) {
            double sum[4], most = -1e30;
            for (int q = 0; q < 4; q++) {
                sum[q] = weight[c];
                for (int t = 0; t < n_taps; t++)
                    sum[q] += (double)x[position[4 * w + q] + tap[t]] * weight[(t + 1) * n_out + c];
                most = fmax(most, sum[q]);
            }
            const double bound = 2e-7 * (n_taps + 2) * fmax(1, fabs(most));
            const int index = winner[w * n_out + c], at = w * n_out + c;
            good &= index < 4 && sum[index] >= most - bound;
            good &= fabs(y[at] - (relu && most < 0 ? 0 : most)) <= bound;
        }
    char text[120];
    snprintf(text, sizeof text,
             "windows_bf16 of %d x %d windows, %d channels, kernel %d, %d filters", n_y, n_x,
             channels, kernel, n_out);
    named(text, good);
    void *blocks[] = {x, weight, y, again, winner, panel, packed, position, tap, input};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

static void test_poolings(void) {
    static const int filters[] = {1, 15, 16, 17, 31, 32, 33, 48, 64};
    for (int n_x = 1; n_x <= 18; n_x++)
        one_pooling(1 + n_x % 3, n_x, 32, 1 + n_x % 5, filters[n_x % 9], n_x % 2);
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        one_pooling(2, 5, 32 + 32 * ((int)i % 3), 3, filters[i], (int)i % 2);
}

/* ---- Winograd's inputs ---- */

static void one_winograd(int windows, int channels) {
    const int row = (2 * windows + 2) * channels;
    const size_t size = (size_t)(16 * windows * channels);
    float *x = take_random((size_t)(4 * row), 5), *plain = take(size * sizeof *plain);
    float *out = take((size + 1) * sizeof *out);
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    for (int i = 0; i < 4 * windows; i++) position[i] = i / 4 * 2 * channels;
    table->winograd_inputs(x, position, windows, row, channels, plain);
    table->winograd_inputs_bf16(x, position, windows, row, channels, out);
    void *wanted = take_rounded(plain, size);
    named("winograd_inputs_bf16",
          !memcmp(out, wanted, has_words() ? (size + 1) * 2 : size * sizeof *out));
    void *blocks[] = {x, plain, out, position, wanted};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

static void test_winograd(void) {
    for (int windows = 1; windows < 8; windows++)
        for (int channels = 16; channels < 50; channels++) one_winograd(windows, channels);
}

/* ---- sums of patches ---- */

static void one_patch(int n, int rows, int length) {
    enum { GAP = 5, MOST = 9 };
    const int row = length + GAP, sum_row = length + 2;
    const size_t size = (size_t)((rows - 1) * row + length + 2 * MOST);
    const size_t n_sums = (size_t)((rows - 1) * sum_row + length);
    float *x = take_random(size, 1), *values = take_random((size_t)n, 2);
    float *sums = take_random(n_sums, 3), *wanted = take_copy(sums, n_sums);
    mc_term *terms = take((size_t)(n + 1) * sizeof *terms);
    for (int i = 0; i < n; i++) terms[i] = (mc_term){i * 7 % MOST * 2, (float)rounded(values[i])};
    void *patches = take_rounded(x, size);
    for (int y = 0; y < rows; y++)
        for (int j = 0; j < length; j++) {
            double sum = wanted[y * sum_row + j];
            for (int i = 0; i < n; i++)
                sum += (double)terms[i].value * rounded(x[terms[i].offset + y * row + j]);
            wanted[y * sum_row + j] = (float)sum;
        }
    table->patch_sum_bf16(patches, terms, n, rows, row, sums, sum_row, length);
    char text[100];
    snprintf(text, sizeof text, "patch_sum_bf16 of %d terms, %d rows of %d", n, rows, length);
    named(text, largest_error(sums, wanted, n_sums) < 1e-6 * (n + 1));
    void *blocks[] = {x, values, sums, wanted, terms, patches};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

static void test_patches(void) {
    static const int lengths[] = {1, 3, 15, 16, 17, 30, 31, 32, 33, 64, 95, 96, 97, 130, 192};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int n = 1; n <= 6; n++)
            for (int rows = 1; rows <= 7; rows++) one_patch(n, rows, lengths[i]);
}

/* ---- networks ---- */

enum { N = 21, SIDE = 12, SIZE = SIDE * SIDE, MOST_PARAMETERS = 1 << 17 };

#define RELU3 .kernel_height = 3, .kernel_width = 3, .activation = MC_RELU
static const mc_layer POOLED[] = {{.type = MC_CONV2D, .units = 9, RELU3},
                                  {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
                                  {.type = MC_CONV2D, .units = 35, .same_padding = 1, RELU3},
                                  {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
                                  {.type = MC_DENSE, .units = 5, .activation = MC_SOFTMAX}};
static const mc_layer WINOGRAD[] = {{.type = MC_CONV2D, .units = 19, RELU3},
                                    {.type = MC_CONV2D, .units = 35, .same_padding = 1, RELU3},
                                    {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
                                    {.type = MC_DENSE, .units = 5, .activation = MC_SOFTMAX}};
static const mc_layer TILES[] = {{.type = MC_CONV2D, .units = 32, RELU3},
                                 {.type = MC_CONV2D, .units = 35, .same_padding = 1, RELU3},
                                 {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
                                 {.type = MC_DENSE, .units = 5, .activation = MC_SOFTMAX}};
static const mc_layer UNPOOLED[] = {{.type = MC_CONV2D, .units = 7, RELU3},
                                    {.type = MC_CONV2D, .units = 33, .same_padding = 1, RELU3},
                                    {.type = MC_BATCH_NORM, .epsilon = 1e-3f},
                                    {.type = MC_CONV2D, .units = 6, .groups = 3, RELU3},
                                    {.type = MC_CONV2D, .units = 3, RELU3},
                                    {.type = MC_DENSE, .units = 5, .activation = MC_SOFTMAX}};
static const mc_layer WIDE[] = {{.type = MC_DENSE, .units = 300, .activation = MC_TANH},
                                {.type = MC_DENSE, .units = 140, .activation = MC_SIGMOID},
                                {.type = MC_DENSE, .units = 5, .activation = MC_SOFTMAX}};

static size_t gradient(const mc_kernels *kernels, const mc_layer *layers, int n_layers,
                       mc_precision precision, int n_threads, float *out) {
    const mc_train_spec spec = {.batch_size = N,
                                .loss = MC_SOFTMAX_CROSS_ENTROPY,
                                .optimizer = MC_SGD,
                                .precision = precision,
                                .scratch_fill = 0xff};
    static float x[N * SIZE];
    int32_t classes[N];
    int64_t order[N];
    mc_rng_uniform(3, 1, x, N * SIZE);
    for (int i = 0; i < N; i++) classes[i] = i % 5;
    for (int i = 0; i < N; i++) order[i] = i;
    const mc_train_data data = {.x = x, .classes = classes, .order = order, .n_order = N};
    mc_net *net;
    mc_trainer *trainer;
    mc_train_result result;
    int bad;
    size_t count = 0;
    const mc_shape shape = {SIDE, SIDE, 1};
    if (!check(mc_net_create(&net, shape, layers, n_layers, kernels, &bad) == MC_OK, "a network"))
        exit(1);
    mc_net_initialize(net, 1);
    if (!check(mc_trainer_create(&trainer, net, &spec) == MC_OK, "a trainer")) exit(1);
    mc_net_parameters(net, &count);
    if (!check(count <= MOST_PARAMETERS, "room for the gradient")) exit(1);
    check(mc_trainer_gradients(trainer, &data, 0, n_threads, out, &result) == MC_OK, "gradients");
    mc_trainer_destroy(trainer);
    mc_net_destroy(net);
    return count;
}

static void one_network(const char *name, const mc_layer *layers, int n_layers, double bound) {
    static float a[MOST_PARAMETERS], b[MOST_PARAMETERS], plain[MOST_PARAMETERS];
    const size_t n = gradient(table, layers, n_layers, MC_BF16, 1, a);
    gradient(&mc_kernels_ref, layers, n_layers, MC_BF16, 1, b);
    gradient(&mc_kernels_ref, layers, n_layers, MC_FLOAT32, 1, plain);
    double most = 0.0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(b[i]));
    /* A sum in another order may round the other way: one value in some thousands, by 2^-8. */
    named(name, largest_error(a, b, n) < bound * most);
    named("bf16 is not float32", largest_error(a, plain, n) > 1e-4 * most);
    for (int threads = 2; threads <= 5; threads++) {
        gradient(table, layers, n_layers, MC_BF16, threads, b);
        named("threads change nothing", !memcmp(a, b, n * sizeof *a));
    }
}

static void test_networks(void) {
    one_network("a pooled network", LIST(POOLED), 2e-3);
    one_network("a network with Winograd's products", LIST(WINOGRAD), 2e-3);
    /* Where tiles multiply, other operands are rounded than the plain table's: some windows have
     * another winner. */
    one_network("a network of whole tiles", LIST(TILES), table->windows_bf16 ? 0.1 : 2e-3);
    one_network("a network without pooling", LIST(UNPOOLED), 2e-3);
    one_network("wide dense layers", LIST(WIDE), 2e-3);
}

#if defined(__x86_64__)
/* Tables with words are avx512 in float32, to the bit. */
static void test_same_float32(void) {
    static float a[MOST_PARAMETERS], b[MOST_PARAMETERS];
    const size_t n = gradient(&mc_kernels_avx512, LIST(POOLED), MC_FLOAT32, 2, a);
    gradient(table, LIST(POOLED), MC_FLOAT32, 2, b);
    named("agrees with avx512 in float32", !memcmp(a, b, n * sizeof *a));
}
#endif

static void test_table(void) {
    test_rounding();
    test_pairs();
    test_products();
    if (table->windows_bf16) test_poolings();
    test_winograd();
    if (table->patch_sum_bf16) test_patches();
    test_networks();
#if defined(__x86_64__)
    if (has_words()) test_same_float32();
#endif
}

int main(void) {
#ifdef MC_EMULATED
    table = &MC_EMULATED;
    test_table();
#else
    const mc_kernels *tables[16];
    const int n = mc_kernels_available(tables, 16);
    for (int i = 0; i < n; i++) {
        table = tables[i];
        test_table();
    }
#endif
    return failures != 0;
}
