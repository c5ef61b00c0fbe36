/* Networks from C: what they refuse, and that they predict, train and give gradients with every
 * table, for any number of threads and whatever lay in memory. */
#include "check.h"
#include "float_mode.h"
#include "mnistc.h"

static const mc_shape DIGIT = {28, 28, 1};

static mc_status predict_images(mc_net *net, const void *x, int is_uint8, size_t n, int n_threads,
                                float *out) {
    const mc_images images = {.x = x, .is_uint8 = is_uint8, .n = n, .range = MC_ALL};
    return mc_net_predict(net, &images, n_threads, out);
}

/* ---- refused ---- */

static void refuse(const char *what, mc_shape input, mc_layer layer, int bad) {
    mc_net *net = NULL;
    int culprit = 7;
    const mc_status status = mc_net_create(&net, input, &layer, 1, mc_kernels_best(), &culprit);
    check(status == MC_BAD_SPEC || status == MC_NO_MEMORY, what);
    check(net == NULL && (status != MC_BAD_SPEC || culprit == bad), what);
    mc_net_destroy(net);
}

static void test_refused_layers(void) {
    const int huge = 1000000000;
    const mc_layer dense = {.type = MC_DENSE, .units = 10};
    static const int sizes[] = {0, -1, -2147483647 - 1, 1000000000, 2147483647};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int n = sizes[i];
        refuse("height", (mc_shape){n, 2, 1}, dense, -1);
        refuse("width", (mc_shape){2, n, 1}, dense, -1);
        refuse("channels", (mc_shape){2, 2, n}, dense, -1);
        refuse("units", DIGIT, (mc_layer){.type = MC_DENSE, .units = n}, 0);
        refuse("filters", DIGIT,
               (mc_layer){.type = MC_CONV2D, .units = n, .kernel_height = 3, .kernel_width = 3}, 0);
        refuse("kernel", DIGIT,
               (mc_layer){.type = MC_CONV2D, .units = 1, .kernel_height = n, .kernel_width = 3}, 0);
        refuse("depthwise kernel", DIGIT,
               (mc_layer){.type = MC_DEPTHWISE_CONV2D, .kernel_height = 3, .kernel_width = n}, 0);
        refuse("pool", DIGIT, (mc_layer){.type = MC_MAX_POOL2D, .pool_size = n, .stride = 2}, 0);
        refuse("stride", DIGIT, (mc_layer){.type = MC_MAX_POOL2D, .pool_size = 2, .stride = n}, 0);
    }
    refuse("an image that overflows", (mc_shape){huge, huge, huge}, dense, -1);
    refuse("weights that overflow", (mc_shape){1, 1, 100000000},
           (mc_layer){.type = MC_DENSE, .units = 100000000}, 0);
    refuse("rows whose positions overflow", (mc_shape){1, 1, 50000000},
           (mc_layer){.type = MC_DENSE, .units = 1}, 0);
    refuse("gradients whose positions overflow", (mc_shape){1, 1, 1},
           (mc_layer){.type = MC_DENSE, .units = 50000000}, 0);
    refuse("an even kernel", DIGIT,
           (mc_layer){.type = MC_CONV2D, .units = 1, .kernel_height = 2, .kernel_width = 3}, 0);
    refuse("a kernel beyond its image", (mc_shape){4, 9, 1},
           (mc_layer){.type = MC_CONV2D, .units = 1, .kernel_height = 5, .kernel_width = 3}, 0);
    static const int groups[] = {-1, 2, 3, 2000};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        refuse("groups", (mc_shape){4, 9, 2000 * 3 + 2},
               (mc_layer){.type = MC_CONV2D,
                          .units = 2000 * 3 - 1,
                          .groups = groups[i],
                          .kernel_height = 1,
                          .kernel_width = 1},
               0);
    refuse("a window beyond its image", (mc_shape){2, 2, 1},
           (mc_layer){.type = MC_MAX_POOL2D, .pool_size = 3, .stride = 1}, 0);
    refuse("a layer type", DIGIT, (mc_layer){.type = (mc_layer_type)99}, 0);
    refuse("an activation", DIGIT,
           (mc_layer){.type = MC_ACTIVATION, .activation = (mc_activation)17}, 0);
    static const float rates[] = {-0.1f, 1.0f, 2.0f, NAN, INFINITY};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        refuse("rate", DIGIT, (mc_layer){.type = MC_DROPOUT, .rate = rates[i]}, 0);
        refuse("momentum", DIGIT,
               (mc_layer){.type = MC_BATCH_NORM, .momentum = rates[i], .epsilon = 1e-3f}, 0);
    }
    static const float epsilons[] = {0.0f, -1.0f, NAN};
    for (size_t i = 0; i < 3; i++)
        refuse("epsilon", DIGIT, (mc_layer){.type = MC_BATCH_NORM, .epsilon = epsilons[i]}, 0);
}

