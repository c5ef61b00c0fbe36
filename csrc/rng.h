/* Counter-based random numbers: Philox4x32-10.
 *
 * Purpose: every random number of the package is a pure function of (seed, purpose, stream, place),
 * so results never depend on which thread asks, in which order, or how often.
 *
 * J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011. One call turns a key (the seed) and a counter into 4 words of 32 bits.
 *
 * Counter layout used here: { block, stream low, stream high, domain }. Domains keep purposes
 * apart, so that the same seed may serve all of them. */
#ifndef MC_RNG_H
#define MC_RNG_H

#include <stddef.h>
#include <stdint.h>

enum {
    MC_RNG_UNIFORM = 0, /* weight initialisation and whatever asks for plain floats */
    MC_RNG_SHUFFLE = 1, /* stream: epoch */
    MC_RNG_DROPOUT = 2, /* stream: minibatch, layer and position, as the caller arranges them */
    MC_RNG_AUGMENT = 3, /* stream: epoch << 32 | image index */
};

#define MC_PHILOX_M0 0xD2511F53u
#define MC_PHILOX_M1 0xCD9E8D57u
#define MC_PHILOX_W0 0x9E3779B9u
#define MC_PHILOX_W1 0xBB67AE85u
#define MC_PHILOX_ROUNDS 10

static inline void mc_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < MC_PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MC_PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)MC_PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += MC_PHILOX_W0;
        k1 += MC_PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static inline void mc_rng_key(uint64_t seed, uint32_t key[2]) {
    key[0] = (uint32_t)seed;
    key[1] = (uint32_t)(seed >> 32);
}

/* The 4 words of one block. */
static inline void mc_rng_block(uint64_t seed, uint32_t domain, uint64_t stream, uint32_t block,
                                uint32_t out[4]) {
    uint32_t key[2];
    mc_rng_key(seed, key);
    const uint32_t counter[4] = {block, (uint32_t)stream, (uint32_t)(stream >> 32), domain};
    mc_philox(key, counter, out);
}

/* Uniform in [0, 1): the upper 24 bits, so every value is a float exactly and 1 is never reached.
 */
static inline float mc_rng_float(uint32_t word) {
    return (float)(word >> 8) * 0x1p-24f;
}

/* Uniform in [-1, 1). */
static inline float mc_rng_signed(uint32_t word) {
    return (float)(word >> 8) * 0x1p-23f - 1.0f;
}

/* One word after the other; for the places where the number of draws is not known before. */
typedef struct mc_rng {
    uint64_t seed, stream;
    uint32_t domain, block;
    uint32_t words[4];
    int used;
} mc_rng;

static inline mc_rng mc_rng_open(uint64_t seed, uint32_t domain, uint64_t stream) {
    return (mc_rng){.seed = seed, .stream = stream, .domain = domain, .used = 4};
}

static inline uint32_t mc_rng_next(mc_rng *rng) {
    if (rng->used == 4) {
        mc_rng_block(rng->seed, rng->domain, rng->stream, rng->block++, rng->words);
        rng->used = 0;
    }
    return rng->words[rng->used++];
}

/* Uniform in 0 .. bound - 1 without bias (Lemire 2019: multiply, and reject the few short
 * intervals); bound >= 1. */
static inline uint32_t mc_rng_bounded(mc_rng *rng, uint32_t bound) {
    uint64_t product = (uint64_t)mc_rng_next(rng) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = (0u - bound) % bound;
        while ((uint32_t)product < threshold) product = (uint64_t)mc_rng_next(rng) * bound;
    }
    return (uint32_t)(product >> 32);
}

/* out: (n,), uniform in [0, 1); out[i] is word i % 4 of block i / 4. n <= 2^34. */
void mc_rng_uniform(uint64_t seed, uint64_t stream, float *out, size_t n);

/* out: (n,), 0 .. n - 1 in the random order of that epoch. n < 2^32. */
void mc_rng_permutation(uint64_t seed, uint64_t epoch, int64_t *out, size_t n);

#endif
