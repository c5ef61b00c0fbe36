/* winners_3x3.h - the weight gradient of a 3x3 convolution of one channel, told from its pooling's
 * winners, for the tables that permute floats by lane. What picks a filter's pixels is theirs:
 * winners_3x3_strip, for up to WINNER_VECTORS vectors of filters. Window i has 4 x 4 pixels from
 * pixels[16 * i] on, and its gradients and winners from dy[window[i] * stride] on.
 */

enum { WINNER_BLOCK = 128 }; /* windows */

/* Filters that do not fill a vector, in room for a whole one. */
static void winners_3x3_rest(const float *pixels, const int32_t *window, int n, const float *dy,
                             const uint8_t *winner, int n_out, float *dw, int filters) {
    float gradients[WINNER_BLOCK * VW], sums[9 * VW] = {0};
    uint8_t winners[WINNER_BLOCK * VW];
    int32_t place[WINNER_BLOCK];
    memset(gradients, 0, (size_t)n * VW * sizeof(float));
    memset(winners, 0, (size_t)n * VW);
    for (int i = 0; i < n; i++) {
        const ptrdiff_t at = (ptrdiff_t)window[i] * n_out;
        for (int c = 0; c < filters; c++) {
            gradients[i * VW + c] = dy[at + c];
            winners[i * VW + c] = winner[at + c];
        }
        place[i] = i;
    }
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < filters; c++) sums[t * VW + c] = dw[t * n_out + c];
    winners_3x3_strip(pixels, place, n, gradients, winners, VW, sums, VW, 1);
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < filters; c++) dw[t * n_out + c] = sums[t * VW + c];
}

/* Windows of paper are passed over. */
static void winner_sum_3x3(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                           const float *dy, const uint8_t *winner, int n_out, float *dw) {
    float pixels[16 * (WINNER_BLOCK + 1)];
    int32_t window[WINNER_BLOCK];
    for (int first = 0; first < n_windows; first += WINNER_BLOCK) {
        const int end = n_windows - first < WINNER_BLOCK ? n_windows : first + WINNER_BLOCK;
        int n = 0;
        for (int w = first; w < end; w++) {
            const float *at = x + position[4 * w];
            const __m128 r0 = _mm_loadu_ps(at), r1 = _mm_loadu_ps(at + row),
                         r2 = _mm_loadu_ps(at + 2 * row), r3 = _mm_loadu_ps(at + 3 * row);
            const __m128 any = _mm_or_ps(_mm_or_ps(r0, r1), _mm_or_ps(r2, r3));
            float *to = pixels + 16 * n;
            _mm_storeu_ps(to, r0);
            _mm_storeu_ps(to + 4, r1);
            _mm_storeu_ps(to + 8, r2);
            _mm_storeu_ps(to + 12, r3);
            window[n] = w;
            const __m128i bits = _mm_castps_si128(any);
            n += !_mm_testz_si128(bits, _mm_set1_epi32(0x7fffffff));
        }
        memset(pixels + 16 * n, 0, 16 * sizeof(float)); /* read, and not used */
        int c = 0;
        for (; c + WINNER_VECTORS * VW <= n_out; c += WINNER_VECTORS * VW)
            winners_3x3_strip(pixels, window, n, dy + c, winner + c, n_out, dw + c, n_out,
                              WINNER_VECTORS);
        for (; c + VW <= n_out; c += VW)
            winners_3x3_strip(pixels, window, n, dy + c, winner + c, n_out, dw + c, n_out, 1);
        if (c < n_out)
            winners_3x3_rest(pixels, window, n, dy + c, winner + c, n_out, dw + c, n_out - c);
    }
}
#define WINNER_SUM_3X3 winner_sum_3x3
