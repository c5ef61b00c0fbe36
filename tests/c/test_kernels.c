/* Every loop of every kernel table against the plain one, at each size where vectors end.
 *
 * Blocks have exactly the size that a kernel may touch, so under AddressSanitizer a vector that
 * reaches beyond is an error. With MC_EMULATED the AVX-512 table is tested on any CPU (see
 * simde/immintrin.h).
 */
#include "check.h"
#include "kernels/kernels.h"

static const mc_kernels *table;
static const mc_kernels *const ref = &mc_kernels_ref;

/* a and b agree within `bound`, or the loop is named. */
static int agree(const char *loop, const float *a, const float *b, size_t n, double bound) {
    const double error = largest_error(a, b, n);
    char text[200];
    snprintf(text, sizeof text, "%s.%s: %zu values, error %g above %g", table->name, loop, n, error,
             bound);
    return check(error <= bound, text);
}

static int same(const char *loop, int holds) {
    char text[100];
    snprintf(text, sizeof text, "%s.%s", table->name, loop);
    return check(holds, text);
}

/* ---- panels ---- */

/* (n_taps + 1, cols) of table k from (n_taps + 1, n_cols). */
static float *pack(const mc_kernels *k, const float *rows, int n_rows, int n_cols) {
    float *panel = take((size_t)(n_rows * k->cols) * sizeof *panel);
    for (int t = 0; t < n_rows; t++)
        for (int c = 0; c < k->cols; c++)
            panel[t * k->cols + c] = c < n_cols ? rows[t * n_cols + c] : 0.0f;
    return panel;
}

/* Offsets in no special order, the largest of them `most`. */
static int32_t *offsets(int n, int most, int step) {
    int32_t *at = take((size_t)n * sizeof *at);
    for (int i = 0; i < n; i++) at[i] = (int32_t)((int64_t)i * step % (most + 1));
    at[n - 1] = most;
    return at;
}

static void one_dot(int n_positions, int n_taps, int n_cols, int relu, int gap) {
    const size_t stride = (size_t)(n_cols + gap),
                 size = (size_t)(n_positions - 1) * stride + (size_t)n_cols;
    int32_t *position = offsets(n_positions, 40, 7), *tap = offsets(n_taps, 60, 11);
    float *x = take_random(101, 1), *rows = take_random((size_t)((n_taps + 1) * n_cols), 2);
    float *a = take_random(size, 3), *b = take_copy(a, size);
    float *panel_a = pack(ref, rows, n_taps + 1, n_cols);
    float *panel_b = pack(table, rows, n_taps + 1, n_cols);
    ref->dot_panel(x, position, n_positions, tap, n_taps, panel_a, relu, a, (ptrdiff_t)stride,
                   n_cols);
    table->dot_panel(x, position, n_positions, tap, n_taps, panel_b, relu, b, (ptrdiff_t)stride,
                     n_cols);
    agree("dot_panel", a, b, size, 2e-7 * (n_taps + 2));
    float *sum_a = take_random((size_t)(n_taps * (n_cols + gap)), 4);
    float *sum_b = take_copy(sum_a, (size_t)(n_taps * (n_cols + gap)));
    float *dy = take_random((size_t)(n_positions * n_cols), 5);
    float *dy_a = pack(ref, dy, n_positions, n_cols), *dy_b = pack(table, dy, n_positions, n_cols);
    for (int add = 1; add >= 0; add--) {
        ref->outer_panel(x, position, n_positions, tap, n_taps, dy_a, ref->cols, add, sum_a,
                         n_cols + gap, n_cols);
        table->outer_panel(x, position, n_positions, tap, n_taps, dy_b, table->cols, add, sum_b,
                           n_cols + gap, n_cols);
        agree("outer_panel", sum_a, sum_b, (size_t)(n_taps * (n_cols + gap)),
              2e-7 * (n_positions + 2));
    }
    float *blocks[] = {x, rows, a, b, panel_a, panel_b, sum_a, sum_b, dy, dy_a, dy_b};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(position);
    free(tap);
}

static void test_panels(void) {
    static const int positions[] = {1, 2, 5, 6, 7, 10, 11, 12, 13, 24, 25, 36};
    static const int taps[] = {1, 2, 5, 6, 7, 9, 12, 13, 27};
    /* Not wider than either table's panel: the plain one has 8 columns. */
    const int most = table->cols < ref->cols ? table->cols : ref->cols;
    for (size_t p = 0; p < sizeof positions / sizeof *positions; p++)
        for (size_t t = 0; t < sizeof taps / sizeof *taps; t++)
            for (int n_cols = 1; n_cols <= most; n_cols++)
                one_dot(positions[p], taps[t], n_cols, (n_cols + (int)t) % 2, (int)p % 3);
}

/* Panels wider than the plain table's, column by column: all columns of a panel are alike. */
static void test_wide_panels(void) {
    const int cols = table->cols, n_taps = 9, n_positions = 13;
    int32_t *position = offsets(n_positions, 40, 7), *tap = offsets(n_taps, 60, 11);
    float *x = take_random(101, 1), *panel = take_random((size_t)((n_taps + 1) * cols), 2);
    float *dy = take_random((size_t)(n_positions * cols), 5);
    for (int n_cols = 1; n_cols <= cols; n_cols++) {
        const size_t size = (size_t)(n_positions * n_cols);
        float *a = take(size * sizeof *a), *b = take(size * sizeof *b);
        for (int c = 0; c < n_cols; c++) {
            float column[16 * 8] = {0};
            for (int t = 0; t <= n_taps; t++) column[t * ref->cols] = panel[t * cols + c];
            ref->dot_panel(x, position, n_positions, tap, n_taps, column, 0, a + c, n_cols, 1);
        }
        table->dot_panel(x, position, n_positions, tap, n_taps, panel, 0, b, n_cols, n_cols);
        agree("dot_panel", a, b, size, 3e-6);
        const size_t taps_size = (size_t)(n_taps * n_cols);
        float *sum_a = take_random(taps_size, 4), *sum_b = take_copy(sum_a, taps_size);
        for (int add = 1; add >= 0; add--) {
            for (int c = 0; c < n_cols; c++) {
                float column[16 * 8] = {0};
                for (int p = 0; p < n_positions; p++) column[p * ref->cols] = dy[p * cols + c];
                ref->outer_panel(x, position, n_positions, tap, n_taps, column, ref->cols, add,
                                 sum_a + c, n_cols, 1);
            }
            table->outer_panel(x, position, n_positions, tap, n_taps, dy, cols, add, sum_b, n_cols,
                               n_cols);
            agree("outer_panel", sum_a, sum_b, taps_size, 3e-6);
        }
        float *blocks[] = {a, b, sum_a, sum_b};
        for (size_t i = 0; i < 4; i++) free(blocks[i]);
    }
    free(position);
    free(tap);
    free(x);
    free(panel);
    free(dy);
}

