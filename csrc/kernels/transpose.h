/* transpose.h - rows and columns change places, for all tables. */

#ifdef __AVX2__
static inline void transpose_block(const float *from, ptrdiff_t from_stride, float *to,
                                   ptrdiff_t to_stride) {
    __m256 half[8], pair[8];
    for (int i = 0; i < 4; i++) { /* columns 0-3 of rows i and i + 4, then 4-7 */
        const float *upper = from + i * from_stride, *lower = upper + 4 * from_stride;
        half[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(upper)),
                                       _mm_loadu_ps(lower), 1);
        half[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(upper + 4)),
                                           _mm_loadu_ps(lower + 4), 1);
    }
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(half[i], half[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(half[i], half[i + 1]);
    }
    for (int i = 0; i < 8; i++, to += to_stride) {
        const __m256 a = pair[i / 4 * 4 + i / 2 % 2], b = pair[i / 4 * 4 + i / 2 % 2 + 2];
        _mm256_storeu_ps(to, i % 2 ? _mm256_shuffle_ps(a, b, 0xee) : _mm256_shuffle_ps(a, b, 0x44));
    }
}
#else
static inline void transpose_block(const float *from, ptrdiff_t from_stride, float *to,
                                   ptrdiff_t to_stride) {
    for (int r = 0; r < 8; r++)
        for (int c = 0; c < 8; c++) to[c * to_stride + r] = from[r * from_stride + c];
}
#endif

static void transpose(const float *from, ptrdiff_t from_stride, int rows, int cols, float *to,
                      ptrdiff_t to_stride) {
    const int whole_rows = rows / 8 * 8, whole_cols = cols / 8 * 8;
    for (int c = 0; c < whole_cols; c += 8)
        for (int r = 0; r < whole_rows; r += 8)
            transpose_block(from + r * from_stride + c, from_stride, to + c * to_stride + r,
                            to_stride);
    for (int r = 0; r < rows; r++)
        for (int c = r < whole_rows ? whole_cols : 0; c < cols; c++)
            to[c * to_stride + r] = from[r * from_stride + c];
}