static void test_refused_networks(void) {
    mc_net *net = NULL;
    int bad = 0;
    const mc_layer layer = {.type = MC_DENSE, .units = 3};
    const mc_kernels *k = mc_kernels_best();
    check(mc_net_create(&net, DIGIT, NULL, 1, k, &bad) == MC_BAD_ARGUMENT, "no layers");
    check(mc_net_create(&net, DIGIT, &layer, 0, k, &bad) == MC_BAD_ARGUMENT, "0 layers");
    check(mc_net_create(&net, DIGIT, &layer, -1, k, &bad) == MC_BAD_ARGUMENT, "-1 layers");
    check(mc_net_create(&net, DIGIT, &layer, 1001, k, &bad) == MC_BAD_ARGUMENT, "1001 layers");
    mc_net_destroy(NULL);
    mc_trainer_destroy(NULL);
}

static const mc_train_spec SPEC = {.batch_size = 8,
                                   .loss = MC_SOFTMAX_CROSS_ENTROPY,
                                   .optimizer = MC_ADAM,
                                   .beta_1 = 0.9f,
                                   .beta_2 = 0.999f,
                                   .epsilon = 1e-7f,
                                   .scratch_fill = -1};

static void refuse_spec(mc_net *net, const char *what, mc_train_spec spec) {
    mc_trainer *trainer = NULL;
    const mc_status status = mc_trainer_create(&trainer, net, &spec);
    check((status == MC_BAD_ARGUMENT || status == MC_NO_MEMORY) && !trainer, what);
    mc_trainer_destroy(trainer);
}

static void test_refused_trainings(void) {
    const mc_layer layer = {.type = MC_DENSE, .units = 3, .activation = MC_SOFTMAX};
    mc_net *net = NULL;
    int bad;
    if (!check(mc_net_create(&net, DIGIT, &layer, 1, mc_kernels_best(), &bad) == MC_OK,
               "a network"))
        return;
    mc_train_spec s = SPEC;
    s.loss = MC_SIGMOID_CROSS_ENTROPY;
    refuse_spec(net, "a loss that does not fit", s);
    s.loss = (mc_loss)9;
    refuse_spec(net, "a loss", s);
    s = SPEC;
    s.optimizer = (mc_optimizer)9;
    refuse_spec(net, "an optimizer", s);
    static const int batches[] = {0, -1, 2000000000};
    for (size_t i = 0; i < 3; i++) {
        s = SPEC;
        s.batch_size = batches[i];
        refuse_spec(net, "batch_size", s);
    }
    static const float wrong[] = {NAN, -1.0f, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float *const fields[] = {&s.label_smoothing, &s.momentum,  &s.beta_1,    &s.beta_2,
                                 &s.epsilon,         &s.ema_decay, &s.clip_norm, &s.weight_decay};
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
            s = SPEC;
            *fields[k] = wrong[i];
            refuse_spec(net, "a hyper-parameter", s);
        }
        s = SPEC;
        s.use_augment = 1;
        s.augment.rotation = wrong[i];
        refuse_spec(net, "an augmentation", s);
    }
    mc_net_destroy(net);
}

/* ---- used ---- */

enum { N = 37, SIZE = 28 * 28 };

static uint8_t images[N * SIZE];
static int32_t classes[N];
static int64_t order[N];

static void make_data(void) {
    for (int i = 0; i < N; i++) {
        classes[i] = i % 10;
        order[i] = (i * 5) % N;
        for (int j = 0; j < 100; j++)
            images[i * SIZE + (i % 10 * 70 + j * 3) % SIZE] = (uint8_t)(100 + j);
    }
}

static const mc_layer DENSE[] = {{.type = MC_DENSE, .units = 30, .activation = MC_SIGMOID},
                                 {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX}};
