/* words.h - rounded values as words of 16 bits, for the tables that have AVX512-BF16.
 *
 * Its conversion rounds to nearest, ties to even, and takes subnormal numbers for 0.
 */

static inline __m512i to_words(__m512 low, __m512 high) {
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* n words and a zero behind them, so that they can be read in pairs. */
static void round_bf16(const float *x, size_t n, void *out) {
    uint16_t *words = out;
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        _mm512_storeu_si512(words + i,
                            to_words(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16)));
    const uint32_t end = (uint32_t)1 << (n - i), mask = end - 1;
    const __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, x + i);
    const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + i + 16);
    _mm512_mask_storeu_epi16(words + i, mask | end, to_words(low, high));
}

static void round_floats(const float *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        const __m512i words = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(v));
        _mm512_mask_storeu_ps(out + i, mask, _mm512_castsi512_ps(_mm512_slli_epi32(words, 16)));
    }
}

static void winograd_inputs_bf16(const float *x, const int32_t *position, int n_windows,
                                 ptrdiff_t row, int channels, void *out) {
    const ptrdiff_t apart = (ptrdiff_t)n_windows * channels;
    uint16_t *words = out;
    for (int w = 0; w < n_windows; w++, position += 4, words += channels)
        for (int c = 0; c < channels; c += 16) {
            const int at = c + 16 <= channels ? c : channels - 16;
            __m512 in[16];
            winograd_input(x + *position + at, row, channels, in);
            UNROLL
            for (int i = 0; i < 16; i++)
                _mm256_storeu_si256((__m256i *)(words + i * apart + at),
                                    (__m256i)_mm512_cvtneps_pbh(in[i]));
        }
    words[15 * apart] = 0; /* read with the last of an odd number of channels */
}

/* Up to 16 words as the lower halves of integers. */
static inline __m512i widen_words(const uint16_t *from, ptrdiff_t n) {
    const unsigned mask = n <= 0 ? 0 : n < 16 ? (1u << n) - 1 : 0xffff;
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)mask, from));
}

static void pair_bf16(const void *rounded, size_t n, size_t stride, void *out) {
    const uint16_t *words = rounded;
    float *pairs = out;
    for (ptrdiff_t left = (ptrdiff_t)n; left > 0; left -= 16, words += 16, pairs += 16) {
        const __m512i next = widen_words(words + stride, left - (ptrdiff_t)stride);
        const __m512i both = _mm512_or_si512(widen_words(words, left), _mm512_slli_epi32(next, 16));
        const unsigned mask = left < 16 ? (1u << left) - 1 : 0xffff;
        _mm512_mask_storeu_ps(pairs, (__mmask16)mask, _mm512_castsi512_ps(both));
    }
}

/* Two rows of 16 weights as 16 pairs of words. */
static inline __m512i pair_words(__m512 even, __m512 odd) {
    const __m512i words = to_words(even, odd);
    const __m512i a = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words));
    const __m512i b = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

static inline __m512 add_pairs(__m512 sum, __m512i inputs, __m512i weights) {
    return _mm512_dpbf16_ps(sum, (__m512bh)inputs, (__m512bh)weights);
}

/* The values of two terms, rounded, side by side in every lane. */
static inline __m512i pair_values(const mc_term *terms) {
    const __m512i both = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)terms));
    const __m512 floats = _mm512_castsi512_ps(both);
    return _mm512_shuffle_epi8(to_words(floats, floats), _mm512_set1_epi32(0x07060302));
}

/* sum[0 .. 31] += what pairs of words from unpacking left: columns 0-3, 8-11, ... and the rest. */
static inline void add_unpacked(float *sum, __m512 low, __m512 high, uint32_t mask) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const __mmask16 a = (__mmask16)mask, b = (__mmask16)(mask >> 16);
    const __m512 x = _mm512_permutex2var_ps(low, first, high);
    const __m512 y = _mm512_permutex2var_ps(low, second, high);
    _mm512_mask_storeu_ps(sum, a, _mm512_add_ps(_mm512_maskz_loadu_ps(a, sum), x));
    _mm512_mask_storeu_ps(sum + 16, b, _mm512_add_ps(_mm512_maskz_loadu_ps(b, sum + 16), y));
}

/* Terms in pairs: rows of both are interleaved, so that vdpbf16ps adds two products. Per block of
 * 32 words two loads, two shuffles, two products of 32 multiply-adds each. `last` masks the last
 * block of a row. */
INLINE void pair_strip(const uint16_t *patches, const mc_term *terms, int n, ptrdiff_t row_stride,
                       float *sum, ptrdiff_t sum_stride, uint32_t last, const int blocks,
                       const int rows) {
    __m512 acc[13][3][2];
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int x = 0; x < blocks; x++) acc[y][x][0] = acc[y][x][1] = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 2) {
        const uint16_t *p = patches + terms[i].offset, *q = patches + terms[i + 1].offset;
        const __m512i values = pair_values(terms + i);
        UNROLL
        for (int y = 0; y < rows; y++) UNROLL
        for (int x = 0; x < blocks; x++) {
            const ptrdiff_t at = y * row_stride + 32 * x;
            const uint32_t mask = x < blocks - 1 ? 0xffffffffu : last;
            const __m512i a = _mm512_maskz_loadu_epi16(mask, p + at);
            const __m512i b = _mm512_maskz_loadu_epi16(mask, q + at);
            acc[y][x][0] = add_pairs(acc[y][x][0], _mm512_unpacklo_epi16(a, b), values);
            acc[y][x][1] = add_pairs(acc[y][x][1], _mm512_unpackhi_epi16(a, b), values);
        }
    }
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int x = 0; x < blocks; x++)
        add_unpacked(sum + y * sum_stride + 32 * x, acc[y][x][0], acc[y][x][1],
                     x < blocks - 1 ? 0xffffffffu : last);
}

static void patch_sum_bf16(const void *patches, mc_term *terms, int n, int rows,
                           ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length) {
    terms[n] = (mc_term){terms[0].offset, 0.0f}; /* the partner of an odd one */
    for (int x = 0; x < length; x += 96) {
        const int left = length - x, blocks = left < 96 ? (left + 31) / 32 : 3;
        const int tail = left < 32 * blocks ? left % 32 : 32, most = blocks < 3 ? 5 : 4;
        for (int y = 0, some; y < rows; y += some) {
            const uint16_t *words = (const uint16_t *)patches + y * row_stride + x;
            float *to = sum + y * sum_stride + x;
            const uint32_t last = 0xffffffffu >> (32 - tail);
            some = rows - y < most ? rows - y : most;
            if (blocks == 1)
                STRIPS(pair_strip, 5, some, words, terms, n, row_stride, to, sum_stride, last, 1)
            else if (blocks == 2)
                STRIPS(pair_strip, 5, some, words, terms, n, row_stride, to, sum_stride, last, 2)
            else
                STRIPS(pair_strip, 4, some, words, terms, n, row_stride, to, sum_stride, last, 3)
        }
    }
}
