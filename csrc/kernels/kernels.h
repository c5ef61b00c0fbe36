/* kernels.h - the table of hot loops that every instruction set fills in.
 *
 * Shapes: a `panel` is a block of `cols` columns of a weight matrix, packed as one row of biases
 * followed by n_taps rows, each `cols` floats, zero-padded. `position` and `tap` are offsets in
 * floats: the value that tap t sees at position p is x[position[p] + tap[t]]. That one idea serves
 * dense layers (positions are images), convolutions (pixels) and their input gradients.
 * No kernel allocates, and none reads or writes outside the lengths it is given.
 */
#ifndef MNISTC_KERNELS_H
#define MNISTC_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../mnistc.h"

enum {
    MC_MAX_COLS = 32,   /* largest panel width of any table */
    MC_SLACK = 15,      /* floats that may be read beyond a short row, see patch_sum */
    MC_TILE_WORDS = 32, /* rounded values in a row of a tile */
    MC_BF16_PAD = 16,   /* rows of room that rounded panels have beyond those of float32 */
    MC_INK_BLOCK = 128, /* pixels whose rows of weights, where inked, a near cache holds */
    MC_MORE_TERMS = 16, /* terms that list_inputs may write beyond those it counts */
};

/* One step of an optimiser, over a run of parameters. */
typedef struct {
    float rate;     /* learning rate, bias correction included for Adam */
    float decay;    /* added to the gradient as decay * weight */
    float shrink;   /* weight *= shrink first (decoupled decay); 1 for none */
    float scale;    /* gradient *= scale first (clipping) */
    float momentum; /* SGD */
    int nesterov;
    float beta_1, beta_2, epsilon; /* Adam; epsilon scaled to the bias correction */
} mc_step;

/* One row of a weighted sum of rows. */
typedef struct {
    int32_t offset; /* of the row, in floats */
    float value;
} mc_term;

/* x != 0, without a branch to guess. */
static inline int mc_is_live(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits << 1) != 0;
}

/* A product of rounded operands, see dot_bf16. */
typedef struct {
    const void *x; /* from round_bf16; positions and taps count values */
    const int32_t *position, *tap;
    int n_positions, n_taps;
    int run;              /* taps come in runs of so many, each offset one more than the last */
    const float *panels;  /* from pack_bf16, each with room for n_taps + 1 + MC_BF16_PAD rows */
    int n_panels, n_cols; /* columns of all panels together */
    int relu, add;        /* add: to what `out` has, and biases are 0 */
    float *out;
    ptrdiff_t out_stride, out_panel; /* from position to position, from panel to panel */
} mc_product;

/* A block of MC_INK_BLOCK pixels of n images, of which only ink is told. */
typedef struct {
    const float *x;       /* the block's first pixel */
    const uint64_t *bits; /* of each image two words with a bit for each pixel, from ink_bits */
    size_t pixels, words; /* from image to image */
    int n;
    const char *ahead; /* before each image `more` bytes are asked for that are needed later */
    size_t more;
} mc_inked;

struct mc_kernels {
    const char *name;
    int cols; /* columns of a panel */
    int lane; /* floats per vector: what the loops are unrolled around */
    int unit; /* a multiple of which row_sum and row_spread take as whole vectors */