/* ---- sparse sums ---- */

static void compare_terms(const char *what, const mc_term *a, int n_a, const mc_term *b, int n_b) {
    int same = n_a == n_b;
    for (int i = 0; same && i < n_a; i++)
        same = a[i].offset == b[i].offset && a[i].value == b[i].value;
    const float wanted = 1.0f, got = (float)same;
    agree(what, &wanted, &got, 1, 0.0);
}

static void test_list_inputs(void) {
    for (size_t n = 0; n < 120; n++)
        for (int paper = 0; paper < 5; paper++) { /* none, some or all of it */
            float *x = take_random(n, 5);
            uint8_t *bytes = take(n);
            for (size_t i = 0; i < n; i++) {
                bytes[i] = (uint8_t)(i * 83 + 1);
                if ((i * 7 + n) % 4 >= (size_t)paper) continue;
                x[i] = i % 2 ? 0.0f : -0.0f;
                bytes[i] = 0;
            }
            const size_t room = n + MC_MORE_TERMS;
            mc_term *a = take(room * sizeof *a), *b = take(room * sizeof *b);
            int count = ref->list_inputs(x, n, 13, 100, a), good = 1;
            for (int i = 0; i < count; i++)
                good &= a[i].value != 0 && a[i].value == x[(a[i].offset - 100) / 13];
            same("list_inputs", good);
            compare_terms("list_inputs", a, count, b, table->list_inputs(x, n, 13, 100, b));
            count = table->list_pixels(bytes, n, 13, 100, a);
            table->from_uint8(bytes, x, n);
            compare_terms("list_pixels", a, count, b, ref->list_inputs(x, n, 13, 100, b));
            free(x);
            free(bytes);
            free(a);
            free(b);
        }
}

static void test_ink_rows(void) {
    enum { HEIGHT = 3 };
    for (int width = 1; width <= 64; width++)
        for (int paper = 0; paper < 3; paper++) { /* none, some or all of it */
            const size_t n = (size_t)(HEIGHT * width);
            float *x = take_random(n, 6);
            for (size_t i = 0; i < n; i++)
                if ((i * 7 + (size_t)width) % 2 < (size_t)paper) x[i] = i % 3 ? 0.0f : -0.0f;
            if (width > 4) x[4] = NAN;
            uint64_t rows[HEIGHT];
            table->ink_rows(x, width, HEIGHT, rows);
            int good = 1;
            for (int y = 0; y < HEIGHT; y++)
                for (int i = 0; i < 64; i++)
                    good &= (int)(rows[y] >> i & 1) == (i < width && x[y * width + i] != 0.0f);
            same("ink_rows", good);
            free(x);
        }
}

static void test_rows(void) {
    static const int counts[] = {0, 1, 2, 3, 7, 8, 30};
    for (int length = 1; length < 250; length += length < 70 ? 1 : 13)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            const int n = counts[i];
            mc_term *terms = take((size_t)n * sizeof *terms);
            float *values = take_random((size_t)n, 6);
            for (int k = 0; k < n; k++) terms[k] = (mc_term){k * 3 % 5 * length, values[k]};
            const size_t size = (size_t)length, five = 5 * size;
            float *rows = take_random(five, 7), *row = take_random(size, 8);
            float *a = take_copy(row, size), *b = take_copy(row, size);
            ref->row_sum(rows, terms, n, a, length);
            table->row_sum(rows, terms, n, b, length);
            agree("row_sum", a, b, size, 2e-7 * (n + 2));
            float *c = take_copy(rows, five), *d = take_copy(rows, five);
            ref->row_spread(row, terms, n, c, length);
            table->row_spread(row, terms, n, d, length);
            agree("row_spread", c, d, five, 2e-7 * (n + 2));
            float *blocks[] = {values, rows, row, a, b, c, d};
            for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++) free(blocks[k]);
            free(terms);
        }
}

/* Words whose last one is not whole, with NaN and both zeros in them. */
static void test_ink_bits(void) {
    enum { MOST = 200, WORDS = (MOST + 63) / 64 };
    for (size_t n = 0; n <= MOST; n++)
        for (int sign = 0; sign < 2; sign++) {
            const uint32_t mask = sign ? ~0u : 0x7fffffffu;
            float *x = take_random(n, 6);
            for (size_t i = 0; i < n; i++)
                if (i * 7 % 5 < 3) x[i] = i % 3 ? 0.0f : -0.0f;
            if (n > 70) x[70] = NAN;
            uint64_t bits[WORDS + 1];
            int count = 3, good = 1;
            bits[(n + 63) / 64] = 77;
            const uint32_t most = table->ink_bits(x, n, mask, bits, &count);
            for (size_t i = 0; i < (n + 63) / 64 * 64; i++) {
                const int is_ink = i < n && x[i] != 0.0f;
                good &= (int)(bits[i / 64] >> i % 64 & 1) == is_ink;
                count -= is_ink;
            }
            same("ink_bits", good && count == 3 && bits[(n + 63) / 64] == 77);
            same("ink_bits", most == ref->most_bits(x, n, mask));
            free(x);
        }
}

/* Blocks of images with ink in both words, in one, in none, and everywhere. */
static void test_many_rows(void) {
    enum { IMAGES = 5, PIXELS = MC_INK_BLOCK + 3, WORDS = 3 };
    static const uint64_t bits[IMAGES * WORDS] = {
        5, 1ull << 63, 7, 0, 3, 7, 1ull << 63 | 1, 0, 7, 0, 0, 7, ~0ull, ~0ull, 7};
    static const int inked[IMAGES] = {3, 2, 2, 0, MC_INK_BLOCK};
    float *x = take_random(IMAGES * PIXELS, 6);
    for (int vectors = 1; vectors < 30; vectors++) {
        const int length = vectors * table->lane;
        const size_t size = (size_t)(IMAGES * length), step = vectors % 3 ? (size_t)length : 0;
        float *rows = take_random((size_t)(MC_INK_BLOCK * length), 7), *a = take_random(size, 8);
        float *b = take_copy(a, size);
        const mc_inked ink = {.x = x,
                              .bits = bits,
                              .pixels = PIXELS,
                              .words = WORDS,
                              .n = IMAGES,
                              .ahead = (const char *)rows,
                              .more = 8};
        ref->row_sums(rows, &ink, step ? a : rows, step, a, length);
        table->row_sums(rows, &ink, step ? b : rows, step, b, length);
        for (int i = 0; i < IMAGES; i++)
            agree("row_sums", a + i * length, b + i * length, (size_t)length,
                  inked[i] < 9 ? 2e-6 : 2e-7 * (inked[i] + 2));
        free(rows);
        free(a);
        free(b);
    }
    free(x);
}

