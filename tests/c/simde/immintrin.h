/* Stands in for the compiler's header when the AVX-512 kernels are built for a CPU without them:
 * SIMDe emulates each intrinsic under its own name. */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#ifndef _mm512_cvtepu8_epi32 /* not in every version of SIMDe */
static inline simde__m512i mc_simde_widen(simde__m128i bytes) {
    const simde__m128i_private from = simde__m128i_to_private(bytes);
    simde__m512i_private to;
    for (int i = 0; i < 16; i++) to.i32[i] = from.u8[i];
    return simde__m512i_from_private(to);
}
#define _mm512_cvtepu8_epi32(bytes) mc_simde_widen(bytes)
#endif

#ifndef _mm512_cvtepi32_ps
static inline simde__m512 mc_simde_floats(simde__m512i integers) {
    const simde__m512i_private from = simde__m512i_to_private(integers);
    simde__m512_private to;
    for (int i = 0; i < 16; i++) to.f32[i] = (float)from.i32[i];
    return simde__m512_from_private(to);
}
#define _mm512_cvtepi32_ps(integers) mc_simde_floats(integers)
#endif

#ifndef _mm512_cvtepi32_epi8
static inline simde__m128i mc_simde_bytes(const int32_t *from, int n) {
    uint8_t to[16] = {0};
    for (int i = 0; i < n; i++) to[i] = (uint8_t)from[i];
    return simde_mm_loadu_si128((const simde__m128i *)to);
}
static inline simde__m128i mc_simde_narrow(simde__m512i v) {
    int32_t from[16];
    simde_mm512_storeu_si512(from, v);
    return mc_simde_bytes(from, 16);
}
static inline simde__m128i mc_simde_narrow_half(simde__m256i v) {
    int32_t from[8];
    simde_mm256_storeu_si256((simde__m256i *)from, v);
    return mc_simde_bytes(from, 8);
}
#define _mm512_cvtepi32_epi8(v) mc_simde_narrow(v)
#define _mm256_cvtepi32_epi8(v) mc_simde_narrow_half(v)
#endif

#ifndef _mm_maskz_loadu_epi8
static inline simde__m128i mc_simde_load_bytes(unsigned mask, const void *from) {
    uint8_t to[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) to[i] = ((const uint8_t *)from)[i];
    return simde_mm_loadu_si128((const simde__m128i *)to);
}
#define _mm_maskz_loadu_epi8(mask, from) mc_simde_load_bytes(mask, from)
#endif

#ifndef _mm512_maskz_loadu_epi8
static inline simde__m512i mc_simde_load_64_bytes(uint64_t mask, const void *from) {
    uint8_t to[64] = {0};
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1) to[i] = ((const uint8_t *)from)[i];
    return simde_mm512_loadu_si512(to);
}
#define _mm512_maskz_loadu_epi8(mask, from) mc_simde_load_64_bytes(mask, from)
#endif

#ifndef _mm_mask_storeu_epi8
static inline void mc_simde_store_bytes(void *to, simde__mmask16 mask, simde__m128i v) {
    uint8_t bytes[16];
    memcpy(bytes, &v, sizeof bytes);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) ((uint8_t *)to)[i] = bytes[i];
}
#define _mm_mask_storeu_epi8(to, mask, v) mc_simde_store_bytes(to, mask, v)
#endif

#ifndef _mm512_shuffle_i64x2
static inline simde__m512i mc_simde_shuffle(simde__m512i a, simde__m512i b, int control) {
    int64_t from[2][8], to[8];
    simde_mm512_storeu_si512(from[0], a);
    simde_mm512_storeu_si512(from[1], b);
    for (int i = 0; i < 8; i++) to[i] = from[i / 4][(control >> i / 2 * 2 & 3) * 2 + i % 2];
    return simde_mm512_loadu_si512(to);
}
#define _mm512_shuffle_i64x2(a, b, control) mc_simde_shuffle(a, b, control)
#endif

#include "mc_amx.h"
