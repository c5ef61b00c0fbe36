/* clang-format off */
/* augment_body.h - the loops over pixels of the random distortions (../augment.h), in plain C that
 * compilers turn into the vectors of whichever instruction set includes this file.
 *
 * Uses vf, VW, vload, vstore, vset, vzero, vfma (see tiles.h) and loop_exp (loops.h). A file
 * without vectors gets them one float wide.
 *
 * Steps for each image and channel:
 *   load   uint8 into pairs: at (row, column) the pixel and the one below it, so that one 32-bit
 *          read gives a bilinear sample its four pixels; float into a plane. A border of zeros
 *          makes samples outside need no branch.
 *   field  lattice (K, K) of random vectors -> T = rows' Gaussians x lattice -> per image row,
 *          displacements = T x columns' Gaussians. Two small matrix products.
 *   sample affine place + displacement, clamped into the border; blend four pixels.
 *   grow   pen width: towards the dilation or erosion of the plane.
 *   out    interleave channels; then erase and add noise.
 */
/* clang-format on */
#include "../augment.h"

#define MC_MAX(a, b) ((a) > (b) ? (a) : (b))
#define MC_MIN(a, b) ((a) < (b) ? (a) : (b))

#ifndef VW
typedef float vf;
#define VW 1
#define vload(p) (*(p))
#define vstore(p, v) (*(p) = (v))
#define vset(x) (x)
#define vzero() 0.0f
#define vfma(a, b, c) ((a) * (b) + (c))
#endif

/* Scratch memory of one image. Planes have `stride` floats a row; the pointers are at pixel (0, 0),
 * with a border before and after. */
typedef struct {
    int h, w, stride;
    int row_stride;           /* w, in whole tiles */
    int lattice_h, lattice_w; /* K */
    int lattice_stride;       /* 2 K, in whole tiles */
    uint16_t *pairs;          /* at pixel (-1, -1); shares its memory with `source` */
    float *source, *plane[2]; /* float images; between resampling and pen width */
    float *weights_h;         /* (lattice_h, h in whole tiles) */
    float *weights_w;         /* (lattice_w, row_stride) */
    float *lattice;           /* (lattice_h, lattice_stride): K x values, K y values */
    float *spread;            /* (h, lattice_stride) */
    float *moves;             /* (4, row_stride): x, y of a row, x, y of the next */
    float *part_x, *part_y;   /* (row_stride): fractional parts of a row's places */
    int32_t *place;           /* (row_stride): offsets of the upper left pixels */
    uint32_t *words;
} augment_scratch;

static int augment_tiles(int n) {
    return (n + 31) / 32 * 32;
}

static augment_scratch augment_carve(float *memory, int h, int w, float sigma) {
    augment_scratch s = {.h = h, .w = w, .stride = (w + 18) / 16 * 16};
    const float step = mc_augment_lattice_step(sigma);
    const size_t plane = (size_t)(h + 3) * s.stride;
    s.row_stride = augment_tiles(w);
    s.lattice_h = mc_augment_lattice_size(h, step);
    s.lattice_w = mc_augment_lattice_size(w, step);
    s.lattice_stride = augment_tiles(2 * s.lattice_w);
    s.pairs = (uint16_t *)memory;
    s.source = memory + s.stride + 1;
    s.plane[0] = s.source + plane;
    s.plane[1] = s.plane[0] + plane;
    s.weights_w = memory + 3 * plane;
    s.weights_h = s.weights_w + (size_t)s.lattice_w * s.row_stride;
    s.lattice = s.weights_h + (size_t)s.lattice_h * augment_tiles(h);
    s.spread = s.lattice + (size_t)s.lattice_h * s.lattice_stride;
    s.moves = s.spread + (size_t)h * s.lattice_stride;
    s.part_x = s.moves + 4 * s.row_stride;
    s.part_y = s.part_x + s.row_stride;
    s.place = (int32_t *)(s.part_y + s.row_stride);
    s.words = (uint32_t *)(s.place + s.row_stride);
    return s;
}

/* 16 blocks of random numbers side by side: out[16 w + i] is word w of block `block` + i.
 *
 * Philox multiplies 32 by 32 to 64 bits, which AVX2 has for the lower halves of 64-bit lanes only.
 * So words live in such lanes, 4 blocks a vector (AVX-512: 8), and the upper halves may hold
 * anything: 8 instructions a round, against some 40 that compilers make of the loop below. */
