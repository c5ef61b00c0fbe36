/* Random distortions in C, meant for AddressSanitizer: buffers are exactly as large as promised,
 * and options are out of all ranges. Exit status 0: all hold. */
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void check(int holds, const char *table, const char *what) {
    if (holds) return;
    fprintf(stderr, "FAIL: %s (%s kernels)\n", what, table);
    failures++;
}

static void *allocate(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes)) exit(2);
    memset(memory, 0xff, bytes); /* NaN, should anything read it */
    return memory;
}

typedef struct {
    int h, w, channels;
    uint8_t *bytes;
    float *floats, *out, *other, *scratch;
    size_t n;
} picture;

static picture picture_create(int h, int w, int channels) {
    picture p = {.h = h, .w = w, .channels = channels, .n = (size_t)h * w * channels};
    p.bytes = allocate(p.n);
    p.floats = allocate(p.n * sizeof(float));
    p.out = allocate(p.n * sizeof(float));
    p.other = allocate(p.n * sizeof(float));
    p.scratch = allocate(mc_augment_scratch_floats(h, w) * sizeof(float));
    for (size_t i = 0; i < p.n; i++) {
        p.bytes[i] = (uint8_t)(i * 2654435761u >> 13);
        p.floats[i] = (float)p.bytes[i] / 255.0f;
    }
    return p;
}

static void picture_destroy(picture *p) {
    free(p->bytes);
    free(p->floats);
    free(p->out);
    free(p->other);
    free(p->scratch);
}

static float difference(const float *a, const float *b, size_t n, size_t step) {
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float d = fabsf(a[i] - b[i * step]);
        if (!(d <= most)) most = d;
    }
    return most;
}

/* Any bits as options: no access out of bounds, no trap. Every second float is a hostile one. */
static void test_hostile(const mc_kernels *k, picture *p) {
    const float hostile[] = {NAN,    INFINITY, -INFINITY, -1.0f,  1e38f, -1e38f,
                             1e-40f, 0.0f,     1.0f,      0.501f, 50.0f, 4096.0f};
    mc_augment o;
    float *fields = (float *)&o;
    mc_rng rng = mc_rng_open(1, MC_RNG_UNIFORM, (uint64_t)p->n);
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < sizeof o / sizeof(float); i++) {
            const uint32_t word = mc_rng_next(&rng);
            fields[i] = word & 1 ? hostile[(word >> 1) % 12] : mc_rng_float(word) * 20.0f;
        }
        for (int is_uint8 = 0; is_uint8 < 2; is_uint8++)
            k->augment_image(&o, is_uint8 ? (void *)p->bytes : (void *)p->floats, is_uint8, p->h,
                             p->w, p->channels, ~0ull, ~0u, ~0ull, p->out, p->scratch);
    }
}

static const mc_augment geometry = {.rotation = 20,
                                    .scale = 0.2f,
                                    .aspect = 0.1f,
                                    .shear = 10,
                                    .shift = 2,
                                    .elastic_alpha = 30,
                                    .elastic_sigma = 4,
                                    .thickness = 3};

/* Bytes and floats of the same picture give the same, and so do channels one by one. */
static void test_layouts(const mc_kernels *k, picture *p) {
    k->augment_image(&geometry, p->bytes, 1, p->h, p->w, p->channels, 3, 4, 5, p->out, p->scratch);
    k->augment_image(&geometry, p->floats, 0, p->h, p->w, p->channels, 3, 4, 5, p->other,
                     p->scratch);
    check(difference(p->out, p->other, p->n, 1) < 1e-5f, k->name, "bytes as floats");
    const size_t size = (size_t)p->h * p->w;
    float *plane = allocate(size * sizeof(float)), *result = allocate(size * sizeof(float));
    for (int c = 0; c < p->channels; c++) {
        for (size_t i = 0; i < size; i++) plane[i] = p->floats[i * p->channels + c];
        k->augment_image(&geometry, plane, 0, p->h, p->w, 1, 3, 4, 5, result, p->scratch);
        check(difference(result, p->other + c, size, p->channels) == 0.0f, k->name,
              "a channel by itself");
    }
    free(plane);
    free(result);
}

static void test_options(void) {
    float low = -1, high = -1;
    mc_augment o = {0};
    check(!mc_augment_check(&o, NULL, NULL), "no", "zeros");
    o.elastic_alpha = 1;
    const char *bad = mc_augment_check(&o, &low, &high);
    check(bad && !strcmp(bad, "elastic_sigma") && low == 0.5f && high == 1000.0f, "no", "sigma");
    o.elastic_sigma = NAN;
    check(mc_augment_check(&o, NULL, NULL) != NULL, "no", "NaN is refused");
}

int main(void) {
    static const int sizes[][3] = {{28, 28, 1}, {1, 1, 1},   {64, 48, 3}, {1, 40, 2},
                                   {33, 1, 1},  {15, 16, 1}, {2, 31, 4},  {96, 96, 1}};
    const mc_kernels *tables[16];
    const int n = mc_kernels_available(tables, 16);
    for (int t = 0; t < n; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            picture p = picture_create(sizes[s][0], sizes[s][1], sizes[s][2]);
            test_hostile(tables[t], &p);
            test_layouts(tables[t], &p);
            picture_destroy(&p);
        }
    test_options();
    return failures != 0;
}