/* Patches of `rows` rows in an image whose rows have `gap` floats more than a patch's. */
static void one_patch(int length, int rows, int n, int gap) {
    const int row = length + gap, most = 2 * row + 1;
    const int slack = length < table->lane ? table->lane - length : 0;
    const size_t size = (size_t)(rows * length), stride = (size_t)length;
    mc_term *terms = take((size_t)n * sizeof *terms);
    float *values = take_random((size_t)n, 6);
    for (int k = 0; k < n; k++) terms[k] = (mc_term){k ? k * 3 % most : most, values[k]};
    const size_t pixels = (size_t)(most + (rows - 1) * row + length + slack);
    float *image = take_random(pixels, 7);
    float *a = take_random(size, 8), *b = take_copy(a, size);
    ref->patch_sum(image, terms, n, rows, row, a, (ptrdiff_t)stride, length);
    table->patch_sum(image, terms, n, rows, row, b, (ptrdiff_t)stride, length);
    agree("patch_sum", a, b, size, 2e-7 * (n + 2));
    float *c = take_copy(image, pixels), *d = take_copy(image, pixels);
    ref->patch_spread(a, rows, terms, n, c, row, length);
    table->patch_spread(a, rows, terms, n, d, row, length);
    agree("patch_spread", c, d, pixels, 2e-6 * (n * n + 2));
    float *blocks[] = {values, image, a, b, c, d};
    for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++) free(blocks[k]);
    free(terms);
}

static void test_patches(void) {
    static const int counts[] = {0, 1, 2, 9};
    for (int length = 1; length < 120; length += length < 36 ? 1 : 5)
        for (int rows = 1; rows <= 11; rows += rows < 7 ? 1 : 4)
            for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
                one_patch(length, rows, counts[i], (length + rows) % 4);
}

/* ---- pooling ---- */

static void one_pooling(int windows, int n_cols, int relu, int gap) {
    const int cols = table->cols, stride = n_cols + gap;
    const size_t size = (size_t)((windows - 1) * stride + n_cols);
    const size_t in_size = (size_t)(windows * 4 * cols);
    float *in = take_random(in_size, 9), *y = take(size * sizeof *y), *again = take_random(size, 1);
    for (size_t i = 0; i < in_size; i += 3) in[i] = 0.25f; /* equals: the first one wins */
    uint8_t *winner = take(size);
    memset(y, 0, size * sizeof *y);
    memset(winner, 0, size);
    table->pool_windows(in, windows, n_cols, relu, y, winner, stride);
    memcpy(again, y, size * sizeof *y);
    table->pool_windows(in, windows, n_cols, relu, again, NULL, stride);
    int good = 1;
    for (int w = 0; w < windows; w++)
        for (int c = 0; c < n_cols; c++) {
            int best = 0;
            const float *at = in + w * 4 * cols + c;
            for (int q = 1; q < 4; q++)
                if (at[q * cols] > at[best * cols]) best = q;
            const float most = relu && at[best * cols] < 0 ? 0 : at[best * cols];
            good &= y[w * stride + c] == most && winner[w * stride + c] == best;
        }
    same("pool_windows", good && !memcmp(y, again, size * sizeof *y));
    float *out = take(in_size * sizeof *out);
    memset(out, 0xff, in_size * sizeof *out);
    table->unpool_windows(y, winner, stride, windows, n_cols, out);
    for (int i = 0; i < windows * 4 * cols; i++) {
        const int c = i % cols, w = i / cols / 4, q = i / cols % 4, at = w * stride + c;
        good &= out[i] == (c < n_cols && winner[at] == q ? y[at] : 0.0f);
    }
    same("unpool_windows", good);
    free(in);
    free(y);
    free(again);
    free(winner);
    free(out);
}

static void test_pooling(void) {
    for (int windows = 1; windows <= 7; windows += 2)
        for (int n_cols = 1; n_cols <= table->cols; n_cols++)
            one_pooling(windows, n_cols, n_cols % 2, windows % 3);
}

/* Windows side by side in an image whose rows have room for whole vectors. */
static void one_winner_sum(int windows, int n_out, int rows, int length) {
    const int row = length + 2 * windows, taps = rows * length;
    const size_t n = (size_t)(windows * n_out), size = (size_t)(n_out * taps);
    const size_t slack = length < 8 ? (size_t)(8 - length) : 0;
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    for (int i = 0; i < 4 * windows; i++) position[i] = i / 4 * 2 + i / 2 % 2 * row + i % 2;
    float *x = take_random((size_t)(rows * row + 2 * windows - 1 + length) + slack, 9);
    float *dy = take_random(n, 3), *a = take_random(size, 4), *b = take_copy(a, size);
    uint8_t *winner = take(n);
    for (size_t i = 0; i < n; i++) winner[i] = (uint8_t)(i * 7 / 3 % 4);
    ref->winner_sum(x, row, position, windows, dy, winner, n_out, a, rows, length);
    table->winner_sum(x, row, position, windows, dy, winner, n_out, b, rows, length);
    agree("winner_sum", a, b, size, 2e-7 * (windows + 2));
    float *blocks[] = {x, dy, a, b};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(winner);
    free(position);
}

static void test_winner_sum(void) {
    for (int rows = 1; rows <= 7; rows += 2)
        for (int length = 1; length <= 17; length += length < 10 ? 1 : 3)
            for (int n_out = 1; n_out <= 14; n_out++) one_winner_sum(9, n_out, rows, length);
}