#ifdef __AVX2__
#ifdef __AVX512F__
#define wide __m512i
#define WIDE(operation) _mm512_##operation
#define wide_xor(a, b) _mm512_xor_si512(a, b)
#define wide_set(x) _mm512_set1_epi64(x)
#define wide_lanes() _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)

/* The lower halves of both, in order. */
static inline void wide_store(uint32_t *out, wide first, wide second) {
    _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi64_epi32(first));
    _mm256_storeu_si256((__m256i *)(out + 8), _mm512_cvtepi64_epi32(second));
}
#else
#define wide __m256i
#define WIDE(operation) _mm256_##operation
#define wide_xor(a, b) _mm256_xor_si256(a, b)
#define wide_set(x) _mm256_set1_epi64x(x)
#define wide_lanes() _mm256_setr_epi64x(0, 1, 2, 3)

static inline void wide_store(uint32_t *out, wide first, wide second) {
    const __m256 low =
        _mm256_shuffle_ps(_mm256_castsi256_ps(first), _mm256_castsi256_ps(second), 0x88);
    _mm256_storeu_si256((__m256i *)out, _mm256_permute4x64_epi64(_mm256_castps_si256(low), 0xd8));
}
#endif

static void augment_random(uint64_t seed, uint32_t block, const uint32_t tail[3],
                           uint32_t *restrict out) {
    enum { BLOCKS = sizeof(wide) / sizeof(uint64_t) };
    const wide m0 = wide_set(MC_PHILOX_M0), m1 = wide_set(MC_PHILOX_M1);
    const wide w0 = WIDE(set1_epi32)((int)MC_PHILOX_W0), w1 = WIDE(set1_epi32)((int)MC_PHILOX_W1);
    for (int i = 0; i < 16; i += 2 * BLOCKS) {
        wide k0 = WIDE(set1_epi32)((int)(uint32_t)seed);
        wide k1 = WIDE(set1_epi32)((int)(uint32_t)(seed >> 32));
        wide v[2][4];
        for (int half = 0; half < 2; half++) {
            v[half][0] =
                WIDE(add_epi64)(wide_set((int64_t)block + i + BLOCKS * half), wide_lanes());
            for (int word = 0; word < 3; word++) v[half][word + 1] = wide_set(tail[word]);
        }
        for (int round = 0; round < MC_PHILOX_ROUNDS; round++) {
            for (int half = 0; half < 2; half++) {
                wide *c = v[half];
                const wide p = WIDE(mul_epu32)(c[0], m0), q = WIDE(mul_epu32)(c[2], m1);
                c[0] = wide_xor(WIDE(srli_epi64)(q, 32), wide_xor(c[1], k0));
                c[2] = wide_xor(WIDE(srli_epi64)(p, 32), wide_xor(c[3], k1));
                c[1] = q;
                c[3] = p;
            }
            k0 = WIDE(add_epi32)(k0, w0);
            k1 = WIDE(add_epi32)(k1, w1);
        }
        for (int word = 0; word < 4; word++)
            wide_store(out + 16 * word + i, v[0][word], v[1][word]);
    }
}
#undef wide
#undef WIDE
#undef wide_xor
#undef wide_set
#undef wide_lanes
#else
static void augment_random(uint64_t seed, uint32_t block, const uint32_t tail[3],
                           uint32_t *restrict out) {
    for (uint32_t i = 0; i < 16; i++) {
        const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
        const uint32_t counter[4] = {block + i, tail[0], tail[1], tail[2]};
        uint32_t words[4];
        mc_philox(key, counter, words);
        for (int word = 0; word < 4; word++) out[16 * word + (int)i] = words[word];
    }
}
#endif

/* weights[k][i] = exp(-(i - x_k)^2 / (2 sigma^2)) for lattice point k at x_k, but at least
 * exp(-16) = 1e-7: too little to matter, and far from the denormal numbers that slow products. */
static void augment_gaussians(float *restrict weights, int n, int size, float step, float sigma) {
    const float scale = -0.5f / (sigma * sigma);
    const int stride = augment_tiles(n);
    for (int k = 0; k < size; k++) {
        const float x = 0.5f * (float)(n - 1) + ((float)k - 0.5f * (float)(size - 1)) * step;
        for (int i = 0; i < stride; i++) {
            const float d = (float)i - x, z = scale * d * d;
            weights[(size_t)k * stride + i] = loop_exp(MC_MAX(z, -16.0f));
        }
    }
}

