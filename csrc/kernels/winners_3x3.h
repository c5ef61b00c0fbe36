/* winners_3x3.h - the weight gradient of a 3x3 convolution of one channel, told from its pooling's
 * winners, for the tables that permute floats by lane. Here the windows with ink are gathered; what
 * picks a filter's pixels is the tables' own: winners_3x3, for up to WINNER_BLOCK windows. Window i
 * has 4 x 4 pixels from pixels[16 * i] on, and its gradients and winners from dy[window[i] * n_out]
 * on. Some floats are read beyond the last window.
 */

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
        winners_3x3(pixels, window, n, dy, winner, n_out, dw);
    }
}
#define WINNER_SUM_3X3 winner_sum_3x3