/* Windows side by side, every third of paper. */
static void one_winner_sum_3x3(int windows, int n_out) {
    const int row = 4 * windows;
    const size_t n = (size_t)(windows * n_out), size = (size_t)(9 * n_out);
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    for (int i = 0; i < 4 * windows; i++) position[i] = i / 4 * 4 + i / 2 % 2 * row + i % 2;
    float *x = take_random((size_t)(4 * row), 9), *dy = take_random(n, 3);
    for (int i = 0; i < 4 * row; i++)
        if (i % row / 4 % 3 == 1) x[i] = i % 2 ? -0.0f : 0.0f;
    uint8_t *winner = take(n);
    for (size_t i = 0; i < n; i++) winner[i] = (uint8_t)(i * 7 / 3 % 4);
    float *by_filter = take_random(size, 4), *a = take(size * sizeof *a),
          *b = take(size * sizeof *b);
    for (size_t i = 0; i < size; i++) b[i % 9 * (size_t)n_out + i / 9] = by_filter[i];
    ref->winner_sum(x, row, position, windows, dy, winner, n_out, by_filter, 3, 3);
    for (size_t i = 0; i < size; i++) a[i % 9 * (size_t)n_out + i / 9] = by_filter[i];
    table->winner_sum_3x3(x, row, position, windows, dy, winner, n_out, b);
    agree("winner_sum_3x3", a, b, size, 2e-7 * (windows + 2));
    float *blocks[] = {x, dy, by_filter, a, b};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(winner);
    free(position);
}

static void test_winner_sum_3x3(void) {
    static const int windows[] = {1, 2, 3, 9, 127, 128, 129, 300};
    for (size_t i = 0; table->winner_sum_3x3 && i < sizeof windows / sizeof *windows; i++)
        for (int n_out = 1; n_out <= 70; n_out += n_out < 35 ? 1 : 9)
            one_winner_sum_3x3(windows[i], n_out);
}

/* Windows side by side, whose pixels overlap; every third winner has no gradient. */
static void one_winner_spread_3x3(int windows, int n_out, int channels) {
    const int lane = table->lane, taps = 9 * channels, row = (2 * windows + 2) * channels;
    const size_t n = (size_t)(windows * n_out), size = (size_t)(4 * row);
    const size_t n_back = (size_t)(n_out * taps);
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    for (int i = 0; i < 4 * windows; i++)
        position[i] = (i / 4 * 2 + i % 2) * channels + i / 2 % 2 * row;
    float *by_filter = take_random(n_back, 9), *back = take(n_back * sizeof *back);
    for (int c = 0; c < n_out; c++)
        for (int t = 0; t < taps; t++) {
            const int channel = t % channels, block = channel / lane * n_out + c;
            back[(block * 9 + t / channels) * lane + channel % lane] = by_filter[c * taps + t];
        }
    float *dy = take_random(n, 3), *a = take_random(size, 4), *b = take_copy(a, size);
    uint8_t *winner = take(n);
    for (size_t i = 0; i < n; i++) {
        winner[i] = (uint8_t)(i * 7 / 3 % 4);
        if (i % 3 == 1) dy[i] = i % 2 ? -0.0f : 0.0f;
    }
    for (int w = 0; w < windows; w++)
        for (int c = 0; c < n_out; c++) {
            const size_t at = (size_t)(w * n_out + c);
            const mc_term term = {position[4 * w + winner[at]], dy[at]};
            ref->patch_spread(by_filter + c * taps, 3, &term, 1, a, row, 3 * channels);
        }
    table->winner_spread_3x3(dy, winner, n_out, windows, position, back, b, row, channels);
    agree("winner_spread_3x3", a, b, size, 2e-7 * (n_out + 2));
    float *blocks[] = {by_filter, back, dy, a, b};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(winner);
    free(position);
}

static void test_winner_spread_3x3(void) {
    static const int windows[] = {1, 2, 3, 25, 127, 128, 129};
    for (size_t i = 0; table->winner_spread_3x3 && i < sizeof windows / sizeof *windows; i++)
        for (int n_out = 1; n_out <= 200; n_out += n_out < 70 ? 3 : 21)
            for (int vectors = 1; vectors <= 3; vectors++)
                one_winner_spread_3x3(windows[i], n_out, vectors * table->lane);
}

static void test_transpose(void) {
    enum { MOST = 35, STRIDE = 37 };
    float *from = take_random(MOST * STRIDE, 9), *to = take(MOST * STRIDE * sizeof *to);
    for (int rows = 0; rows <= MOST; rows++)
        for (int cols = 0; cols <= MOST; cols++) {
            int good = 1;
            memset(to, 0, MOST * STRIDE * sizeof *to);
            table->transpose(from, STRIDE, rows, cols, to, STRIDE);
            for (int c = 0; c < MOST; c++)
                for (int r = 0; r < STRIDE; r++)
                    good &=
                        to[c * STRIDE + r] == (r < rows && c < cols ? from[r * STRIDE + c] : 0.0f);
            same("transpose", good);
        }
    free(from);
    free(to);
}

/* All but every third window, which is left as it is where the columns are not all of a row. */
static void windows_but_some(const float *x, const int32_t *position, const int32_t *tap, int taps,
                             const float *panel, int relu, int windows, int n_out, int gap,
                             const float *y, const uint8_t *winner) {
    const int stride = n_out + gap;
    const size_t n = (size_t)((windows - 1) * stride + n_out);
    int32_t *window = take((size_t)windows * sizeof *window);
    int32_t *places = take((size_t)(4 * windows) * sizeof *places);
    float *out = take(n * sizeof *out), *again = take(n * sizeof *again);
    uint8_t *index = take(n);
    int live = 0, good = 1;
    for (int w = 0; w < windows; w++) {
        if (w % 3 == 1) continue;
        memcpy(places + 4 * live, position + 4 * w, 4 * sizeof *places);
        window[live++] = w;
    }
    for (size_t i = 0; i < n; i++) out[i] = again[i] = 7.0f;
    memset(index, 7, n);
    table->dot_windows(x, places, window, live, tap, taps, panel, relu, out, index, stride, n_out);
    table->dot_windows(x, places, window, live, tap, taps, panel, relu, again, NULL, stride, n_out);
    for (int w = 0; w < windows; w++)
        for (int c = 0; c < stride && w * stride + c < (int)n; c++) {
            const int at = w * stride + c, from = w * n_out + c;
            if (w % 3 != 1 && c < n_out)
                good &= out[at] == y[from] && index[at] == winner[from];
            else if (gap)
                good &= out[at] == 7.0f && index[at] == 7;
        }
    same("dot_windows", good && !memcmp(out, again, n * sizeof *out));
    free(window);
    free(places);
    free(out);
    free(again);
    free(index);
}

/* The same bits as by dot_panel and pool_windows, from an image with flat places, whose windows
 * have equal values. */