static const mc_layer CONVOLUTIONS[] = {
    {.type = MC_CONV2D, .units = 9, .kernel_height = 3, .kernel_width = 5, .activation = MC_RELU},
    {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
    {.type = MC_BATCH_NORM, .momentum = 0.9f, .epsilon = 1e-3f, .activation = MC_TANH},
    {.type = MC_DEPTHWISE_CONV2D, .kernel_height = 3, .kernel_width = 3, .same_padding = 1},
    {.type = MC_CONV2D, .units = 17, .kernel_height = 3, .kernel_width = 3, .activation = MC_RELU},
    {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
    {.type = MC_CONV2D, .units = 34, .groups = 17, .kernel_height = 3, .kernel_width = 1},
    {.type = MC_CONV2D, .units = 66, .groups = 2, .kernel_height = 1, .kernel_width = 1},
    {.type = MC_FLATTEN},
    {.type = MC_DROPOUT, .rate = 0.2f},
    {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX}};
/* Pixels of one channel whose gradient is spread: an image of it ends where another thread's
 * begins. */
static const mc_layer NARROW[] = {
    {.type = MC_CONV2D, .units = 1, .kernel_height = 1, .kernel_width = 1, .activation = MC_TANH},
    {.type = MC_CONV2D, .units = 9, .kernel_height = 3, .kernel_width = 3, .activation = MC_RELU},
    {.type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2},
    {.type = MC_FLATTEN},
    {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX}};
static const mc_layer WIDE[] = {{.type = MC_DENSE, .units = 80, .activation = MC_RELU},
                                {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX}};

/* Train two epochs; the parameters, to be freed. */
static float *train(const mc_kernels *k, const mc_layer *layers, int n_layers, mc_train_spec spec,
                    int n_threads, size_t *count, double *losses) {
    mc_net *net = NULL;
    mc_trainer *trainer = NULL;
    int bad;
    float rates[N], outputs[N * 10];
    for (int i = 0; i < N; i++) rates[i] = 0.02f;
    if (!check(mc_net_create(&net, DIGIT, layers, n_layers, k, &bad) == MC_OK, "create")) exit(1);
    mc_net_initialize(net, 3);
    check(mc_trainer_create(&trainer, net, &spec) == MC_OK, "create a trainer");
    const mc_train_data data = {
        .x = images, .is_uint8 = 1, .classes = classes, .order = order, .n_order = N};
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        mc_train_result result;
        check(mc_trainer_run(trainer, &data, rates, epoch, n_threads, &result) == MC_OK, "run");
        check(result.finite && result.correct >= 0 && result.correct <= N, "the result");
        losses[epoch] = result.loss;
    }
    check(predict_images(net, images, 1, N, n_threads, outputs) == MC_OK, "predict");
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < 10; j++) sum += outputs[i * 10 + j];
        check(fabs(sum - 1) < 1e-5, "probabilities add up to 1");
    }
    const float *parameters = mc_net_parameters(net, count);
    float *copy = take_copy(parameters, *count), *gradient = take(*count * sizeof *gradient);
    mc_train_result result;
    mc_train_data few = data;
    few.n_order = 5;
    check(mc_trainer_gradients(trainer, &few, 0, n_threads, gradient, &result) == MC_OK,
          "gradients");
    double squares = 0;
    for (size_t i = 0; i < *count; i++) squares += (double)gradient[i] * gradient[i];
    check(squares > 0 && isfinite(squares), "a gradient");
    few.n_order = 9;
    check(mc_trainer_gradients(trainer, &few, 0, n_threads, gradient, &result) == MC_BAD_ARGUMENT,
          "more images than a minibatch");
    free(gradient);
    mc_trainer_destroy(trainer);
    mc_net_destroy(net);
    return copy;
}

static void test_training(const mc_kernels *k, const mc_layer *layers, int n_layers,
                          mc_train_spec spec) {
    size_t count = 0, other = 0;
    double losses[2], again[2];
    float *wanted = train(k, layers, n_layers, spec, 1, &count, losses);
    check(losses[1] < losses[0], "the loss falls");
    static const int fills[] = {-1, 0xff, 0x7f};
    for (int n_threads = 2; n_threads < 5; n_threads++) {
        spec.scratch_fill = fills[n_threads - 2];
        float *got = train(k, layers, n_layers, spec, n_threads, &other, again);
        check(other == count && !memcmp(got, wanted, count * sizeof *got), "the same to the bit");
        check(!memcmp(losses, again, sizeof losses), "the same losses");
        free(got);
    }
    free(wanted);
}