/* out[r][j] = sum over k of a[r][k a_stride] b[k b_stride + j], 4 rows, columns in whole tiles. */
static void augment_product(const float *const a[4], int a_stride, int size, const float *b,
                            int b_stride, float *const out[4], int columns) {
    for (int j = 0; j < columns; j += 2 * VW) {
        vf s00 = vzero(), s01 = vzero(), s10 = vzero(), s11 = vzero();
        vf s20 = vzero(), s21 = vzero(), s30 = vzero(), s31 = vzero();
        for (int k = 0; k < size; k++) {
            const float *row = b + (size_t)k * b_stride + j;
            const vf b0 = vload(row), b1 = vload(row + VW);
            const size_t at = (size_t)k * a_stride;
            const vf a0 = vset(a[0][at]), a1 = vset(a[1][at]);
            const vf a2 = vset(a[2][at]), a3 = vset(a[3][at]);
            s00 = vfma(a0, b0, s00), s01 = vfma(a0, b1, s01);
            s10 = vfma(a1, b0, s10), s11 = vfma(a1, b1, s11);
            s20 = vfma(a2, b0, s20), s21 = vfma(a2, b1, s21);
            s30 = vfma(a3, b0, s30), s31 = vfma(a3, b1, s31);
        }
        vstore(out[0] + j, s00), vstore(out[0] + j + VW, s01);
        vstore(out[1] + j, s10), vstore(out[1] + j + VW, s11);
        vstore(out[2] + j, s20), vstore(out[2] + j + VW, s21);
        vstore(out[3] + j, s30), vstore(out[3] + j + VW, s31);
    }
}

/* Draw the lattice and spread it over the rows. Word k K + l moves lattice point (k, l): its lower
 * half in x, its upper half in y, each uniform in alpha (-1, 1) and scaled so that the field's
 * variance is that of one random vector per pixel, smoothed by a Gaussian of sum 1. */
static void augment_field(const augment_scratch *s, const mc_augment *options, uint64_t seed,
                          const uint32_t tail[3]) {
    const float sigma = options->elastic_sigma, step = mc_augment_lattice_step(sigma);
    const int rows = s->lattice_h, columns = s->lattice_w, stride = s->lattice_stride;
    for (int i = 0; i < rows * columns; i += 64)
        augment_random(seed, MC_AUGMENT_FIELD_BLOCK + (uint32_t)i / 4, tail, s->words + i);
    const float unit = options->elastic_alpha * 0.159154943f * step / (sigma * sigma) / 32768.0f;
    for (int k = 0; k < rows; k++) {
        const uint32_t *restrict word = s->words + (size_t)k * columns;
        float *restrict x = s->lattice + (size_t)k * stride, *restrict y = x + columns;
        for (int l = 0; l < columns; l++) x[l] = ((float)(word[l] & 0xffff) - 32767.5f) * unit;
        for (int l = 0; l < columns; l++) y[l] = ((float)(word[l] >> 16) - 32767.5f) * unit;
        for (int l = columns; l < stride - columns; l++) y[l] = 0.0f;
    }
    augment_gaussians(s->weights_w, s->w, columns, step, sigma);
    if (s->h != s->w) augment_gaussians(s->weights_h, s->h, rows, step, sigma);
    const float *weights = s->h == s->w ? s->weights_w : s->weights_h;
    for (int i = 0; i < s->h; i += 4) {
        const float *a[4];
        float *out[4];
        for (int r = 0; r < 4; r++) { /* surplus rows repeat the last */
            const int row = i + r < s->h ? i + r : s->h - 1;
            a[r] = weights + row;
            out[r] = s->spread + (size_t)row * stride;
        }
        augment_product(a, augment_tiles(s->h), rows, s->lattice, stride, out, stride);
    }
}

/* Displacements of image rows i and i + 1 into s->moves. */
static void augment_move_rows(const augment_scratch *s, int i) {
    const float *first = s->spread + (size_t)i * s->lattice_stride;
    const float *second = i + 1 < s->h ? first + s->lattice_stride : first;
    const float *a[4] = {first, first + s->lattice_w, second, second + s->lattice_w};
    float *out[4];
    for (int r = 0; r < 4; r++) out[r] = s->moves + (size_t)r * s->row_stride;
    augment_product(a, 1, s->lattice_w, s->weights_w, s->row_stride, out, s->row_stride);
}

/* Where the pixels of row i come from: s->place, s->part_x, s->part_y. Coordinates count from
 * pixel (-1, -1) and are clamped to the border; the comparisons send NaN there, too. */
