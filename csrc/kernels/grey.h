/* grey.h - a convolution of one channel by few filters with its 2x2 pooling, pixels in the lanes:
 * with filters in them, a layer of 6 would leave 2 of 8 idle, and load as often as it multiplies.
 * For the tables with AVX2; after tiles.h. A block is 8 positions of two rows, one above the other:
 * four windows. Sums are taken in the order of dot_panel, so both have the same bits.
 * Fewer than six filters, or seven, take columns of zeros along.
 *   GREY_FILTERS          most filters, 6 or 8
 *   GREY_BLOCKS           blocks whose sums for all filters stay in registers
 *   GREY_VECTORS          vectors of a block
 *   grey_load(p, row, v)  vector v of the block whose pixels are at p and at p + row
 *   grey_rows(v, upper, lower)  the two rows of a block's sums
 *   grey_largest          largest_of for 8 floats
 */

enum { GREY_BLOCK = 4, GREY_LANES = 8 }; /* windows of a block, positions of one of its rows */

typedef int32_t grey_index __attribute__((vector_size(32)));

/* The winners of a block's windows: y[w * n_out + f] and as many bytes, GREY_LANES of both for each
 * window, of which the next one's overwrite what is too much. */
INLINE void pool_block(const __m256 *upper, const __m256 *lower, __m256 floor, int n_out, float *y,
                       uint8_t *winner, const int filters) {
    __m256 best[4] = {[3] = _mm256_setzero_ps()};
    grey_index index[4] = {0};
    UNROLL
    for (int pair = 0; pair < filters / 2; pair++) {
        const __m256 *up = upper + 2 * pair, *low = lower + 2 * pair;
        const __m256 most = grey_largest(_mm256_shuffle_ps(up[0], up[1], 0x88),
                                         _mm256_shuffle_ps(up[0], up[1], 0xdd),
                                         _mm256_shuffle_ps(low[0], low[1], 0x88),
                                         _mm256_shuffle_ps(low[0], low[1], 0xdd), &index[pair]);
        best[pair] = _mm256_max_ps(most, floor);
    }
    /* Pairs of filters have windows 0, 1, 0, 1 in the lower half and 2, 3, 2, 3 in the upper. */
    UNROLL
    for (int half = 0; half < 2; half++) UNROLL
    for (int w = 0; w < 2; w++) {
        __m256 four[2];
        UNROLL
        for (int i = 0; i < 2; i++)
            four[i] = w ? _mm256_shuffle_ps(best[2 * i], best[2 * i + 1], 0xdd)
                        : _mm256_shuffle_ps(best[2 * i], best[2 * i + 1], 0x88);
        float *to = y + (2 * half + w) * n_out;
        UNROLL
        for (int i = 0; i < 2; i++)
            _mm_storeu_ps(to + 4 * i, half ? _mm256_extractf128_ps(four[i], 1)
                                           : _mm256_castps256_ps128(four[i]));
    }
    if (!winner) return;
    const __m256i turn = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    const __m256i words =
        _mm256_packs_epi16(_mm256_packs_epi32((__m256i)index[0], (__m256i)index[1]),
                           _mm256_packs_epi32((__m256i)index[2], (__m256i)index[3]));
    const __m256i bytes = _mm256_shuffle_epi8(words, turn);
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    _mm_storel_epi64((__m128i *)winner, low);
    _mm_storel_epi64((__m128i *)(winner + n_out), _mm_unpackhi_epi64(low, low));
    _mm_storel_epi64((__m128i *)(winner + 2 * n_out), high);
    _mm_storel_epi64((__m128i *)(winner + 3 * n_out), _mm_unpackhi_epi64(high, high));
}

