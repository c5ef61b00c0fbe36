/* Random numbers in bulk: see rng.h.
 *
 * Invariants: no state is kept; equal arguments give equal results on every machine (integers only,
 * and one exact conversion to float). */
#include "rng.h"

void mc_rng_uniform(uint64_t seed, uint64_t stream, float *out, size_t n) {
    for (size_t i = 0; i < n; i += 4) {
        uint32_t words[4];
        mc_rng_block(seed, MC_RNG_UNIFORM, stream, (uint32_t)(i / 4), words);
        for (size_t j = 0; j < 4 && i + j < n; j++) out[i + j] = mc_rng_float(words[j]);
    }
}

/* Fisher and Yates, from the last place down: place i changes with a place drawn from 0 .. i. */
void mc_rng_permutation(uint64_t seed, uint64_t epoch, int64_t *out, size_t n) {
    mc_rng rng = mc_rng_open(seed, MC_RNG_SHUFFLE, epoch);
    for (size_t i = 0; i < n; i++) out[i] = (int64_t)i;
    for (size_t i = n; i-- > 1;) {
        size_t j = mc_rng_bounded(&rng, (uint32_t)(i + 1));
        int64_t kept = out[i];
        out[i] = out[j];
        out[j] = kept;
    }
}
