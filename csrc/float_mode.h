/* float_mode.h - how floats round in here, whatever the caller's mode: to nearest, and what is too
 * small for a normal float (below 2^-126) is 0. Such numbers turn up in long trainings, as moments
 * that decay and as gradients of images long learnt, and each costs an Intel core some 150 cycles.
 */
#ifndef MC_FLOAT_MODE_H
#define MC_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

/* No exception traps; bits 6 (read subnormals as 0) and 15 (write them as 0). */
static const unsigned MC_FLOAT_MODE = 0x1f80u | 1u << 6 | 1u << 15;

static inline uint64_t mc_get_float_mode(void) {
    return _mm_getcsr();
}

static inline void mc_put_float_mode(uint64_t mode) {
    _mm_setcsr((unsigned)mode);
}
#elif defined(__aarch64__)
static const uint64_t MC_FLOAT_MODE = 1u << 24; /* FPCR.FZ */

static inline uint64_t mc_get_float_mode(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}

static inline void mc_put_float_mode(uint64_t mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
}
#else
static const uint64_t MC_FLOAT_MODE = 0; /* whatever it is */

static inline uint64_t mc_get_float_mode(void) {
    return 0;
}

static inline void mc_put_float_mode(uint64_t mode) {
    (void)mode;
}
#endif

/* Returns the caller's mode, for mc_put_float_mode at the end. */
static inline uint64_t mc_enter_float_mode(void) {
    const uint64_t mode = mc_get_float_mode();
    mc_put_float_mode(MC_FLOAT_MODE);
    return mode;
}
#endif
