/* Fixed pieces of work whose instructions are counted (instructions.py). The work named by the
 * first argument runs twice, the second time inside `measured`, with the kernel table named by the
 * second argument. One thread, made-up images: four fifths of the pixels are zero, as in MNIST. */
#include "mnistc.h"
#include "strokes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 64, PIXELS = 784 };

static uint8_t images[IMAGES * PIXELS];
static float floats[IMAGES * PIXELS], out[IMAGES * PIXELS];
static int32_t classes[IMAGES];
static int64_t order[IMAGES];
static float rates[IMAGES];

static const mc_layer mlp[] = {
    {.type = MC_DENSE, .units = 100, .activation = MC_SIGMOID},
    {.type = MC_DENSE, .units = 30, .activation = MC_SIGMOID},
    {.type = MC_DENSE, .units = 10, .activation = MC_SIGMOID},
};
#define CONV(n, k)                                                                                 \
    { .type = MC_CONV2D, .units = n, .kernel_height = k, .kernel_width = k, .activation = MC_RELU }
#define POOL                                                                                       \
    { .type = MC_MAX_POOL2D, .pool_size = 2, .stride = 2 }
static const mc_layer cnn[] = {
    CONV(32, 3),
    POOL,
    CONV(64, 3),
    POOL,
    {.type = MC_FLATTEN},
    {.type = MC_DROPOUT, .rate = 0.5f},
    {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX},
};
static const mc_layer lenet[] = {
    CONV(6, 5),
    POOL,
    CONV(16, 5),
    POOL,
    {.type = MC_FLATTEN},
    {.type = MC_DENSE, .units = 120, .activation = MC_RELU},
    {.type = MC_DENSE, .units = 84, .activation = MC_RELU},
    {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX},
};

typedef struct {
    const char *name;
    const mc_layer *layers;   /* NULL: strokes or augmentation */
    int n_layers, batch_size; /* 0: prediction */
    size_t n;
} work;

#define LAYERS(net) net, sizeof net / sizeof *net
static const work works[] = {
    {"train-mlp", LAYERS(mlp), 10, 60},     {"train-cnn", LAYERS(cnn), 16, 32},
    {"train-lenet", LAYERS(lenet), 32, 64}, {"predict-mlp", LAYERS(mlp), 0, 64},
    {"predict-mlp-1", LAYERS(mlp), 0, 1},   {"predict-cnn", LAYERS(cnn), 0, 32},
    {"predict-cnn-1", LAYERS(cnn), 0, 1},   {"augment", NULL, 0, 0, 32},
    {"rasterize", NULL, 0, 0, 1},
};

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void make_data(void) {
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof images; i++) {
        state = state * 1664525u + 1013904223u;
        /* Runs of ink and paper, as strokes leave them. */
        images[i] = (i / 6 * 2654435761u) >> 16 & 0xf && i / 6 % 5 ? 0 : (uint8_t)(state >> 24);
        floats[i] = (float)images[i] / 255.0f;
    }
    for (int i = 0; i < IMAGES; i++) {
        classes[i] = i % 10;
        order[i] = i;
        rates[i] = 0.01f;
    }
}

static void run_strokes(void) {
    enum { POINTS = 60, STROKES = 2 };
    double points[POINTS * 2];
    for (int i = 0; i < POINTS; i++) {
        points[2 * i] = i % 13 + 0.25 * i;
        points[2 * i + 1] = i * 1.5 + i % 7;
    }
    const int64_t strokes[] = {0, 35, POINTS}, spans[] = {0, STROKES};
    const double pen = 2.4;
    const mc_strokes_batch batch = {points, strokes, spans, &pen, POINTS, STROKES, 1};
    int64_t failed;
    if (mc_strokes_rasterize(&batch, out, &failed)) fail("rasterize");
}

static void run_augment(const mc_kernels *kernels, size_t n) {
    const mc_augment options = {.rotation = 10,
                                .scale = 0.1f,
                                .shear = 5,
                                .shift = 2,
                                .elastic_alpha = 34,
                                .elastic_sigma = 4,
                                .thickness = 0.5f};
    const mc_shape shape = {28, 28, 1};
    if (mc_augment_images(kernels, &options, images, 1, n, shape, 0, 0, out)) fail("augment");
}

static void run(const work *w, const mc_kernels *kernels, mc_net *net, mc_trainer *trainer) {
    if (trainer) {
        const mc_train_data data = {
            .x = images, .is_uint8 = 1, .classes = classes, .order = order, .n_order = w->n};
        mc_train_result result;
        if (mc_trainer_run(trainer, &data, rates, 0, 1, &result)) fail("train");
    } else if (net) {
        const mc_images given = {.x = floats, .n = w->n, .range = MC_PIXELS};
        if (mc_net_predict(net, &given, 1, out)) fail("predict");
    } else if (!strcmp(w->name, "augment")) {
        run_augment(kernels, w->n);
    } else {
        run_strokes();
    }
}

__attribute__((noinline)) void measured(const work *w, const mc_kernels *kernels, mc_net *net,
                                        mc_trainer *trainer);

void measured(const work *w, const mc_kernels *kernels, mc_net *net, mc_trainer *trainer) {
    run(w, kernels, net, trainer);
}

int main(int argc, char **argv) {
    if (argc == 1) {
        for (size_t i = 0; i < sizeof works / sizeof *works; i++) puts(works[i].name);
        return 0;
    }
    const work *w = NULL;
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (!strcmp(works[i].name, argv[1])) w = &works[i];
    const mc_kernels *kernels = argc == 3 ? mc_kernels_find(argv[2]) : NULL;
    if (!w || !kernels) fail("usage: instructions [work kernels]");
    make_data();
    mc_net *net = NULL;
    mc_trainer *trainer = NULL;
    int bad;
    if (w->layers) {
        if (mc_net_create(&net, (mc_shape){28, 28, 1}, w->layers, w->n_layers, kernels, &bad))
            fail("net");
        mc_net_initialize(net, 0);
    }
    if (w->batch_size) {
        const mc_train_spec spec = {.batch_size = w->batch_size,
                                    .loss = w->layers == mlp ? MC_SIGMOID_CROSS_ENTROPY
                                                             : MC_SOFTMAX_CROSS_ENTROPY,
                                    .optimizer = w->layers == mlp ? MC_SGD : MC_ADAM,
                                    .beta_1 = 0.9f,
                                    .beta_2 = 0.999f,
                                    .epsilon = 1e-7f,
                                    .scratch_fill = -1};
        if (mc_trainer_create(&trainer, net, &spec)) fail("trainer");
    }
    run(w, kernels, net, trainer);
    measured(w, kernels, net, trainer);
    mc_trainer_destroy(trainer);
    mc_net_destroy(net);
    return 0;
}
