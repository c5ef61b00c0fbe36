/* Tests of csrc/strokes.c without Python, to be run under the address and undefined-behaviour
 * sanitizers:
 *   cc -std=c11 -g -fsanitize=address,undefined -Icsrc tests/c/test_strokes.c csrc/strokes.c -lm
 * Returns the number of failed checks. */

#include "strokes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PIXELS (MC_STROKES_SIZE * MC_STROKES_SIZE)
#define COUNT(array) ((int64_t)(sizeof(array) / sizeof(*(array))))
#define CHECK(what) check(what, #what, __LINE__)

static int failures;

static void check(int holds, const char *what, int line) {
    if (holds) return;
    failures++;
    fprintf(stderr, "line %d: not so: %s\n", line, what);
}

/* Draws one stroke of n points. */
static mc_strokes_status draw(const double *points, int64_t n, double pen, float *image) {
    int64_t strokes[] = {0, n}, images[] = {0, 1}, failed;
    mc_strokes_batch batch = {points, strokes, images, &pen, n, 1, 1};
    return mc_strokes_rasterize(&batch, image, &failed);
}

static double sum(const float *image) {
    double total = 0;
    for (int p = 0; p < PIXELS; p++) total += image[p];
    return total;
}

static void test_dot(void) {
    float image[PIXELS];
    const double point[] = {3, 4};
    CHECK(draw(point, 1, 2.4, image) == MC_STROKES_OK);
    CHECK(image[14 * 28 + 14] == 1.0f);
    CHECK(fabs(image[14 * 28 + 15] - 0.7f) < 1e-6); /* 1/2 + 1.2 - 1 */
    CHECK(image[14 * 28 + 16] == 0.0f);
    CHECK(image[0] == 0.0f);
}

static void test_nothing(void) {
    float image[PIXELS];
    image[5] = 7;
    CHECK(draw(NULL, 0, 2.4, image) == MC_STROKES_OK);
    CHECK(sum(image) == 0);
    int64_t none[] = {0}, failed;
    mc_strokes_batch batch = {NULL, none, none, NULL, 0, 0, 0};
    CHECK(mc_strokes_rasterize(&batch, NULL, &failed) == MC_STROKES_OK);
}

static void test_extreme_coordinates(void) {
    const double values[] = {0, 5e-324, 1e-310, 1e-200, 1, 1e16, 1e200, 1.7e308, -1.7e308, -1};
    float image[PIXELS];
    for (int64_t a = 0; a < COUNT(values); a++)
        for (int64_t b = 0; b < COUNT(values); b++) {
            double points[] = {values[a], values[b], values[b], values[a], values[a], values[a]};
            CHECK(draw(points, 3, 2.4, image) == MC_STROKES_OK);
            CHECK(isfinite(sum(image)) && sum(image) > 1);
        }
}

static void test_errors(void) {
    float image[PIXELS];
    const double bad[] = {0, 0, NAN, 1}, infinite[] = {0, 0, 1, INFINITY}, good[] = {0, 0, 1, 1};
    CHECK(draw(bad, 2, 2.4, image) == MC_STROKES_NOT_FINITE);
    CHECK(draw(infinite, 2, 2.4, image) == MC_STROKES_NOT_FINITE);
    CHECK(draw(good, 2, 0, image) == MC_STROKES_BAD_PEN);
    CHECK(draw(good, 2, 10.5, image) == MC_STROKES_BAD_PEN);
    CHECK(draw(good, 2, NAN, image) == MC_STROKES_BAD_PEN);
    CHECK(draw(good, 2, 10, image) == MC_STROKES_OK);
}

static void test_limits(void) {
    int64_t n = MC_STROKES_MAX_POINTS + 1;
    double *points = calloc((size_t)n, 2 * sizeof *points);
    float image[PIXELS];
    if (points == NULL) abort();
    CHECK(draw(points, n, 2.4, image) == MC_STROKES_TOO_MANY_POINTS);
    CHECK(draw(points, n - 1, 2.4, image) == MC_STROKES_OK);
    for (int64_t i = 0; i < n; i++) points[2 * i] = points[2 * i + 1] = i % 2;
    CHECK(draw(points, MC_STROKES_MAX_KEPT + 1, 2.4, image) == MC_STROKES_TOO_MANY_POINTS);
    CHECK(draw(points, MC_STROKES_MAX_KEPT, 2.4, image) == MC_STROKES_OK);
    free(points);
    int64_t *empty = calloc((size_t)n + 1, sizeof *empty), images[] = {0, n}, failed;
    if (empty == NULL) abort();
    double pen = 2.4;
    mc_strokes_batch batch = {NULL, empty, images, &pen, 0, n, 1};
    CHECK(mc_strokes_rasterize(&batch, image, &failed) == MC_STROKES_TOO_MANY_POINTS);
    batch.n_strokes = images[1] = n - 1;
    CHECK(mc_strokes_rasterize(&batch, image, &failed) == MC_STROKES_OK);
    free(empty);
}

static void test_offsets(void) {
    const double points[] = {0, 0, 1, 1, 2, 0}, pens[] = {2, 2};
    float images[2 * PIXELS];
    int64_t failed;
    int64_t strokes[][3] = {{0, 2, 3}, {0, 3, 2}, {1, 2, 3}, {0, 4, 3}, {0, -1, 3}, {0, 1, 2}};
    int64_t drawings[][3] = {{0, 1, 2}, {0, 2, 1}, {0, 3, 2}, {0, -1, 2}, {1, 1, 2}};
    for (int64_t s = 0; s < COUNT(strokes); s++)
        for (int64_t d = 0; d < COUNT(drawings); d++) {
            mc_strokes_batch batch = {points, strokes[s], drawings[d], pens, 3, 2, 2};
            mc_strokes_status status = mc_strokes_rasterize(&batch, images, &failed);
            CHECK(status == (s || d ? MC_STROKES_BAD_OFFSETS : MC_STROKES_OK));
            CHECK(failed == -1);
        }
}

static void test_batch_names_the_image_at_fault(void) {
    const double points[] = {0, 0, 1, 1, NAN, 0}, pens[] = {2, 2, 2};
    int64_t strokes[] = {0, 2, 3, 3}, drawings[] = {0, 1, 2, 3}, failed;
    float images[3 * PIXELS];
    mc_strokes_batch batch = {points, strokes, drawings, pens, 3, 3, 3};
    CHECK(mc_strokes_rasterize(&batch, images, &failed) == MC_STROKES_NOT_FINITE);
    CHECK(failed == 1);
    CHECK(sum(images) > 1);
}

int main(void) {
    test_dot();
    test_nothing();
    test_extreme_coordinates();
    test_errors();
    test_limits();
    test_offsets();
    test_batch_names_the_image_at_fault();
    printf("%d failed\n", failures);
    return failures;
}