static void augment_places(const augment_scratch *s, const mc_distortion *d, int i,
                           const float *restrict moves) {
    const float ax = d->matrix[0], x0 = d->matrix[1] * (float)i + d->offset[0] + 1.0f;
    const float ay = d->matrix[2], y0 = d->matrix[3] * (float)i + d->offset[1] + 1.0f;
    const float most_x = (float)(s->w + 1), most_y = (float)(s->h + 1);
    const float *restrict move_x = moves, *restrict move_y = moves + s->row_stride;
    float *restrict part_x = s->part_x, *restrict part_y = s->part_y;
    int32_t *restrict place = s->place;
    const int stride = s->stride;
    for (int j = 0; j < s->row_stride; j++) {
        float x = x0 + ax * (float)j + move_x[j];
        float y = y0 + ay * (float)j + move_y[j];
        x = x > 0.0f ? x : 0.0f;
        y = y > 0.0f ? y : 0.0f;
        x = x < most_x ? x : most_x;
        y = y < most_y ? y : most_y;
        const int column = (int)x, row = (int)y;
        part_x[j] = x - (float)column;
        part_y[j] = y - (float)row;
        place[j] = row * stride + column;
    }
}

/* A quad holds the four pixels of a place as bytes: upper left, lower left, upper right, lower
 * right. Reading them one by one is as fast as AVX2's gather. */
static void augment_sample_bytes(const augment_scratch *s, float *restrict out) {
    const int32_t *restrict place = s->place;
    const float *restrict part_x = s->part_x, *restrict part_y = s->part_y;
    for (int first = 0; first < s->w; first += 16) {
        int32_t quads[16];
        for (int j = 0; j < 16; j++) {
            const uint16_t *pair = s->pairs + place[first + j];
            quads[j] = (int32_t)(pair[0] | (uint32_t)pair[1] << 16);
        }
        for (int j = 0; j < 16; j++) {
            const int32_t quad = quads[j];
            const float x = part_x[first + j], y = part_y[first + j];
            const float a = (float)(quad & 255), c = (float)((quad >> 8) & 255);
            const float b = (float)((quad >> 16) & 255), d = (float)((quad >> 24) & 255);
            const float upper = a + x * (b - a), lower = c + x * (d - c);
            out[first + j] = (upper + y * (lower - upper)) * (1.0f / 255.0f);
        }
    }
}

static void augment_sample_floats(const augment_scratch *s, float *restrict out) {
    const float *origin = s->source - s->stride - 1;
    for (int j = 0; j < s->w; j++) {
        const float *p = origin + s->place[j], *q = p + s->stride;
        const float upper = p[0] + s->part_x[j] * (p[1] - p[0]);
        const float lower = q[0] + s->part_x[j] * (q[1] - q[0]);
        out[j] = upper + s->part_y[j] * (lower - upper);
    }
}

/* One channel of a uint8 image as pairs of pixels, with their border of zeros. Where there is more
 * image to read, rows run over their ends, in whole vectors; the next row and the border overwrite
 * the surplus. */
static void augment_load_pairs(const augment_scratch *s, const uint8_t *restrict image,
                               int channels) {
    const int h = s->h, w = s->w;
    const size_t step = (size_t)w * channels;
    uint16_t *restrict pair = s->pairs;
    memset(pair, 0, (size_t)s->stride * sizeof *pair);
    for (int j = 0; j < w; j++) pair[j + 1] = (uint16_t)(image[(size_t)j * channels] << 8);
    for (int row = 0; row < h; row++, image += step) {
        const uint8_t *restrict below = image + step;
        pair += s->stride;
        if (row == h - 1)
            for (int j = 0; j < w; j++) pair[j + 1] = image[(size_t)j * channels];
        else if (channels == 1 && (h - 1 - row) * w >= w + 15)
            for (int first = 0; first < w; first += 16)
                for (int j = first; j < first + 16; j++)
                    pair[j + 1] = (uint16_t)(image[j] | below[j] << 8);
        else
            for (int j = 0; j < w; j++)
                pair[j + 1] = (uint16_t)(image[j * channels] | below[j * channels] << 8);
        pair[0] = pair[w + 1] = pair[w + 2] = 0;
    }
    memset(pair + s->stride, 0, (size_t)s->stride * sizeof *pair);
}

static void augment_clear_border(const augment_scratch *s, float *plane) {
    const int stride = s->stride;
    memset(plane - stride - 1, 0, (size_t)stride * sizeof *plane);
    memset(plane + (ptrdiff_t)s->h * stride - 1, 0, (size_t)stride * 2 * sizeof *plane);
    for (int i = 0; i < s->h; i++) {
        float *row = plane + (ptrdiff_t)i * stride;
        row[-1] = row[s->w] = row[s->w + 1] = 0.0f;
    }
}

