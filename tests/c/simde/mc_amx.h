/* mc_amx.h - what SIMDe lacks of AVX512-BF16, and AMX tiles, in plain C by Intel's pseudocode.
 *
 * Masked loads and stores touch the lanes of their mask only, as the hardware's do, so that a
 * sanitizer sees a step too far. Tiles that were not configured end the program.
 */
#ifndef MC_TEST_AMX_H
#define MC_TEST_AMX_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- masked memory ---- */

#ifndef __mmask16 /* not in every version of SIMDe */
#define __mmask8 uint8_t
#define __mmask16 uint16_t
#endif

static inline simde__m512i mc_load_words(uint32_t mask, const void *from) {
    uint16_t lanes[32] = {0};
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) memcpy(lanes + i, (const char *)from + 2 * i, 2);
    return simde_mm512_loadu_si512(lanes);
}

static inline simde__m128i mc_load_few_words(uint32_t mask, const void *from) {
    uint16_t lanes[8] = {0};
    for (int i = 0; i < 8; i++)
        if (mask >> i & 1) memcpy(lanes + i, (const char *)from + 2 * i, 2);
    return simde_mm_loadu_si128((const simde__m128i *)lanes);
}

static inline void mc_store_words(void *to, uint32_t mask, simde__m512i v) {
    uint16_t lanes[32];
    simde_mm512_storeu_si512(lanes, v);
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) memcpy((char *)to + 2 * i, lanes + i, 2);
}

static inline simde__m512 mc_load_floats(uint32_t mask, const float *from) {
    float lanes[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) lanes[i] = from[i];
    return simde_mm512_loadu_ps(lanes);
}

static inline void mc_store_floats(float *to, uint32_t mask, simde__m512 v) {
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) to[i] = lanes[i];
}

static inline simde__m256i mc_load_half_words(uint32_t mask, const void *from) {
    return simde_mm512_castsi512_si256(mc_load_words(mask, from));
}

#undef _mm256_maskz_loadu_epi16
#undef _mm512_maskz_loadu_epi16
#undef _mm_maskz_loadu_epi16
#undef _mm512_mask_storeu_epi16
#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#define _mm256_maskz_loadu_epi16(mask, from) mc_load_half_words(mask, from)
#define _mm512_maskz_loadu_epi16(mask, from) mc_load_words(mask, from)
#define _mm_maskz_loadu_epi16(mask, from) mc_load_few_words(mask, from)
#define _mm512_mask_storeu_epi16(to, mask, v) mc_store_words(to, mask, v)
#define _mm512_maskz_loadu_ps(mask, from) mc_load_floats(mask, from)
#define _mm512_mask_storeu_ps(to, mask, v) mc_store_floats(to, mask, v)

/* ---- AVX512-BF16 ---- */

static inline uint16_t mc_to_word(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
    if (fabsf(x) < 0x1p-126f) return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline simde__m512i mc_to_words(simde__m512 high, simde__m512 low) {
    float from[32];
    uint16_t to[32];
    simde_mm512_storeu_ps(from, low);
    simde_mm512_storeu_ps(from + 16, high);
    for (int i = 0; i < 32; i++) to[i] = mc_to_word(from[i]);
    return simde_mm512_loadu_si512(to);
}

#undef _mm512_cvtne2ps_pbh
#define _mm512_cvtne2ps_pbh(high, low) mc_to_words(high, low)
#undef _mm512_cvtneps_pbh
#define _mm512_cvtneps_pbh(x) simde_mm512_castsi512_si256(mc_to_words(x, x))

static inline float mc_flushed(float x) {
    return fabsf(x) < 0x1p-126f ? 0.0f : x;
}

static inline float mc_from_word(uint16_t word) {
    const uint32_t bits = (uint32_t)word << 16;
    float x;
    memcpy(&x, &bits, 4);
    return mc_flushed(x);
}

/* The odd product first; each is exact, each sum is rounded. */
static inline simde__m512 mc_add_pairs(simde__m512 sum, simde__m512i a, simde__m512i b) {
    float to[16];
    uint16_t left[32], right[32];
    simde_mm512_storeu_ps(to, sum);
    simde_mm512_storeu_si512(left, a);
    simde_mm512_storeu_si512(right, b);
    for (int i = 0; i < 16; i++)
        for (int odd = 1; odd >= 0; odd--)
            to[i] = mc_flushed(to[i] +
                               mc_from_word(left[2 * i + odd]) * mc_from_word(right[2 * i + odd]));
    return simde_mm512_loadu_ps(to);
}

#undef __m512bh
#undef _mm512_dpbf16_ps
#define __m512bh simde__m512i
#define _mm512_dpbf16_ps(sum, a, b) mc_add_pairs(sum, a, b)

#ifndef _mm512_cvtepu16_epi32
static inline simde__m512i mc_widen_words(simde__m256i words) {
    uint16_t from[16];
    uint32_t to[16];
    memcpy(from, &words, sizeof from);
    for (int i = 0; i < 16; i++) to[i] = from[i];
    return simde_mm512_loadu_si512(to);
}
#define _mm512_cvtepu16_epi32(words) mc_widen_words(words)
#endif

/* ---- tiles ---- */

typedef union {
    uint8_t bytes[16][64];
    uint16_t words[16][32];
    float floats[16][16];
} mc_tile;

static _Thread_local struct {
    int configured, row_bytes[8], rows[8];
    mc_tile tile[8];
} mc_tiles;

static inline void mc_tiles_load_config(const void *memory) {
    const uint8_t *bytes = memory;
    if (bytes[0] != 1 || bytes[1] != 0) abort();
    for (int i = 2; i < 16; i++)
        if (bytes[i]) abort();
    memset(&mc_tiles, 0, sizeof mc_tiles);
    for (int i = 0; i < 8; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, bytes + 16 + 2 * i, 2);
        mc_tiles.row_bytes[i] = row_bytes;
        mc_tiles.rows[i] = bytes[48 + i];
        if (row_bytes > 64 || mc_tiles.rows[i] > 16) abort();
    }
    mc_tiles.configured = 1;
}

