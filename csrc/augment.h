/* Random distortions of training images: options and signatures.
 *
 * A distorted image is a pure function of (options, image, seed, epoch, index): it does not depend
 * on threads, on minibatches or on the images before it.
 *
 * Order: one bilinear resampling for all geometric parts (rotation, scale, aspect, shear, shift,
 * elastic; zero outside), then pen width, then erasing, then noise. Parts that are 0 cost nothing.
 * Images are ink 1 on paper 0. Amounts are drawn uniformly, from -limit to limit. */
#ifndef MC_AUGMENT_H
#define MC_AUGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "rng.h"

typedef struct mc_augment {
    float rotation;      /* degrees, 0 .. 180 */
    float scale;         /* size changes by the factor 1 - scale .. 1 + scale; 0 .. 0.9 */
    float aspect;        /* width times, height divided by 1 - aspect .. 1 + aspect; 0 .. 0.9 */
    float shear;         /* slant in degrees, 0 .. 60 */
    float shift;         /* pixels, each axis, 0 .. 1000 */
    float elastic_alpha; /* Simard's alpha in pixels, 0 .. 10000: the displacement has a standard
                            deviation of 0.163 alpha / sigma pixels (alpha 34, sigma 4: 1.4 px) */
    float elastic_sigma; /* Simard's sigma in pixels, 0.5 .. 1000; unused where alpha is 0 */
    float thickness;     /* pen width changes by that many pixels at most, 0 .. 4 */
    float erase;         /* probability that a rectangle is erased, 0 .. 1 */
    float erase_size;    /* its sides are at most that fraction of the image's, 0 .. 1 */
    float noise;         /* standard deviation of the noise added to each value, 0 .. 1 */
} mc_augment;

/* NULL if all options are in their ranges (NaN is in none), else the name of the first that is not;
 * *low and *high (either may be NULL) then give the range. */
const char *mc_augment_check(const mc_augment *options, float *low, float *high);

/* Floats of scratch memory for one image (one per thread), any number of channels.
 * 1 <= h, w <= 4096. */
size_t mc_augment_scratch_floats(int h, int w);

/* What is drawn for one image; everything the random numbers decide but the elastic field and the
 * noise. Finite and in range for any options, so that the kernels need no checks. */
typedef struct mc_distortion {
    float matrix[4], offset[2]; /* source x = matrix[0] x + matrix[1] y + offset[0], y likewise */
    float grow;                 /* pen edge moves outwards by that many pixels, -2 .. 2 */
    int erase_top, erase_left, erase_height, erase_width; /* height 0: nothing */
} mc_distortion;

void mc_augment_draw(const mc_augment *options, int h, int w, uint64_t seed, uint32_t epoch,
                     uint64_t index, mc_distortion *out);

/* The random numbers of one image: a Philox counter's last three words, and blocks by use. */
static inline void mc_augment_counter(uint32_t epoch, uint64_t index, uint32_t tail[3]) {
    tail[0] = (uint32_t)index;
    tail[1] = epoch;
    tail[2] = MC_RNG_AUGMENT | (uint32_t)(index >> 32) << 8;
}

#define MC_AUGMENT_FIELD_BLOCK (1u << 28)
#define MC_AUGMENT_NOISE_BLOCK (2u << 28)

/* The elastic field: random vectors on a square lattice, centred on the image and reaching two
 * steps beyond it, each spread by a Gaussian. See ARCHITECTURE.md for why not one per pixel. */
static inline float mc_augment_lattice_step(float sigma) {
    float step = 1.25f * sigma;
    return step > 1.0f ? step : 1.0f;
}

static inline int mc_augment_lattice_size(int n, float step) {
    int intervals = (int)((float)(n - 1) / step);
    return intervals + ((float)intervals * step < (float)(n - 1)) + 5;
}

/* image: (h, w, channels), uint8 0..255 or float32 0..1. out: (h, w, channels) float32 0..1; may
 * not overlap the image. scratch: mc_augment_scratch_floats(h, w) floats, 64-byte aligned. Identity
 * options give image / 255 exactly. Options out of range give an unspecified image, never an access
 * out of bounds. Each kernel table has one (kernels->augment_image); results differ by rounding at
 * most. */
typedef void mc_augment_image_fn(const mc_augment *options, const void *image, int is_uint8, int h,
                                 int w, int channels, uint64_t seed, uint32_t epoch, uint64_t index,
                                 float *out, float *scratch);

#endif
