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

#include "mc_amx.h"
