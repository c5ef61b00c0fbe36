/* Random distortions: options, memory, and the few numbers drawn for each image.
 *
 * The loops over pixels are in kernels/augment_body.h, compiled once per instruction set.
 * Invariant: what mc_augment_draw gives is finite and in range even where the options are not. */
#include <math.h>
#include <stdlib.h>

#include "float_mode.h"
#include "kernels/kernels.h"

static const struct {
    const char *name;
    size_t offset;
    float low, high;
} ranges[] = {
    {"rotation", offsetof(mc_augment, rotation), 0.0f, 180.0f},
    {"scale", offsetof(mc_augment, scale), 0.0f, 0.9f},
    {"aspect", offsetof(mc_augment, aspect), 0.0f, 0.9f},
    {"shear", offsetof(mc_augment, shear), 0.0f, 60.0f},
    {"shift", offsetof(mc_augment, shift), 0.0f, 1000.0f},
    {"elastic_alpha", offsetof(mc_augment, elastic_alpha), 0.0f, 10000.0f},
    {"elastic_sigma", offsetof(mc_augment, elastic_sigma), 0.0f, 1000.0f},
    {"thickness", offsetof(mc_augment, thickness), 0.0f, 4.0f},
    {"erase", offsetof(mc_augment, erase), 0.0f, 1.0f},
    {"erase_size", offsetof(mc_augment, erase_size), 0.0f, 1.0f},
    {"noise", offsetof(mc_augment, noise), 0.0f, 1.0f},
};

const char *mc_augment_check(const mc_augment *options, float *low, float *high) {
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        float value = *(const float *)((const char *)options + ranges[i].offset);
        float least = ranges[i].low;
        if (ranges[i].offset == offsetof(mc_augment, elastic_sigma) && options->elastic_alpha > 0)
            least = 0.5f;
        if (value >= least && value <= ranges[i].high) continue; /* false for NaN */
        if (low) *low = least;
        if (high) *high = ranges[i].high;
        return ranges[i].name;
    }
    return NULL;
}

/* Must hold what augment_carve in kernels/augment_body.h deals out, for any sigma: lattices have at
 * most 4 points more than the image has pixels. */
size_t mc_augment_scratch_floats(int h, int w) {
    const size_t rows = (size_t)h, columns = (size_t)w;
    const size_t stride = (columns + 18) / 16 * 16, row_stride = (columns + 31) / 32 * 32;
    const size_t column_stride = (rows + 31) / 32 * 32;
    const size_t lattice_stride = (2 * (columns + 4) + 31) / 32 * 32;
    size_t total = 3 * (rows + 3) * stride;       /* source and two planes */
    total += (columns + 4) * row_stride;          /* Gaussian weights of the columns */
    total += (rows + 4) * column_stride;          /* and of the rows */
    total += (2 * rows + 4) * lattice_stride;     /* lattice, and lattice spread over the rows */
    total += 7 * row_stride;                      /* a row's displacements and places */
    total += (rows + 4) * (columns + 4) + 2 * 64; /* random words, in groups of 64 */
    return total;
}

/* x if it is within the range, the nearer end if not, low for NaN. */
static float clamp(float x, float low, float high) {
    return x > low ? (x < high ? x : high) : low;
}

/* A first value drawn in 0 .. n - size, for a stretch of that size. */
static int draw_start(uint32_t word, int n, int size) {
    return (int)((uint64_t)word * (uint32_t)(n - size + 1) >> 32);
}

static int draw_size(uint32_t word, int n, float fraction) {
    int size = (int)(mc_rng_float(word) * clamp(fraction, 0.0f, 1.0f) * (float)n + 1.0f);
    return size < n ? size : n;
}

/* The inverse of: scale, then slant, then rotate about the image's centre, then shift; y is down,
 * positive angles turn counter-clockwise and lean to the right. */
