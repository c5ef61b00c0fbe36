/* winners.h - offsets of a window's winners, eight filters at a time, for the tables with AVX2. */

/* position[winner[c]], c < 8; of a window's four positions. */
static inline __m256i winner_offsets(const int32_t *position, const uint8_t *winner) {
    const __m128i four = _mm_loadu_si128((const __m128i *)position);
    const __m256i which = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)winner));
    return _mm256_castps_si256(
        _mm256_permutevar_ps(_mm256_castsi256_ps(_mm256_broadcastsi128_si256(four)), which));
}

enum { WINNER_BLOCK = 128 }; /* windows that are made ready at once */