    /* out[p * out_stride + c] = bias[c] + sum_t x[position[p] + tap[t]] * panel[t][c],
     * c < n_cols; negative results become 0 if relu. */
    void (*dot_panel)(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *panel, int relu, float *out, ptrdiff_t out_stride,
                      int n_cols);
    /* dw[t * dw_stride + c] (+)= sum_p x[position[p] + tap[t]] * dy[p * dy_stride + c], c < n_cols,
     * added if `add`; of each row of dy, `cols` floats are read. */
    void (*outer_panel)(const float *x, const int32_t *position, int n_positions,
                        const int32_t *tap, int n_taps, const float *dy, ptrdiff_t dy_stride,
                        int add, float *dw, ptrdiff_t dw_stride, int n_cols);
    /* sum[j] += sum_i terms[i].value * rows[terms[i].offset + j], j < length: the sparse
     * workhorse. */
    void (*row_sum)(const float *rows, const mc_term *terms, int n, float *sum, int length);
    /* The same for many images, with the rows of a block's inked pixels, all of `length` floats and
     * whole vectors: sums[i * length + j] = from[i * step + j] + the sum of image i. */
    void (*row_sums)(const float *rows, const mc_inked *ink, const float *from, size_t step,
                     float *sums, int length);
    /* As row_sum for patches of several rows: sum[y * sum_stride + j] += sum_i terms[i].value *
     * patches[terms[i].offset + y * row_stride + j], y < rows, j < length. Rows shorter than a
     * vector are read to a whole one, at most MC_SLACK floats beyond their end. */
    void (*patch_sum)(const float *patches, const mc_term *terms, int n, int rows,
                      ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length);
    /* The same for all filters of a first layer, their terms told from a pooling's winners:
     * dw[(c * rows + y) * length + j] += sum over w of dy[w * n_out + c] *
     * x[position[4 * w + winner[w * n_out + c]] + y * row + j]. Fast where length is at most 8 and
     * a vector, and rows are 3 or 5. Reads up to 8 floats of each row. */
    void (*winner_sum)(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                       const float *dy, const uint8_t *winner, int n_out, float *dw, int rows,
                       int length);
    /* The same for a 3x3 convolution of one channel, into (taps, n_out): dw[t * n_out + c]. NULL
     * where unpool_windows and outer_panel are faster. */
    void (*winner_sum_3x3)(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                           const float *dy, const uint8_t *winner, int n_out, float *dw);
    /* The values of x that are not zero as terms with offsets first + i * stride; returns how many.
     * Writes up to MC_MORE_TERMS beyond those. */
    int (*list_inputs)(const float *x, size_t n, int32_t stride, int32_t first, mc_term *terms);
    /* The same of what from_uint8 makes of x. */
    int (*list_pixels)(const uint8_t *x, size_t n, int32_t stride, int32_t first, mc_term *terms);
    /* A bit for each pixel that is not zero, the first the lowest: rows[y] of an image (height,
     * width), width <= 64. */
    void (*ink_rows)(const float *image, int width, int height, uint64_t *rows);
    /* The same for n pixels in whole words, from bits[0] on, and most_bits of them. Adds to *count
     * how many are not zero. */
    uint32_t (*ink_bits)(const float *x, size_t n, uint32_t mask, uint64_t *bits, int *count);
    /* The winners of 2x2 windows that have a gradient, filter by filter: for each filter c the
     * terms from terms[c * stride] on, in the order of the windows, with offsets position[4 * w +
     * winner[w * n_out + c]] and values dy[w * n_out + c], count[c] of them. stride >= n_windows.
     */
    void (*list_winners)(const float *dy, const uint8_t *winner, int n_out, int n_windows,
                         const int32_t *position, mc_term *terms, ptrdiff_t stride, int32_t *count);
    /* sums[terms[i].offset + j] += terms[i].value * row[j], j < length: its transpose. */
    void (*row_spread)(const float *row, const mc_term *terms, int n, float *sums, int length);
    /* The same for a patch of several rows: sums[terms[i].offset + y * sum_stride + j] +=
     * terms[i].value * patch[y * length + j], y < rows, j < length. */
    void (*patch_spread)(const float *patch, int rows, const mc_term *terms, int n, float *sums,
                         ptrdiff_t sum_stride, int length);
    /* patch_spread for the winners of all filters of a 3x3 convolution of `channels`, whole
     * vectors: dx[position[4 * w + winner[w * n_out + c]] + y * row + x * channels + i] += dy[w *
     * n_out + c]
     * * back[..], n_out > 0. back (channels / lane, n_out, 9, lane): of a vector of channels all
     * filters. NULL where lists are faster. */
    void (*winner_spread_3x3)(const float *dy, const uint8_t *winner, int n_out, int n_windows,
                              const int32_t *position, const float *back, float *dx, ptrdiff_t row,
                              int channels);
    /* sum[c] += sum over p of x[p * n_cols + c], p < n, c < n_cols. The order depends on both. */
    void (*column_sums)(const float *x, int n, int n_cols, float *sum);
    /* The winners of 2x2 windows: in (n_windows * 4, cols), the four positions of a window in
     * order; y[w * stride + c] = largest, winner[w * stride + c] its index (the first of equals).
     * winner may be NULL. */
    void (*pool_windows)(const float *in, int n_windows, int n_cols, int relu, float *y,
                         uint8_t *winner, ptrdiff_t stride);
    /* dot_panel and pool_windows in one, to the same bits: of the windows whose four positions are
     * at position[4 * w], to y[window[w] * stride + c], window ascending. Taps come in runs of one
     * length of values side by side; the second and the fourth position of each window lie as far
     * beyond the one before. Where stride is n_cols, what lies between them may be overwritten. */
    void (*dot_windows)(const float *x, const int32_t *position, const int32_t *window,
                        int n_windows, const int32_t *tap, int n_taps, const float *panel, int relu,
                        float *y, uint8_t *winner, ptrdiff_t stride, int n_cols);
    /* A convolution of one channel by n_out <= grey_filters filters with its pooling, pixels in the
     * lanes: of images whose rows have `row` floats the windows (n_y, n_x), as dot_panel and
     * pool_windows make them from one panel. Where n_x is no multiple of 4, up to 6 floats are read
     * beyond an image. NULL where those are faster. */
    void (*grey_windows)(const float *x, ptrdiff_t row, int kh, int kw, int n_y, int n_x,
                         const float *panel, int n_out, int relu, float *y, uint8_t *winner);
    int grey_filters; /* 0 with it */