static void draw_affine(const mc_augment *o, int h, int w, const uint32_t words[8],
                        mc_distortion *out) {
    const float radians = 0.0174532925f;
    float angle = mc_rng_signed(words[0]) * clamp(o->rotation, 0.0f, 180.0f) * radians;
    float size = 1.0f + mc_rng_signed(words[1]) * clamp(o->scale, 0.0f, 0.9f);
    float aspect = 1.0f + mc_rng_signed(words[2]) * clamp(o->aspect, 0.0f, 0.9f);
    float slant = mc_rng_signed(words[3]) * clamp(o->shear, 0.0f, 60.0f) * radians;
    float shift_x = mc_rng_signed(words[4]) * clamp(o->shift, 0.0f, 1000.0f);
    float shift_y = mc_rng_signed(words[5]) * clamp(o->shift, 0.0f, 1000.0f);
    float cosine = angle == 0 ? 1.0f : cosf(angle), sine = angle == 0 ? 0.0f : sinf(angle);
    float tangent = slant == 0 ? 0.0f : tanf(slant);
    float *m = out->matrix;
    m[0] = (cosine + tangent * sine) / (size * aspect);
    m[1] = (tangent * cosine - sine) / (size * aspect);
    m[2] = sine * aspect / size;
    m[3] = cosine * aspect / size;
    float cx = 0.5f * (float)(w - 1), cy = 0.5f * (float)(h - 1);
    out->offset[0] = cx - m[0] * (cx + shift_x) - m[1] * (cy + shift_y);
    out->offset[1] = cy - m[2] * (cx + shift_x) - m[3] * (cy + shift_y);
}

void mc_augment_draw(const mc_augment *options, int h, int w, uint64_t seed, uint32_t epoch,
                     uint64_t index, mc_distortion *out) {
    uint32_t key[2], counter[4] = {0}, words[12];
    mc_rng_key(seed, key);
    mc_augment_counter(epoch, index, counter + 1);
    for (; counter[0] < 3; counter[0]++) mc_philox(key, counter, words + 4 * counter[0]);

    draw_affine(options, h, w, words, out);
    out->grow = mc_rng_signed(words[6]) * 0.5f * clamp(options->thickness, 0.0f, 4.0f);
    out->erase_height = 0;
    if (mc_rng_float(words[7]) < options->erase && options->erase_size > 0) {
        out->erase_height = draw_size(words[8], h, options->erase_size);
        out->erase_width = draw_size(words[9], w, options->erase_size);
        out->erase_top = draw_start(words[10], h, out->erase_height);
        out->erase_left = draw_start(words[11], w, out->erase_width);
    }
}

enum { LARGEST_SIDE = 4096, MOST_CHANNELS = 4096 };

mc_status mc_augment_images(const mc_kernels *kernels, const mc_augment *options,
                            const void *images, int is_uint8, size_t n, mc_shape shape,
                            uint64_t seed, uint32_t epoch, float *out) {
    const int h = shape.height, w = shape.width;
    if (h < 1 || w < 1 || h > LARGEST_SIDE || w > LARGEST_SIDE || shape.channels < 1 ||
        shape.channels > MOST_CHANNELS || mc_augment_check(options, NULL, NULL))
        return MC_BAD_ARGUMENT;
    const size_t size = (size_t)h * w * shape.channels;
    const size_t bytes = (mc_augment_scratch_floats(h, w) * sizeof(float) + 63) / 64 * 64;
    float *scratch = aligned_alloc(64, bytes);
    if (!scratch) return MC_NO_MEMORY;
    const uint64_t mode = mc_enter_float_mode();
    for (size_t i = 0; i < n; i++) {
        const char *image = (const char *)images + i * size * (is_uint8 ? 1 : sizeof(float));
        kernels->augment_image(options, image, is_uint8, h, w, shape.channels, seed, epoch, i,
                               out + i * size, scratch);
    }
    mc_put_float_mode(mode);
    free(scratch);
    return MC_OK;
}