/* One channel as floats. */
static void augment_load_plane(const augment_scratch *s, const void *image, int is_uint8,
                               int channels, int channel, float *restrict plane) {
    for (int i = 0; i < s->h; i++, plane += s->stride) {
        const size_t at = (size_t)i * s->w * channels + channel;
        const uint8_t *restrict bytes = (const uint8_t *)image + at;
        const float *restrict floats = (const float *)image + at;
        if (is_uint8 && channels == 1 && (s->h - i) * s->w >= s->w + 15)
            for (int first = 0; first < s->w; first += 16) /* over the row's end, see above */
                for (int j = first; j < first + 16; j++) plane[j] = (float)bytes[j] / 255.0f;
        else if (is_uint8)
            for (int j = 0; j < s->w; j++) plane[j] = (float)bytes[j * channels] / 255.0f;
        else
            for (int j = 0; j < s->w; j++) plane[j] = floats[j * channels];
    }
}

/* One row of the pen made `share` pixels wider on each side (thinner if negative), share -1 .. 1.
 *
 * `most` and `least` are the greatest and least value nearby: the mean of those over the square of
 * 9 and the cross of 5 pixels, so that edges of all directions move alike. Two ways to move an
 * edge: soft   that share of the way to most (least): shifts the edge, but blurs it, too; sharp
 * most + here + least - 1 counts how many pixels deep in the ink a pixel lies (like strokes-v1's
 * 1/2 + pen/2 - distance): add the share and clamp. Restores the edges that resampling blurred, but
 * needs a share to justify that, so it is faded in. Thickening keeps all ink there is, and thinning
 * some of strokes finer than what it takes away. */
static void augment_grow_row(const float *restrict row, int stride, int w, float share,
                             float *restrict out) {
    const float *above = row - stride, *below = row + stride;
    const float size = share < 0 ? -share : share;
    const float sharp = MC_MIN(3.0f * size, 1.0f);
    const float to_most = share > 0 ? share : 0.0f, to_least = share > 0 ? 0.0f : size;
    const float keep_here = share > 0 ? 1.0f : 0.0f, keep_soft = share > 0 ? 0.0f : 0.6f;
    for (int first = 0; first < w; first += 16) {
        for (int j = first; j < first + 16; j++) {
            const float v = row[j], a = row[j - 1], b = row[j + 1], c = above[j], d = below[j];
            const float e = above[j - 1], f = above[j + 1], g = below[j - 1], h = below[j + 1];
            const float most_4 = MC_MAX(MC_MAX(MC_MAX(a, b), MC_MAX(c, d)), v);
            const float least_4 = MC_MIN(MC_MIN(MC_MIN(a, b), MC_MIN(c, d)), v);
            const float most_8 = MC_MAX(MC_MAX(MC_MAX(e, f), MC_MAX(g, h)), most_4);
            const float least_8 = MC_MIN(MC_MIN(MC_MIN(e, f), MC_MIN(g, h)), least_4);
            const float most = 0.5f * (most_4 + most_8), least = 0.5f * (least_4 + least_8);
            const float soft = v + to_most * (most - v) + to_least * (least - v);
            const float depth = most + v + least - 1.0f + share;
            const float moved = soft + sharp * (MC_MIN(MC_MAX(depth, 0.0f), 1.0f) - soft);
            const float kept = keep_here * v + keep_soft * soft;
            out[j] = MC_MAX(moved, kept);
        }
    }
}

/* Whole pixels of pen width, plane to plane; what is left to do is returned, -1 .. 1. */
static float augment_grow_whole(const augment_scratch *s, float grow, float **plane) {
    while (grow > 1.0f || grow < -1.0f) {
        const float share = grow > 0 ? 1.0f : -1.0f;
        float *next = *plane == s->plane[0] ? s->plane[1] : s->plane[0];
        for (int i = 0; i < s->h; i++)
            augment_grow_row(*plane + (ptrdiff_t)i * s->stride, s->stride, s->w, share,
                             next + (ptrdiff_t)i * s->stride);
        augment_clear_border(s, next);
        *plane = next;
        grow -= share;
    }
    return grow;
}