    /* The other way: gradients of winners back to out (n_windows * 4, cols), zero elsewhere. */
    void (*unpool_windows)(const float *dy, const uint8_t *winner, ptrdiff_t stride, int n_windows,
                           int n_cols, float *out);
    /* One output of any other pooling, all channels: the largest of size x size pixels in an image
     * whose rows have `row` floats, and which it was (the first of equals). winner may be NULL. */
    void (*max_pixel)(const float *x, int size, ptrdiff_t row, int channels, float *y,
                      uint8_t *winner);
    /* dx of that pixel += dy. */
    void (*max_pixel_gradient)(const float *dy, const uint8_t *winner, int size, ptrdiff_t row,
                               int channels, float *dx);
    /* Of 2x2 windows of a 3x3 convolution, see winograd.c. The 4x4 pixels at position[4 * w], of at
     * least VW channels in an image whose rows have `row` floats, -> out (16, n_windows, channels).
     */
    void (*winograd_inputs)(const float *x, const int32_t *position, int n_windows, ptrdiff_t row,
                            int channels, float *out);
    /* m (16, n_windows, cols) -> the windows' winners, as pool_windows has them, after bias (cols).
     */
    void (*winograd_windows)(const float *m, int n_windows, const float *bias, int n_cols, int relu,
                             float *y, uint8_t *winner, ptrdiff_t stride);
    /* y = x / (1 - rate) where mask, else 0; the mask is a function of seed and stream. */
    void (*dropout)(const float *x, size_t n, float rate, uint64_t seed, uint64_t stream, float *y,
                    uint8_t *mask);
    void (*dropout_gradient)(const float *dy, const uint8_t *mask, size_t n, float rate, float *dx);

    /* In place, n values; softmax: rows of `width`. */
    void (*activate)(mc_activation activation, float *y, size_t n, size_t width);
    /* dy *= f'(x), told from y = f(x). */
    void (*deactivate)(mc_activation activation, const float *y, float *dy, size_t n, size_t width);
    /* z (n, width) -> y, and dy = weight * d(loss)/d(z). Targets: classes or (n, width) floats.
     * Returns the sum of weighted losses and counts the right ones. */
    double (*loss)(mc_loss loss, mc_activation last, float smoothing, float *z, size_t n,
                   size_t width, const int32_t *classes, const float *targets, const float *weights,
                   float scale, float *dy, int64_t *correct);

    /* The largest of n floats' bits & mask, as integers: those of floats from 0 to 1 are in the
     * floats' order, and above them are the bits of all others, of NaN and of -0. */
    uint32_t (*most_bits)(const float *x, size_t n, uint32_t mask);
    void (*from_uint8)(const uint8_t *in, float *out, size_t n);
    /* to[c * to_stride + r] = from[r * from_stride + c], r < rows, c < cols. */
    void (*transpose)(const float *from, ptrdiff_t from_stride, int rows, int cols, float *to,
                      ptrdiff_t to_stride);
    void (*add)(float *sum, const float *x, size_t n);
    /* gradient[i] = sum over lanes of lanes[l * lane_stride + i], lanes in order. */
    void (*reduce)(const float *lanes, ptrdiff_t lane_stride, int n_lanes, float *gradient,
                   size_t n);
    double (*square_sum)(const float *x, size_t n);
    void (*sgd)(const mc_step *step, float *weight, float *velocity, const float *gradient,
                size_t n);
    void (*adam)(const mc_step *step, float *weight, float *m, float *v, const float *gradient,
                 size_t n);
    void (*blend)(float *average, const float *x, float share, size_t n);

