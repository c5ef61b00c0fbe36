/* check.h - what the C tests share: failures that name themselves, exact blocks of memory, and
 * numbers from a seed. */
#ifndef MC_TEST_CHECK_H
#define MC_TEST_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

static int failures;

/* Returns `holds`, so that a test can stop at its first failure. */
static inline int check(int holds, const char *what) {
    if (!holds && failures++ < 40) fprintf(stderr, "FAIL: %s\n", what);
    return holds;
}

#define LIST(array) array, (int)(sizeof(array) / sizeof *(array)) /* and its length, for a call */

/* Of exactly that size, so that the sanitizer sees a step beyond either end. */
static inline void *take(size_t bytes) {
    void *block = malloc(bytes ? bytes : 1);
    if (!block) exit(2);
    return block;
}

/* Uniform in [-1, 1). */
static inline float *take_random(size_t n, uint64_t stream) {
    float *x = take(n * sizeof *x);
    mc_rng_uniform(1, stream, x, n);
    for (size_t i = 0; i < n; i++) x[i] = 2 * x[i] - 1;
    return x;
}

static inline float *take_copy(const float *x, size_t n) {
    float *y = take(n * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* Largest difference; infinite if one of them is no number and the other is. */
static inline double largest_error(const float *a, const float *b, size_t n) {
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - b[i]);
        if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) continue;
        most = d > most || isnan(d) ? (isnan(d) ? INFINITY : d) : most;
    }
    return most;
}

#endif
