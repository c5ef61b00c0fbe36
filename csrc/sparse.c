/* sparse.c - dense layers as sums of the weight rows of those inputs that are not zero.
 *
 * Four fifths of a digit's pixels are paper. A prediction's first layer marks the ink of a slice of
 * images and sums rows block of pixels by block of pixels, so that the rows of a block stay in the
 * first-level cache while all images pass. Rows are packed to whole vectors for that
 * (op->rows); sums start from the bias and run in the order of the inputs, as those of dot_panel
 * do, so that both ways give the same bits.
 */
#include "ops.h"

void mc_pack_rows(const mc_net *net, const mc_op *op) {
    const size_t n = (size_t)op->n_out, stride = (size_t)op->row_stride;
    const float *weight = net->parameters + op->weight;
    float *row = op->rows;
    for (int t = -1; t < op->n_taps; t++, row += stride) {
        memcpy(row, t < 0 ? net->parameters + op->bias : weight + (size_t)t * n, n * sizeof(float));
        memset(row + n, 0, (stride - n) * sizeof(float));
    }
}

/* The parameters change with each step of a training, so that packing them would not pay. */
static void sparse_image(const mc_run *run, const mc_op *op, const float *x, const mc_scratch *s,
                         float *y) {
    const mc_kernels *k = run->net->kernels;
    const int packed = op->rows && !run->training, stride = packed ? op->row_stride : op->n_out;
    const float *bias = packed ? op->rows : run->net->parameters + op->bias;
    const float *rows = packed ? op->rows + stride : run->net->parameters + op->weight;
    float *sum = packed ? s->sums : y;
    const int count = k->list_inputs(x, op->in_size, stride, 0, s->terms);
    memcpy(sum, bias, (size_t)stride * sizeof(float));
    k->row_sum(rows, s->terms, count, sum, stride);
    if (packed) memcpy(y, sum, op->out_size * sizeof(float));
}

void mc_sparse_images(const mc_run *run, const mc_op *op, const float *x, int relu, int n,
                      float *y) {
    const mc_scratch s = mc_scratch_of(run, op);
    for (size_t i = 0; i < (size_t)n; i++)
        sparse_image(run, op, x + i * op->in_size, &s, y + i * op->out_size);
    const size_t size = (size_t)n * op->out_size;
    if (relu) run->net->kernels->activate(MC_RELU, y, size, size);
}

/* ---- the first layer of a prediction ---- */

static size_t ink_blocks(const mc_op *op) {
    return (op->in_size + MC_INK_BLOCK - 1) / MC_INK_BLOCK;
}

static size_t ink_words(const mc_op *op) {
    return ink_blocks(op) * (MC_INK_BLOCK / 64);
}

void mc_ink_lay_out(mc_ink *ink, const mc_op *op, int slice, mc_arena *arena) {
    const size_t n = (size_t)slice;
    ink->bits = mc_take(arena, n * ink_words(op), sizeof(uint64_t));
    ink->sums = mc_take_floats(arena, n * (size_t)op->row_stride);
}

uint32_t mc_ink_add(mc_ink *ink, const mc_net *net, const mc_op *op, const float *x,
                    uint32_t mask) {
    const size_t words = ink_words(op);
    uint64_t *bits = ink->bits + (size_t)ink->n_images++ * words;
    bits[words - 1] = 0; /* where a block has one word */
    return net->kernels->ink_bits(x, op->in_size, mask, bits, &ink->n_pixels);
}

void mc_ink_forward(const mc_ink *ink, const mc_net *net, const mc_op *op, const float *x,
                    const char *ahead, size_t size, float *y) {
    const size_t blocks = ink_blocks(op), stride = (size_t)op->row_stride, out = op->out_size;
    const size_t n = (size_t)ink->n_images, block = MC_INK_BLOCK;
    mc_inked inked = {.pixels = op->in_size,
                      .words = ink_words(op),
                      .n = ink->n_images,
                      .more = (size + blocks - 1) / blocks};
    for (size_t b = 0; b < blocks; b++) {
        inked.x = x + b * block;
        inked.bits = ink->bits + b * (block / 64);
        inked.ahead = ahead + b * n * inked.more;
        net->kernels->row_sums(op->rows + (b * block + 1) * stride, &inked,
                               b ? ink->sums : op->rows, b ? stride : 0, ink->sums, op->row_stride);
    }
    for (size_t i = 0; i < n; i++) memcpy(y + i * out, ink->sums + i * stride, out * sizeof(float));
}