static void augment_resample(const augment_scratch *s, const mc_augment *options,
                             const mc_distortion *distortion, int from_bytes, float *plane) {
    const int elastic = options->elastic_alpha != 0;
    if (!elastic) memset(s->moves, 0, 4 * (size_t)s->row_stride * sizeof *s->moves);
    for (int i = 0; i < s->h; i++) {
        if (elastic && i % 2 == 0) augment_move_rows(s, i);
        augment_places(s, distortion, i, s->moves + (size_t)(i % 2) * 2 * s->row_stride);
        float *row = plane + (ptrdiff_t)i * s->stride;
        if (from_bytes)
            augment_sample_bytes(s, row);
        else
            augment_sample_floats(s, row);
    }
}

/* One channel of an image through all but erasing and noise, to out[.. * channels]. */
static void augment_channel(const augment_scratch *s, const mc_augment *options,
                            const mc_distortion *distortion, int geometric, const void *image,
                            int is_uint8, int channels, int channel, float *out) {
    float *plane = s->plane[0];
    if (geometric) {
        if (is_uint8) {
            augment_load_pairs(s, (const uint8_t *)image + channel, channels);
        } else {
            augment_clear_border(s, s->source);
            augment_load_plane(s, image, 0, channels, channel, s->source);
        }
        augment_resample(s, options, distortion, is_uint8, plane);
    } else {
        augment_load_plane(s, image, is_uint8, channels, channel, plane);
    }
    float grow = distortion->grow;
    if (grow != 0) {
        augment_clear_border(s, plane);
        grow = augment_grow_whole(s, grow, &plane);
    }
    for (int i = 0; i < s->h; i++) {
        const float *row = plane + (ptrdiff_t)i * s->stride;
        float *to = out + (size_t)i * s->w * channels + channel;
        if (grow != 0) {
            augment_grow_row(row, s->stride, s->w, grow, s->part_x);
            row = s->part_x;
        }
        if (channels == 1)
            memcpy(to, row, (size_t)s->w * sizeof *to);
        else
            for (int j = 0; j < s->w; j++) to[(size_t)j * channels] = row[j];
    }
}

/* Nearly normal noise, bounded: the sum of the four bytes of word i, centred, for value i. */
static void augment_noise(uint64_t seed, const uint32_t tail[3], float noise, uint32_t *words,
                          size_t n, float *restrict out) {
    const float unit = noise / 147.801218f; /* standard deviation of the sum */
    for (size_t start = 0; start < n; start += 64) {
        const size_t count = n - start < 64 ? n - start : 64;
        augment_random(seed, MC_AUGMENT_NOISE_BLOCK + (uint32_t)(start / 4), tail, words);
        float *restrict to = out + start;
        for (size_t j = 0; j < count; j++) {
            const uint32_t v = words[j];
            const int sum = (int)((v & 255) + (v >> 8 & 255) + (v >> 16 & 255) + (v >> 24)) - 510;
            const float x = to[j] + unit * (float)sum;
            to[j] = MC_MIN(MC_MAX(x, 0.0f), 1.0f);
        }
    }
}

static void augment_erase(const mc_distortion *d, int w, int channels, float *out) {
    for (int i = 0; i < d->erase_height; i++)
        memset(out + ((size_t)(d->erase_top + i) * w + d->erase_left) * channels, 0,
               (size_t)d->erase_width * channels * sizeof *out);
}

static void augment_image(const mc_augment *options, const void *image, int is_uint8, int h, int w,
                          int channels, uint64_t seed, uint32_t epoch, uint64_t index, float *out,
                          float *scratch) {
    const size_t n = (size_t)h * w * channels;
    mc_distortion distortion;
    uint32_t tail[3];
    mc_augment_counter(epoch, index, tail);
    mc_augment_draw(options, h, w, seed, epoch, index, &distortion);
    const int elastic = options->elastic_alpha != 0;
    const int geometric = elastic || options->rotation != 0 || options->scale != 0 ||
                          options->aspect != 0 || options->shear != 0 || options->shift != 0;
    const augment_scratch s = augment_carve(scratch, h, w, options->elastic_sigma);
    if (elastic) augment_field(&s, options, seed, tail);
    if (geometric || distortion.grow != 0)
        for (int c = 0; c < channels; c++)
            augment_channel(&s, options, &distortion, geometric, image, is_uint8, channels, c, out);
    else if (is_uint8)
        for (size_t i = 0; i < n; i++) out[i] = (float)((const uint8_t *)image)[i] / 255.0f;
    else
        memcpy(out, image, n * sizeof *out);
    augment_erase(&distortion, w, channels, out);
    if (options->noise != 0) augment_noise(seed, tail, options->noise, s.words, n, out);
}
