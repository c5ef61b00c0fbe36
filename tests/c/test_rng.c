/* Philox against the published known answers, and the functions built on it. Exit status 0: all
 * hold. Known answers: Random123's kat_vectors, philox4x32 10. */
#include "rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void check(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "FAIL: %s\n", what);
    failures++;
}

static void test_known_answers(void) {
    static const uint32_t cases[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        mc_philox(cases[i] + 4, cases[i], out);
        check(memcmp(out, cases[i] + 6, sizeof out) == 0, "Philox4x32-10 known answer");
    }
}

static void test_uniform(void) {
    enum { N = 100003 };
    float *x = malloc(N * sizeof *x);
    if (!x) exit(2);
    mc_rng_uniform(7, 3, x, N);
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        if (!(x[i] >= 0 && x[i] < 1)) check(0, "uniform in [0, 1)");
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    check(sum / N > 0.495 && sum / N < 0.505, "mean of the uniform");
    check(squares / N > 0.328 && squares / N < 0.338, "second moment of the uniform");
    uint32_t words[4];
    mc_rng_block(7, MC_RNG_UNIFORM, 3, 25000, words);
    check(x[100002] == mc_rng_float(words[2]), "value i is word i % 4 of block i / 4");
    free(x);
}

static void test_bounded(void) {
    mc_rng rng = mc_rng_open(1, MC_RNG_UNIFORM, 0);
    int counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint32_t value = mc_rng_bounded(&rng, 7);
        if (value < 7)
            counts[value]++;
        else
            check(0, "bounded below its bound");
    }
    for (int i = 0; i < 7; i++) check(abs(counts[i] - 10000) < 400, "bounded is even");
    check(mc_rng_bounded(&rng, 1) == 0, "bound 1");
    check(mc_rng_bounded(&rng, 0xffffffffu) < 0xffffffffu, "greatest bound");
}

static void test_permutation(void) {
    enum { N = 1000 };
    int64_t a[N], b[N], none = 42;
    unsigned char seen[N] = {0};
    mc_rng_permutation(5, 0, a, N);
    mc_rng_permutation(5, 0, b, N);
    check(memcmp(a, b, sizeof a) == 0, "a permutation repeats");
    int fixed = 0;
    for (int i = 0; i < N; i++) {
        if (a[i] < 0 || a[i] >= N || seen[a[i]]++) check(0, "each index once");
        fixed += a[i] == i;
    }
    check(fixed < 10, "a permutation moves nearly all");
    mc_rng_permutation(5, 1, b, N);
    check(memcmp(a, b, sizeof a) != 0, "another epoch, another order");
    mc_rng_permutation(5, 1, &none, 0);
    check(none == 42, "nothing to permute");
    mc_rng_permutation(5, 1, &none, 1);
    check(none == 0, "one place");
}

int main(void) {
    test_known_answers();
    test_uniform();
    test_bounded();
    test_permutation();
    return failures != 0;
}