/* `blocks` blocks side by side, of which `windows` windows count; `room` windows are left in y. */
INLINE void grey_strip(const float *x, ptrdiff_t row, int kh, int kw, const float *panel,
                       __m256 floor, float *y, uint8_t *winner, int n_out, int windows, int room,
                       const int blocks, const int filters) {
    vf acc[GREY_FILTERS][GREY_BLOCKS * GREY_VECTORS];
    UNROLL
    for (int f = 0; f < filters; f++) UNROLL
    for (int v = 0; v < blocks * GREY_VECTORS; v++) acc[f][v] = vset(panel[f]);
    for (int ky = 0; ky < kh; ky++, x += row)
        for (int kx = 0; kx < kw; kx++) {
            vf pixels[GREY_BLOCKS * GREY_VECTORS];
            UNROLL
            for (int v = 0; v < blocks * GREY_VECTORS; v++)
                pixels[v] = grey_load(x + kx + v / GREY_VECTORS * 8, row, v % GREY_VECTORS);
            panel += PANEL_COLS;
            UNROLL
            for (int f = 0; f < filters; f++) {
                const vf weight = vset(panel[f]);
                UNROLL
                for (int v = 0; v < blocks * GREY_VECTORS; v++)
                    acc[f][v] = vfma(pixels[v], weight, acc[f][v]);
            }
        }
    UNROLL
    for (int b = 0; b < blocks; b++, windows -= GREY_BLOCK, room -= GREY_BLOCK) {
        __m256 upper[GREY_FILTERS], lower[GREY_FILTERS];
        UNROLL
        for (int f = 0; f < filters; f++)
            grey_rows(acc[f] + b * GREY_VECTORS, &upper[f], &lower[f]);
        if ((room - GREY_BLOCK) * n_out >= GREY_LANES - n_out) {
            pool_block(upper, lower, floor, n_out, y, winner, filters);
        } else { /* at the end of y */
            float values[GREY_BLOCK * GREY_FILTERS + GREY_LANES];
            uint8_t index[GREY_BLOCK * GREY_FILTERS + GREY_LANES];
            const int n = (windows < GREY_BLOCK ? windows : GREY_BLOCK) * n_out;
            pool_block(upper, lower, floor, n_out, values, index, filters);
            memcpy(y, values, (size_t)n * sizeof *y);
            if (winner) memcpy(winner, index, (size_t)n);
        }
        y += GREY_BLOCK * n_out;
        if (winner) winner += GREY_BLOCK * n_out;
    }
}

INLINE void grey_image(const float *x, ptrdiff_t row, int kh, int kw, int n_y, int n_x,
                       const float *panel, __m256 floor, int n_out, float *y, uint8_t *winner,
                       const int filters) {
    for (int wy = 0; wy < n_y; wy++)
        for (int wx = 0, some; wx < n_x; wx += some) {
            const int done = wy * n_x + wx, left = n_x - wx, room = n_y * n_x - done;
            const float *at = x + 2 * wy * row + 2 * wx;
            float *to = y + done * n_out;
            uint8_t *index = winner ? winner + done * n_out : NULL;
            some = GREY_BLOCK * (left > GREY_BLOCK * (GREY_BLOCKS - 1) ? GREY_BLOCKS : 1);
            if (some > GREY_BLOCK)
                grey_strip(at, row, kh, kw, panel, floor, to, index, n_out, left, room, GREY_BLOCKS,
                           filters);
            else
                grey_strip(at, row, kh, kw, panel, floor, to, index, n_out, left, room, 1, filters);
        }
}

static void grey_windows(const float *x, ptrdiff_t row, int kh, int kw, int n_y, int n_x,
                         const float *panel, int n_out, int relu, float *y, uint8_t *winner) {
    const __m256 floor = relu ? _mm256_setzero_ps() : _mm256_set1_ps(-__builtin_inff());
    const int many = GREY_FILTERS > 6 && n_out > 6;
    if (many && winner)
        grey_image(x, row, kh, kw, n_y, n_x, panel, floor, n_out, y, winner, GREY_FILTERS);
    else if (many)
        grey_image(x, row, kh, kw, n_y, n_x, panel, floor, n_out, y, NULL, GREY_FILTERS);
    else if (winner)
        grey_image(x, row, kh, kw, n_y, n_x, panel, floor, n_out, y, winner, 6);
    else
        grey_image(x, row, kh, kw, n_y, n_x, panel, floor, n_out, y, NULL, 6);
}
#define GREY_WINDOWS grey_windows