static void test_trainings(void) {
    const mc_kernels *tables[16];
    const int n = mc_kernels_available(tables, 16);
#if defined(__SANITIZE_THREAD__)
    const int first = n - 1; /* who reads what when is the same for all tables */
#else
    const int first = 0;
#endif
    for (int i = first; i < n; i++) {
        mc_train_spec spec = SPEC;
        test_training(tables[i], LIST(CONVOLUTIONS), spec);
        test_training(tables[i], LIST(NARROW), spec);
        test_training(tables[i], LIST(WIDE), spec);
        spec.optimizer = MC_SGD;
        test_training(tables[i], LIST(DENSE), spec);
        spec.weight_decay = 1e-3f;
        spec.clip_norm = 0.5f;
        spec.ema_decay = 0.9f;
        spec.momentum = 0.9f;
        spec.use_augment = 1;
        spec.augment = (mc_augment){.rotation = 10, .shift = 1, .elastic_sigma = 4};
        test_training(tables[i], LIST(CONVOLUTIONS), spec);
    }
}

/* ---- predicted ---- */

/* Images of little ink and of much, in slices and one by one, as bytes and as floats. */
static void test_prediction(const mc_kernels *k, int units) {
    enum { MANY = 150 };
    const mc_layer layers[] = {{.type = MC_FLATTEN}, {.type = MC_DENSE, .units = units}};
    const size_t out = (size_t)units;
    mc_net *net = NULL;
    int bad;
    check(mc_net_create(&net, DIGIT, layers, 2, k, &bad) == MC_OK, "create");
    uint8_t *bytes = take(MANY * SIZE);
    float *x = take(MANY * SIZE * sizeof *x), *a = take(MANY * out * sizeof *a);
    float *b = take(MANY * out * sizeof *b);
    for (int every = 1; every < 10; every += 3) {
        for (size_t i = 0; i < MANY * SIZE; i++) bytes[i] = i % (size_t)every ? 0 : i % 251;
        for (size_t i = 0; i < MANY * SIZE; i++) x[i] = (float)bytes[i] / 255.0f;
        check(predict_images(net, x, 0, MANY, 2, a) == MC_OK, "floats");
        check(predict_images(net, bytes, 1, MANY, 3, b) == MC_OK, "bytes");
        check(largest_error(a, b, MANY * out) < 1e-4, "bytes as floats");
        for (size_t i = 0; i < MANY; i++)
            check(predict_images(net, x + i * SIZE, 0, 1, 1, b + i * out) == MC_OK, "one image");
        check(largest_error(a, b, MANY * out) < 1e-4, "one by one");
    }
    mc_net_destroy(net);
    free(bytes);
    free(x);
    free(a);
    free(b);
}

static void test_ranges(mc_net *net) {
    enum { MANY = 70 };
#if defined(__SANITIZE_THREAD__)
    const size_t step = 4 * 4999; /* what the threads share does not depend on the place */
#else
    const size_t step = 4999;
#endif
    float *x = take(MANY * SIZE * sizeof *x), *out = take(MANY * 10 * sizeof *out);
    static const struct {
        float value;
        mc_range most; /* the narrowest that accepts it */
    } cases[] = {{0, MC_PIXELS},       {1, MC_PIXELS},      {1e-40f, MC_PIXELS},
                 {1.0001f, MC_FINITE}, {-1e-3f, MC_FINITE}, {3e38f, MC_FINITE},
                 {INFINITY, MC_ALL},   {-INFINITY, MC_ALL}, {NAN, MC_ALL}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t place = 0; place < MANY * SIZE; place += step)
            for (mc_range range = MC_ALL; range <= MC_PIXELS; range++) {
                memset(x, 0, MANY * SIZE * sizeof *x);
                x[place] = cases[c].value;
                const mc_images images = {.x = x, .n = MANY, .range = range};
                const mc_status status = mc_net_predict(net, &images, 2, out);
                check((status == MC_OK) == (range <= cases[c].most), "the range of floats");
            }
    free(x);
    free(out);
}

