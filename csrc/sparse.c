/* sparse.c - dense layers as sums of the weight rows of those inputs that are not zero.
 *
 * Four fifths of a digit's pixels are paper. A prediction's first layer lists the ink of a slice of
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

void mc_ink_lay_out(mc_ink *ink, const mc_op *op, int slice, mc_arena *arena) {
    const size_t n = (size_t)slice;
    ink->start = mc_take(arena, n * ink_blocks(op) + 1, sizeof(int32_t));
    ink->terms = mc_take(arena, n * op->in_size + MC_MORE_TERMS, sizeof(mc_term));
    ink->sums = mc_take_floats(arena, n * (size_t)op->row_stride);
}

int32_t mc_list_ink(const mc_kernels *k, const void *x, int is_uint8, size_t inputs, size_t block,
                    int32_t stride, int32_t count, int32_t *start, mc_term *terms) {
    for (size_t i = 0; i < inputs; i += block) {
        const size_t left = inputs - i, n = left < block ? left : block;
        const int32_t offset = (int32_t)i * stride;
        *start++ = count;
        count += is_uint8 ? k->list_pixels((const uint8_t *)x + i, n, stride, offset, terms + count)
                          : k->list_inputs((const float *)x + i, n, stride, offset, terms + count);
    }
    *start = count;
    return count;
}

void mc_ink_add(mc_ink *ink, const mc_net *net, const mc_op *op, const void *x, int is_uint8) {
    int32_t *start = ink->start + (size_t)ink->n_images++ * ink_blocks(op);
    ink->n_terms = mc_list_ink(net->kernels, x, is_uint8, op->in_size, MC_INK_BLOCK, op->row_stride,
                               ink->n_terms, start, ink->terms);
}

void mc_ink_forward(const mc_ink *ink, const mc_net *net, const mc_op *op, const char *ahead,
                    size_t size, float *y) {
    const size_t blocks = ink_blocks(op), stride = (size_t)op->row_stride, out = op->out_size;
    const size_t n = (size_t)ink->n_images, more = (size + blocks - 1) / blocks;
    for (size_t i = 0; i < n; i++) memcpy(ink->sums + i * stride, op->rows, stride * sizeof(float));
    for (size_t b = 0; b < blocks; b++, ahead += n * more)
        net->kernels->row_sums(op->rows + stride, ink->terms, ink->start + b, (ptrdiff_t)blocks,
                               (int)n, ink->sums, op->row_stride, ahead, more);
    for (size_t i = 0; i < n; i++) memcpy(y + i * out, ink->sums + i * stride, out * sizeof(float));
}
