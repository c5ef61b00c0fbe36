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