static void one_convolution(int n_y, int n_x, int n_out, int kh, int kw, int channels) {
    const int row = (2 * n_x + kw - 1 + n_y % 2) * channels, windows = n_y * n_x;
    const int cols = table->cols, run = kw * channels, taps = kh * run, relu = n_x % 2;
    const size_t image = (size_t)((2 * n_y + kh - 1) * row),
                 slack = channels == 1 && n_x % 4 ? 6 : 0;
    const size_t n = (size_t)(windows * n_out);
    float *x = take_random(image + slack, 9), *panel = take_random((size_t)((taps + 1) * cols), 5);
    for (size_t i = 0; i < image; i++)
        if (i / 5 % 2) x[i] = 0.25f;
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    int32_t *tap = take((size_t)taps * sizeof *tap);
    for (int i = 0; i < 4 * windows; i++)
        position[i] = (i / 4 / n_x * 2 + i / 2 % 2) * row + (i / 4 % n_x * 2 + i % 2) * channels;
    for (int t = 0; t < taps; t++) tap[t] = t / run * row + t % run;
    float *tile = take((size_t)(4 * windows * cols) * sizeof *tile);
    float *a = take(n * sizeof *a), *b = take(n * sizeof *b), *c = take(n * sizeof *c);
    uint8_t *winner_a = take(n), *winner_b = take(n);
    table->dot_panel(x, position, 4 * windows, tap, taps, panel, 0, tile, cols, cols);
    table->pool_windows(tile, windows, n_out, relu, a, winner_a, n_out);
    if (channels == 1 && n_out <= table->grey_filters) {
        table->grey_windows(x, row, kh, kw, n_y, n_x, panel, n_out, relu, b, winner_b);
        table->grey_windows(x, row, kh, kw, n_y, n_x, panel, n_out, relu, c, NULL);
        same("grey_windows", !memcmp(a, b, n * sizeof *a) && !memcmp(a, c, n * sizeof *a) &&
                                 !memcmp(winner_a, winner_b, n));
    }
    for (int gap = 0; gap < 4; gap += 3)
        windows_but_some(x, position, tap, taps, panel, relu, windows, n_out, gap, a, winner_a);
    float *blocks[] = {x, panel, tile, a, b, c};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(position);
    free(tap);
    free(winner_a);
    free(winner_b);
}

static void test_pooled_convolutions(void) {
    static const int sizes[][3] = {{1, 1, 1}, {3, 3, 1}, {5, 5, 1}, {2, 7, 1},
                                   {1, 1, 3}, {3, 1, 2}, {3, 3, 6}, {2, 2, 17}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int n_y = 1; n_y <= 3; n_y++)
            for (int n_x = 1; n_x <= 26; n_x++)
                for (int n_out = 1; n_out <= table->cols; n_out += n_out < 8 ? 1 : 3)
                    one_convolution(n_y, n_x, n_out, sizes[i][0], sizes[i][1], sizes[i][2]);
}

/* Values of which many are equal; the gradient of what has won is added to what there is. */
static void one_max_pixel(int size, int channels) {
    const int row = (size + 1) * channels;
    const size_t last = (size_t)((size - 1) * row + size * channels), n = (size_t)channels;
    float *x = take_random(last, 3), *dy = take_random(n, 4);
    float *y = take(n * sizeof *y), *a = take_random(last, 5), *b = take_random(last, 5);
    uint8_t *winner = take(n), *wanted = take(n);
    for (size_t i = 0; i < last; i++)
        if (i % 3) x[i] = 0.25f * (float)(i % 7 % 4);
    int good = 1;
    for (int c = 0; c < channels; c++) {
        int best = 0;
        for (int q = 1; q < size * size; q++)
            if (x[q / size * row + q % size * channels + c] >
                x[best / size * row + best % size * channels + c])
                best = q;
        wanted[c] = (uint8_t)best;
    }
    for (int known = 0; known < 2; known++) {
        table->max_pixel(x, size, row, channels, y, known ? winner : NULL);
        for (int c = 0; c < channels; c++)
            good &= y[c] == x[wanted[c] / size * row + wanted[c] % size * channels + c];
    }
    same("max_pixel", good && !memcmp(winner, wanted, n));
    table->max_pixel_gradient(dy, winner, size, row, channels, a);
    for (int c = 0; c < channels; c++)
        b[wanted[c] / size * row + wanted[c] % size * channels + c] += dy[c];
    same("max_pixel_gradient", !memcmp(a, b, last * sizeof *a));
    void *blocks[] = {x, dy, y, a, b, winner, wanted};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

static void test_max_pixels(void) {
    static const int sizes[] = {1, 2, 3, 15};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int channels = 1; channels < 70; channels++) one_max_pixel(sizes[i], channels);
}