static void test_predictions(void) {
    const mc_kernels *tables[16];
    const int n = mc_kernels_available(tables, 16);
    int bad;
    for (int i = 0; i < n; i++) {
        for (int units = 1; units < 250; units += units < 3 ? 1 : 41)
            test_prediction(tables[i], units);
        mc_net *net = NULL;
        check(mc_net_create(&net, DIGIT, LIST(DENSE), tables[i], &bad) == MC_OK, "create");
        test_ranges(net);
        mc_net_destroy(net);
        check(mc_net_create(&net, DIGIT, LIST(CONVOLUTIONS), tables[i], &bad) == MC_OK, "create");
        test_ranges(net);
        mc_net_destroy(net);
    }
}

/* ---- data ---- */

static void test_refused_data(void) {
    mc_net *net = NULL;
    mc_trainer *trainer = NULL;
    int bad;
    float rates[N] = {0}, outputs[10];
    mc_train_result result;
    check(mc_net_create(&net, DIGIT, LIST(DENSE), mc_kernels_best(), &bad) == MC_OK, "create");
    check(mc_trainer_create(&trainer, net, &SPEC) == MC_OK, "create a trainer");
    mc_train_data data = {.x = images, .is_uint8 = 1, .order = order, .n_order = N};
    check(mc_trainer_run(trainer, &data, rates, 0, 1, &result) == MC_BAD_ARGUMENT, "no targets");
    data.classes = classes;
    classes[5] = 10;
    check(mc_trainer_run(trainer, &data, rates, 0, 1, &result) == MC_BAD_ARGUMENT, "class 10");
    classes[5] = -1;
    check(mc_trainer_run(trainer, &data, rates, 0, 1, &result) == MC_BAD_ARGUMENT, "class -1");
    classes[5] = 5;
    check(mc_trainer_run(trainer, &data, rates, 0, 0, &result) == MC_BAD_ARGUMENT, "no threads");
    data.n_order = 0;
    check(mc_trainer_run(trainer, &data, rates, 0, 1, &result) == MC_OK, "no images");
    check(mc_trainer_step(trainer) == 0, "no step");
    check(predict_images(net, images, 1, 0, 1, outputs) == MC_OK, "nothing to predict");
    check(predict_images(net, images, 1, 1, 0, outputs) == MC_BAD_ARGUMENT, "0 threads");
    check(predict_images(net, images, 1, 1, 257, outputs) == MC_BAD_ARGUMENT, "257 threads");
    mc_trainer_destroy(trainer);
    mc_net_destroy(net);
}

/* ---- the float mode ---- */

/* Where the caller rounds up and keeps subnormal numbers, or not: 1 + 1e-9 is 1 in here, and
 * 1e-20 x 1e-20 is 0. The mode is the caller's again afterwards. */
static void test_float_mode(void) {
    static const uint64_t modes[] = {
#if defined(__x86_64__)
        0x1f80,
        0x5f80,
        0xdfc0
#elif defined(__aarch64__)
        0,
        1u << 22,
        5u << 22
#endif
    };
    const mc_layer layer = {.type = MC_DENSE, .units = 2};
    enum { MANY = 300 }; /* several tasks */
    static float x[MANY], out[2 * MANY];
    for (int i = 0; i < MANY; i++) x[i] = 1e-20f;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        const uint64_t mine = mc_get_float_mode();
        mc_net *net = NULL;
        int bad, same = 1;
        check(mc_net_create(&net, (mc_shape){1, 1, 1}, &layer, 1, mc_kernels_best(), &bad) == MC_OK,
              "create");
        const float parameters[] = {1e-20f, 1e11f, 0.0f, 1.0f}; /* two weights, two biases */
        size_t count;
        memcpy(mc_net_parameters(net, &count), parameters, sizeof parameters);
        mc_net_touch(net);
        mc_put_float_mode(modes[m]);
        const mc_status status = predict_images(net, x, 0, MANY, 3, out);
        const uint64_t after = mc_get_float_mode();
        mc_put_float_mode(mine);
        for (int i = 0; i < MANY; i++) same &= out[2 * i] == 0.0f && out[2 * i + 1] == 1.0f;
        check(status == MC_OK && same, "products in the core's own float mode");
        check(after == modes[m], "the caller's float mode");
        mc_net_destroy(net);
    }
}

int main(void) {
    make_data();
    test_refused_layers();
    test_refused_networks();
    test_refused_trainings();
    test_refused_data();
    test_predictions();
    test_trainings();
    test_float_mode();
    return failures != 0;
}