    /* Batch normalisation over rows (n, channels).
     * moments: sum[c] += x - shift, square[c] += (x - shift)^2. */
    void (*norm_moments)(const float *x, const float *shift, size_t n, size_t channels, float *sum,
                         float *square);
    /* y = (x - mean) * scale + offset, negative results 0 if relu. */
    void (*norm_apply)(const float *x, const float *mean, const float *scale, const float *offset,
                       size_t n, size_t channels, int relu, float *y);
    /* sum[c] += dy, product[c] += dy * (x - mean) * inverse_std. */
    void (*norm_sums)(const float *x, const float *dy, const float *mean, const float *inverse_std,
                      size_t n, size_t channels, float *sum, float *product);
    /* dx = a * dy + b * (x - mean) + c, per channel. */
    void (*norm_gradient)(const float *x, const float *dy, const float *mean, const float *a,
                          const float *b, const float *c, size_t n, size_t channels, float *dx);

    /* Depthwise convolution on a padded image; out and dy are (n_positions, channels). */
    void (*depthwise)(const float *x, const int32_t *position, int n_positions, const int32_t *tap,
                      int n_taps, const float *weight, const float *bias, int channels, float *out);
    void (*depthwise_gradient)(const float *x, const int32_t *position, int n_positions,
                               const int32_t *tap, int n_taps, const float *weight, const float *dy,
                               int channels, float *dw, float *dx);
    mc_augment_image_fn *augment_image; /* see augment.h */

    /* Products of operands rounded to bf16 (to nearest, ties to even), summed in float32. How
     * rounded values lie in memory is a table's own affair: as floats whose lower halves are zero,
     * or as words of 16 bits.
     * n > 0 values; `out` has room for as many floats. Words are followed by a zero. */
    void (*round_bf16)(const float *x, size_t n, void *out);
    /* The same as floats whose lower halves are zero. */
    void (*round_floats)(const float *x, size_t n, float *out);
    /* As winograd_inputs, rounded: 16 * n_windows * channels values as from round_bf16. */
    void (*winograd_inputs_bf16)(const float *x, const int32_t *position, int n_windows,
                                 ptrdiff_t row, int channels, void *out);
    /* Each of n rounded values beside the one `stride` further on (0 beyond the end): out (n, 2).
     */
    void (*pair_bf16)(const void *rounded, size_t n, size_t stride, void *out);
    /* A panel as dot_panel takes it, its weights rounded (its biases not), to the room of
     * n_taps + 1 + MC_BF16_PAD rows. Taps come in runs, see mc_product. */
    void (*pack_bf16)(const float *panel, int n_taps, int run, float *out);
    /* As dot_panel, for several panels: out[q * out_panel + p * out_stride + c]. */
    void (*dot_bf16)(const mc_product *product);
    /* A convolution of images of MC_TILE_WORDS channels or a multiple and its pooling, as dot_bf16
     * and pool_windows make them: windows in rows of so many, the four positions of each at
     * position[4 * w], to out[w * out_stride + c] and the like of winner, which may be NULL. Taps
     * come in whole pixels. NULL where Winograd's products are faster. */
    void (*windows_bf16)(const mc_product *product, int row_windows, uint8_t *winner);
    /* As patch_sum, of rounded patches and n > 0 rounded values; there is room for one term more.
     * NULL where patch_sum of rounded floats is as fast. */
    void (*patch_sum_bf16)(const void *patches, mc_term *terms, int n, int rows,
                           ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length);
    /* Around calls of dot_bf16 and windows_bf16, on their thread: its tile registers, where it has
     * any. */
    void (*begin_bf16)(void);
    void (*end_bf16)(void);
};

extern const mc_kernels mc_kernels_ref, mc_kernels_baseline;
#if defined(__x86_64__)
extern const mc_kernels mc_kernels_avx2, mc_kernels_avx512, mc_kernels_avx512bf16, mc_kernels_amx;
#elif defined(__aarch64__)
extern const mc_kernels mc_kernels_neon;
#endif

#endif