/* Half of the values are zeros of either sign; NaN is none. */
static void one_list_of_winners(int windows, int n_out) {
    const size_t n = (size_t)(windows * n_out), stride = (size_t)(windows + n_out % 2);
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    for (int i = 0; i < 4 * windows; i++) position[i] = 1000 * i + 7;
    float *dy = take_random(n, 3);
    uint8_t *winner = take(n);
    for (size_t i = 0; i < n; i++) {
        winner[i] = (uint8_t)(i * 7 / 3 % 4);
        if (dy[i] < 0.0f) dy[i] = i % 3 == 0 ? -0.0f : i % 3 == 1 ? 0.0f : NAN;
    }
    mc_term *terms = take(stride * (size_t)n_out * sizeof *terms);
    int32_t *count = take((size_t)n_out * sizeof *count);
    table->list_winners(dy, winner, n_out, windows, position, terms, (ptrdiff_t)stride, count);
    int good = 1;
    for (int c = 0; c < n_out; c++) {
        const mc_term *next = terms + (size_t)c * stride;
        for (int w = 0; w < windows; w++) {
            const int i = w * n_out + c;
            if (dy[i] == 0.0f) continue;
            good &= next->offset == position[4 * w + winner[i]] &&
                    !memcmp(&next->value, dy + i, sizeof *dy);
            next++;
        }
        good &= count[c] == next - terms - c * (ptrdiff_t)stride;
    }
    same("list_winners", good);
    void *blocks[] = {position, dy, winner, terms, count};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

static void test_lists_of_winners(void) {
    for (int windows = 1; windows < 40; windows++)
        for (int n_out = 1; n_out < 36; n_out++) one_list_of_winners(windows, n_out);
}

static void test_column_sums(void) {
    for (int n = 1; n < 50; n += n < 20 ? 1 : 7)
        for (int n_cols = 1; n_cols < 260; n_cols += n_cols < 70 ? 1 : 13) {
            const size_t width = (size_t)n_cols;
            float *x = take_random((size_t)n * width, 9), *a = take_random(width, 8);
            float *b = take_copy(a, width);
            ref->column_sums(x, n, n_cols, a);
            table->column_sums(x, n, n_cols, b);
            agree("column_sums", a, b, width, 2e-7 * (n + 2));
            free(x);
            free(a);
            free(b);
        }
}

/* Windows of Winograd's transforms, in an image of 4 rows whose windows overlap. */
static void one_winograd(int windows, int channels) {
    const int row = (2 * windows + 2) * channels;
    const size_t size = (size_t)(16 * windows * channels);
    int32_t *position = take((size_t)(4 * windows) * sizeof *position);
    for (int i = 0; i < 4 * windows; i++) position[i] = i / 4 * 2 * channels;
    float *x = take_random((size_t)(4 * row), 9);
    float *a = take(size * sizeof *a), *b = take(size * sizeof *b);
    ref->winograd_inputs(x, position, windows, row, channels, a);
    table->winograd_inputs(x, position, windows, row, channels, b);
    agree("winograd_inputs", a, b, size, 1e-6);
    float *blocks[] = {x, a, b};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(position);
}

/* Column by column, as the plain table has fewer. Equals: the first one wins. */
static void one_winograd_pooling(int windows, int n_cols, int relu, int gap) {
    const int cols = table->cols, stride = n_cols + gap;
    const size_t size = (size_t)((windows - 1) * stride + n_cols);
    float *m = take_random((size_t)(16 * windows * cols), 9), *bias = take_random((size_t)cols, 3);
    for (int i = 0; i < 16 * windows * cols; i++)
        if (i / cols % windows % 3 == 1) m[i] = 0.0f;
    float *a = take_random(size, 4), *b = take_copy(a, size), *again = take_copy(a, size);
    uint8_t *winner = take(size), *other = take(size);
    memset(winner, 9, size);
    memset(other, 9, size);
    for (int c = 0; c < n_cols; c++) {
        float *column = take_random((size_t)(16 * windows * ref->cols), 1);
        for (int i = 0; i < 16 * windows; i++) column[i * ref->cols] = m[i * cols + c];
        ref->winograd_windows(column, windows, bias + c, 1, relu, a + c, winner + c, stride);
        free(column);
    }
    table->winograd_windows(m, windows, bias, n_cols, relu, b, other, stride);
    table->winograd_windows(m, windows, bias, n_cols, relu, again, NULL, stride);
    agree("winograd_windows", a, b, size, 4e-6);
    same("winograd_windows", !memcmp(winner, other, size) && !memcmp(b, again, size * sizeof *b));
    float *blocks[] = {m, bias, a, b, again};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(winner);
    free(other);
}

static void test_winograd(void) {
    for (int windows = 1; windows <= 7; windows += 2) {
        for (int channels = 16; channels < 40; channels++) one_winograd(windows, channels);
        for (int n_cols = 1; n_cols <= table->cols; n_cols++)
            one_winograd_pooling(windows, n_cols, n_cols % 2, windows % 3);
    }
}

/* ---- activations, dropout and losses ---- */

static double slope_of(mc_activation f, double y) {
    if (f == MC_RELU) return y > 0;
    return f == MC_SIGMOID ? y * (1 - y) : f == MC_TANH ? 1 - y * y : 1;
}

static double value_of(mc_activation f, double x) {
    if (f == MC_RELU) return x > 0 ? x : 0;
    return f == MC_SIGMOID ? 1 / (1 + exp(-x)) : f == MC_TANH ? tanh(x) : x;
}

static void test_activations(void) {
    for (size_t n = 1; n < 70; n++)
        for (mc_activation f = MC_LINEAR; f < MC_SOFTMAX; f++) {
            float *x = take_random(n, n), *y = take_copy(x, n), *dy = take_random(n, 2);
            float *values = take_copy(x, n), *slopes = take_copy(dy, n);
            for (size_t i = 0; i < n; i++) {
                x[i] *= i % 5 == 4 ? 120 : 4;
                y[i] = x[i];
                values[i] = (float)value_of(f, x[i]);
            }
            table->activate(f, y, n, n);
            agree("activate", y, values, n, f < MC_SIGMOID ? 0 : 4e-7);
            for (size_t i = 0; i < n; i++) slopes[i] *= (float)slope_of(f, y[i]);
            table->deactivate(f, y, dy, n, n);
            agree("deactivate", dy, slopes, n, 3e-7);
            float *blocks[] = {x, y, dy, values, slopes};
            for (size_t i = 0; i < 5; i++) free(blocks[i]);
        }
}

static void test_softmax(void) {
    for (size_t width = 1; width < 40; width++) {
        const size_t n = 3 * width;
        float *x = take_random(n, 3), *y = take_copy(x, n), *dy = take_random(n, 4);
        float *wanted = take_copy(x, n), *slopes = take_copy(x, n);
        for (size_t i = 0; i < n; i++) y[i] = x[i] *= i % 7 == 3 ? 300 : 3;
        table->activate(MC_SOFTMAX, y, n, width);
        for (size_t first = 0; first < n; first += width) {
            double sum = 0, most = -1e30, dot = 0;
            for (size_t j = first; j < first + width; j++) most = x[j] > most ? x[j] : most;
            for (size_t j = first; j < first + width; j++) sum += exp(x[j] - most);
            for (size_t j = first; j < first + width; j++)
                wanted[j] = (float)(exp(x[j] - most) / sum);
            for (size_t j = first; j < first + width; j++) dot += (double)dy[j] * y[j];
            for (size_t j = first; j < first + width; j++)
                slopes[j] = (float)(y[j] * (dy[j] - dot));
        }
        agree("activate", y, wanted, n, 1e-6);
        table->deactivate(MC_SOFTMAX, y, dy, n, width);
        agree("deactivate", dy, slopes, n, 1e-6);
        float *blocks[] = {x, y, dy, wanted, slopes};
        for (size_t i = 0; i < 5; i++) free(blocks[i]);
    }
}

static void test_dropout(void) {
    static const size_t sizes[] = {1, 2, 15, 16, 17, 127, 128, 129, 1000};
    static const float rates[] = {0.0f, 0.1f, 0.5f, 0.999f};
    for (size_t i = 0; i < 36; i++) {
        const size_t n = sizes[i / 4];
        const float rate = rates[i % 4];
        float *x = take_random(n, i), *a = take_copy(x, n), *b = take_copy(x, n);
        uint8_t *mask_a = take(n), *mask_b = take(n);
        ref->dropout(x, n, rate, 5, i, a, mask_a);
        table->dropout(x, n, rate, 5, i, b, mask_b);
        same("dropout", !memcmp(mask_a, mask_b, n) && !memcmp(a, b, n * sizeof *a));
        table->dropout_gradient(x, mask_b, n, rate, a);
        same("dropout_gradient", !memcmp(a, b, n * sizeof *a));
        free(x);
        free(a);
        free(b);
        free(mask_a);
        free(mask_b);
    }
}

static void one_loss(mc_loss loss, mc_activation last, size_t n, size_t width, int classes) {
    float *z = take_random(n * width, 1), *targets = take_random(n * width, 2);
    float *weights = take_random(n, 3), *dy = take(n * width * sizeof *dy);
    int32_t *class = take(n * sizeof *class);
    for (size_t i = 0; i < n; i++) class[i] = (int32_t)(i * 7 % width);
    for (size_t i = 0; i < n * width; i++) {
        z[i] *= i % 11 == 5 ? 60 : 5;
        targets[i] = fabsf(targets[i]);
    }
    float *y = take_copy(z, n * width), *dy_b = take(n * width * sizeof *dy);
    int64_t right_a = 0, right_b = 0;
    const int32_t *c = classes ? class : NULL;
    const float *t = classes ? NULL : targets;
    const double a = ref->loss(loss, last, 0.1f, z, n, width, c, t, weights, 0.25f, dy, &right_a);
    const double b =
        table->loss(loss, last, 0.1f, y, n, width, c, t, weights, 0.25f, dy_b, &right_b);
    same("loss", fabs(a - b) <= 1e-5 * (1 + fabs(a)) && right_a == right_b);
    agree("loss", z, y, n * width, 1e-6);
    agree("loss", dy, dy_b, n * width, 1e-5);
    float *blocks[] = {z, targets, weights, dy, y, dy_b};
    for (size_t i = 0; i < 6; i++) free(blocks[i]);
    free(class);
}

static void test_losses(void) {
    for (size_t width = 1; width < 36; width += width < 18 ? 1 : 7)
        for (size_t n = 1; n < 20; n += 6)
            for (int classes = 0; classes < 2; classes++) {
                one_loss(MC_SOFTMAX_CROSS_ENTROPY, MC_SOFTMAX, n, width, classes);
                one_loss(MC_SIGMOID_CROSS_ENTROPY, MC_SIGMOID, n, width, classes);
                for (mc_activation f = MC_LINEAR; f <= MC_SOFTMAX; f++)
                    one_loss(MC_MEAN_SQUARED_ERROR, f, n, width, classes);
            }
}

/* ---- elementwise loops and steps ---- */

static void test_steps(void) {
    mc_step step = {0.1f, 0.02f, 0.99f, 0.7f, 0.9f, 0, 0.9f, 0.999f, 1e-7f};
    for (size_t n = 1; n < 80; n++) {
        float *w = take_random(n, 1), *m = take_random(n, 2), *v = take_random(n, 3);
        float *g = take_random(n, 4);
        for (size_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
        for (int kind = 0; kind < 4; kind++) {
            float *wa = take_copy(w, n), *ma = take_copy(m, n), *va = take_copy(v, n);
            float *wb = take_copy(w, n), *mb = take_copy(m, n), *vb = take_copy(v, n);
            step.nesterov = kind == 2;
            if (kind == 3) {
                ref->adam(&step, wa, ma, va, g, n);
                table->adam(&step, wb, mb, vb, g, n);
            } else {
                ref->sgd(&step, wa, kind ? ma : NULL, g, n);
                table->sgd(&step, wb, kind ? mb : NULL, g, n);
            }
            const char *name = kind == 3 ? "adam" : "sgd";
            agree(name, wa, wb, n, 1e-5);
            agree(name, ma, mb, n, 3e-7);
            agree(name, va, vb, n, 3e-7);
            float *blocks[] = {wa, ma, va, wb, mb, vb};
            for (size_t i = 0; i < 6; i++) free(blocks[i]);
        }
        float *a = take_copy(w, n), *b = take_copy(w, n);
        ref->add(a, g, n);
        table->add(b, g, n);
        agree("add", a, b, n, 0);
        ref->blend(a, m, 0.3f, n);
        table->blend(b, m, 0.3f, n);
        agree("blend", a, b, n, 3e-7);
        double squares = 0;
        for (size_t i = 0; i < n; i++) squares += (double)g[i] * g[i];
        same("square_sum", fabs(table->square_sum(g, n) - squares) < 1e-12 * (1 + squares));
        float *blocks[] = {w, m, v, g, a, b};
        for (size_t i = 0; i < 6; i++) free(blocks[i]);
    }
}

static void test_bits(void) {
    for (size_t n = 0; n < 70; n++) {
        float *x = take_random(n, 5);
        for (size_t i = 0; i <= n; i++) {
            if (i < n) x[i] = i % 2 ? -3.0f : 5.0f;
            same("most_bits", table->most_bits(x, n, ~0u) == ref->most_bits(x, n, ~0u));
            const uint32_t positive = table->most_bits(x, n, 0x7fffffffu);
            same("most_bits", positive == ref->most_bits(x, n, 0x7fffffffu));
        }
        free(x);
    }
    const float odd[3] = {NAN, -0.0f, 1.0f};
    for (size_t i = 0; i < 2; i++)
        same("most_bits", table->most_bits(odd + i, 1, ~0u) > 0x3f800000u);
    same("most_bits", table->most_bits(odd + 2, 1, ~0u) == 0x3f800000u);
}

static void test_reduce_and_bytes(void) {
    uint8_t bytes[256];
    float floats[256];
    for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
    for (size_t n = 1; n <= 256; n += n < 70 ? 1 : 31) {
        table->from_uint8(bytes + 256 - n, floats, n);
        int good = 1;
        for (size_t i = 0; i < n; i++)
            good &= fabs(floats[i] - (256.0 - (double)n + (double)i) / 255) < 1.2e-7;
        same("from_uint8", good);
        const size_t stride = n + 3;
        float *lanes = take_random(4 * stride + n, 1), *a = take(n * sizeof *a);
        float *b = take(n * sizeof *b);
        ref->reduce(lanes, (ptrdiff_t)stride, 5, a, n);
        table->reduce(lanes, (ptrdiff_t)stride, 5, b, n);
        agree("reduce", a, b, n, 0);
        free(lanes);
        free(a);
        free(b);
    }
}

/* ---- normalisation, depthwise convolution, distortion ---- */

static void test_norms(void) {
    for (size_t channels = 1; channels < 40; channels++) {
        const size_t n = 1 + channels % 5, size = n * channels;
        float *x = take_random(size, 1), *dy = take_random(size, 2),
              *mean = take_random(channels, 3);
        float *p = take_random(channels, 4), *q = take_random(channels, 5);
        float *r = take_random(channels, 6);
        float *a = take_random(size, 7), *b = take_copy(a, size);
        float *s[4];
        for (int i = 0; i < 4; i++) s[i] = take_copy(p, channels);
        ref->norm_moments(x, mean, n, channels, s[0], s[1]);
        table->norm_moments(x, mean, n, channels, s[2], s[3]);
        agree("norm_moments", s[0], s[2], channels, 2e-6);
        agree("norm_moments", s[1], s[3], channels, 4e-6);
        ref->norm_sums(x, dy, mean, p, n, channels, s[0], s[1]);
        table->norm_sums(x, dy, mean, p, n, channels, s[2], s[3]);
        agree("norm_sums", s[0], s[2], channels, 4e-6);
        agree("norm_sums", s[1], s[3], channels, 8e-6);
        for (int relu = 0; relu < 2; relu++) {
            ref->norm_apply(x, mean, p, q, n, channels, relu, a);
            table->norm_apply(x, mean, p, q, n, channels, relu, b);
            agree("norm_apply", a, b, size, 1e-6);
        }
        ref->norm_gradient(x, dy, mean, p, q, r, n, channels, a);
        table->norm_gradient(x, dy, mean, p, q, r, n, channels, b);
        agree("norm_gradient", a, b, size, 1e-6);
        float *blocks[] = {x, dy, mean, p, q, r, a, b, s[0], s[1], s[2], s[3]};
        for (size_t i = 0; i < 12; i++) free(blocks[i]);
    }
}

static void test_depthwise(void) {
    enum { POSITIONS = 7, TAPS = 9 };
    for (int channels = 1; channels < 40; channels++) {
        const size_t c = (size_t)channels, pixels = 30;
        int32_t position[POSITIONS], tap[TAPS];
        for (int i = 0; i < POSITIONS; i++) position[i] = (i * 2) * channels;
        for (int i = 0; i < TAPS; i++) tap[i] = (i / 3 * 7 + i % 3) * channels;
        float *x = take_random(pixels * c, 1), *weight = take_random(TAPS * c, 2);
        float *bias = take_random(c, 3), *dy = take_random(POSITIONS * c, 4);
        float *a = take_random(POSITIONS * c, 5), *b = take_copy(a, POSITIONS * c);
        ref->depthwise(x, position, POSITIONS, tap, TAPS, weight, bias, channels, a);
        table->depthwise(x, position, POSITIONS, tap, TAPS, weight, bias, channels, b);
        agree("depthwise", a, b, POSITIONS * c, 2e-6);
        float *dw_a = take_copy(weight, TAPS * c), *dw_b = take_copy(weight, TAPS * c);
        float *dx_a = take_copy(x, pixels * c), *dx_b = take_copy(x, pixels * c);
        for (int with_dx = 0; with_dx < 2; with_dx++) {
            ref->depthwise_gradient(x, position, POSITIONS, tap, TAPS, weight, dy, channels, dw_a,
                                    with_dx ? dx_a : NULL);
            table->depthwise_gradient(x, position, POSITIONS, tap, TAPS, weight, dy, channels, dw_b,
                                      with_dx ? dx_b : NULL);
        }
        agree("depthwise_gradient", dw_a, dw_b, TAPS * c, 4e-6);
        agree("depthwise_gradient", dx_a, dx_b, pixels * c, 4e-6);
        float *blocks[] = {x, weight, bias, dy, a, b, dw_a, dw_b, dx_a, dx_b};
        for (size_t i = 0; i < 10; i++) free(blocks[i]);
    }
}

static void test_distortions(void) {
    const mc_augment options = {15, 0.1f, 0.1f, 5, 2, 30, 4, 1, 0.5f, 0.4f, 0.1f};
    static const int sides[][3] = {{28, 28, 1}, {1, 1, 1}, {5, 33, 2}, {17, 3, 3}};
    for (size_t i = 0; i < 4; i++) {
        const int h = sides[i][0], w = sides[i][1], channels = sides[i][2];
        const size_t n = (size_t)(h * w * channels);
        const size_t bytes = mc_augment_scratch_floats(h, w) * sizeof(float);
        float *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
        float *x = take_random(n, i), *a = take(n * sizeof *a), *b = take(n * sizeof *b);
        if (!scratch) exit(2);
        for (size_t k = 0; k < n; k++) x[k] = fabsf(x[k]);
        ref->augment_image(&options, x, 0, h, w, channels, 3, 1, i, a, scratch);
        table->augment_image(&options, x, 0, h, w, channels, 3, 1, i, b, scratch);
        agree("augment_image", a, b, n, 1e-3);
        free(scratch);
        free(x);
        free(a);
        free(b);
    }
}

static void test_table(void) {
    test_panels();
    test_wide_panels();
    test_list_inputs();
    test_ink_rows();
    test_ink_bits();
    test_rows();
    test_many_rows();
    test_patches();
    test_winner_sum();
    test_winner_sum_3x3();
    test_winner_spread_3x3();
    test_transpose();
    test_pooled_convolutions();
    test_max_pixels();
    test_lists_of_winners();
    test_column_sums();
    test_pooling();
    test_winograd();
    test_activations();
    test_softmax();
    test_dropout();
    test_losses();
    test_steps();
    test_bits();
    test_reduce_and_bytes();
    test_norms();
    test_depthwise();
    test_distortions();
}

int main(void) {
#ifdef MC_EMULATED
    table = &mc_kernels_avx512;
    test_table();
#else
    const mc_kernels *tables[16];
    const int n = mc_kernels_available(tables, 16);
    for (int i = 0; i < n; i++) {
        table = tables[i];
        test_table();
    }
    check(n >= 2 && tables[0] == ref, "the plain table comes first, and is not alone");
    check(mc_kernels_find("avx9000") == NULL, "an unknown table");
#endif
    return failures != 0;
}