static inline void mc_tiles_release(void) {
    memset(&mc_tiles, 0, sizeof mc_tiles);
}

static inline mc_tile *mc_tile_of(int i) {
    if (!mc_tiles.configured || !mc_tiles.rows[i] || !mc_tiles.row_bytes[i]) abort();
    return &mc_tiles.tile[i];
}

static inline void mc_tile_load(int i, const void *from, ptrdiff_t stride) {
    mc_tile *tile = mc_tile_of(i);
    memset(tile, 0, sizeof *tile);
    for (int row = 0; row < mc_tiles.rows[i]; row++)
        memcpy(tile->bytes[row], (const char *)from + row * stride, (size_t)mc_tiles.row_bytes[i]);
}

static inline void mc_tile_clear(int i) {
    memset(mc_tile_of(i), 0, sizeof(mc_tile));
}

static inline void mc_tile_store(int i, void *to, ptrdiff_t stride) {
    const mc_tile *tile = mc_tile_of(i);
    for (int row = 0; row < mc_tiles.rows[i]; row++)
        memcpy((char *)to + row * stride, tile->bytes[row], (size_t)mc_tiles.row_bytes[i]);
}

/* sum += even taps + odd taps, each added up on its own. */
static inline void mc_tile_multiply(int to, int left, int right) {
    mc_tile *sum = mc_tile_of(to);
    const mc_tile *a = mc_tile_of(left), *b = mc_tile_of(right);
    const int pairs = mc_tiles.row_bytes[left] / 4, columns = mc_tiles.row_bytes[to] / 4;
    if (mc_tiles.rows[to] != mc_tiles.rows[left] || mc_tiles.rows[right] != pairs ||
        mc_tiles.row_bytes[right] != mc_tiles.row_bytes[to])
        abort();
    for (int row = 0; row < mc_tiles.rows[to]; row++)
        for (int c = 0; c < columns; c++) {
            float part[2] = {0, 0};
            for (int k = 0; k < pairs; k++) /* these products are exact */
                for (int odd = 0; odd < 2; odd++)
                    part[odd] = mc_flushed(part[odd] + mc_from_word(a->words[row][2 * k + odd]) *
                                                           mc_from_word(b->words[k][2 * c + odd]));
            sum->floats[row][c] = mc_flushed(sum->floats[row][c] + mc_flushed(part[0] + part[1]));
        }
}

#define _tile_loadconfig(memory) mc_tiles_load_config(memory)
#define _tile_release() mc_tiles_release()
#define _tile_zero(tile) mc_tile_clear(tile)
#define _tile_loadd(tile, from, stride) mc_tile_load(tile, from, stride)
#define _tile_stored(tile, to, stride) mc_tile_store(tile, to, stride)
#define _tile_dpbf16ps(to, left, right) mc_tile_multiply(to, left, right)

#endif
