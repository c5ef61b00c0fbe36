/* strokes-v1: pen strokes to MNIST-like images, as an arithmetic distance field.
 *
 * Shapes: points (n, 2) double, images (n_images, 28, 28) float, row-major.
 * Pixel (row i, column j) has its centre at x = j, y = i; all work is in double.
 *
 * Invariants:
 *  - the result depends on nothing but the arguments, and not on an image's neighbours in a batch;
 *  - the cost of an image is bounded: thinning caps the points, a segment looks at its ink only;
 *  - no intermediate overflows for finite input: points are brought to a safe magnitude first.
 * The JavaScript twin does the same operations in the same order. */

#include "strokes.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SIZE MC_STROKES_SIZE
#define CENTRE 14.0
#define THINNING (1.0 / 16.0) /* pixels: points nearer than this to the last kept one go */
#define FAR 1e30              /* squared distance of a pixel that no segment has come near */

/* Kept points of one image; stroke k ends before ends[k] and begins where stroke k - 1 ended. */
typedef struct {
    double *x, *y;
    int64_t *ends;
    int64_t n_points, n_strokes;
} kept_strokes;

typedef struct {
    double scale, x, y; /* pixel = (coordinate * unit - x) * scale + CENTRE */
    double unit;        /* power of two that brings huge or tiny coordinates near 1 */
} mapping;

static double min(double a, double b) {
    return a < b ? a : b;
}

static double max(double a, double b) {
    return a > b ? a : b;
}

/* Bounding box -> mapping onto the box of 20 pixels, pen included. */
static mc_strokes_status fit_box(const double *points, int64_t n, double pen, mapping *map) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double x = points[2 * i], y = points[2 * i + 1];
        if (!isfinite(x) || !isfinite(y)) return MC_STROKES_NOT_FINITE;
        x0 = min(x0, x), x1 = max(x1, x);
        y0 = min(y0, y), y1 = max(y1, y);
    }
    double magnitude = max(max(fabs(x0), fabs(x1)), max(fabs(y0), fabs(y1)));
    map->unit = magnitude > 0x1p400 ? 0x1p-600 : magnitude < 0x1p-400 ? 0x1p600 : 1.0;
    x0 *= map->unit, x1 *= map->unit;
    y0 *= map->unit, y1 *= map->unit;
    double extent = max(x1 - x0, y1 - y0);
    /* An extent this small next to coordinates near 1 is a dot; its inverse would overflow. */
    map->scale = extent < 1e-300 ? 0.0 : (MC_STROKES_BOX - pen) / extent;
    map->x = (x0 + x1) / 2;
    map->y = (y0 + y1) / 2;
    return MC_STROKES_OK;
}

/* Maps one stroke into pixels, dropping points too near to the last kept one. The last point is
 * always kept, so that a stroke ends where the pen left the pad. */
static mc_strokes_status keep_stroke(const double *points, int64_t n, const mapping *map,
                                     kept_strokes *kept) {
    int64_t first = kept->n_points, count = first;
    for (int64_t i = 0; i < n; i++) {
        double x = (points[2 * i] * map->unit - map->x) * map->scale + CENTRE;
        double y = (points[2 * i + 1] * map->unit - map->y) * map->scale + CENTRE;
        if (count > first && i < n - 1) {
            double dx = x - kept->x[count - 1], dy = y - kept->y[count - 1];
            if (dx * dx + dy * dy < THINNING * THINNING) continue;
        }
        if (count == MC_STROKES_MAX_KEPT) return MC_STROKES_TOO_MANY_POINTS;
        kept->x[count] = x;
        kept->y[count] = y;
        count++;
    }
    if (count == first) return MC_STROKES_OK; /* an empty stroke */
    kept->n_points = count;
    kept->ends[kept->n_strokes++] = count;
    return MC_STROKES_OK;
}

/* Lowers squared[] (SIZE, SIZE) to the squared distance to segment a-b, wherever that is within
 * reach. A row looks no farther than the two lines at that distance, so that a long segment costs
 * as many pixels as its ink has, and passes over what is full of ink already. */
static void draw_segment(double ax, double ay, double bx, double by, double reach,
                         double *squared) {
    double dx = bx - ax, dy = by - ay;
    double length2 = dx * dx + dy * dy;
    double inverse = length2 > 1e-24 ? 1.0 / length2 : 0.0; /* else as good as a point */
    double left = max(min(ax, bx) - reach, 0), right = min(max(ax, bx) + reach, SIZE - 1);
    int top = (int)max(ceil(min(ay, by) - reach), 0);
    int bottom = (int)min(floor(max(ay, by) + reach), SIZE - 1);
    bool steep = fabs(dy) > 1e-3; /* else the lines are no narrower than the segment's box */
    double slope = steep ? dx / dy : 0.0;
    double half = steep ? reach * sqrt(length2) / fabs(dy) + 1e-6 : FAR;
    double core = max(reach - 1, 0), full = core * core;
    for (int i = top; i <= bottom; i++) {
        double *row = squared + SIZE * i;
        double py = i - ay, middle = ax + py * slope;
        int last = (int)floor(min(right, middle + half));
        for (int j = (int)ceil(max(left, middle - half)); j <= last; j++) {
            if (row[j] <= full) continue;
            double px = j - ax;
            double t = (px * dx + py * dy) * inverse;
            t = t < 0.0 ? 0.0 : t;
            t = t > 1.0 ? 1.0 : t;
            double ex = px - t * dx, ey = py - t * dy;
            double d = ex * ex + ey * ey;
            row[j] = d < row[j] ? d : row[j];
        }
    }
}

/* Coverage of every pixel: clamp(1/2 + pen/2 - distance, 0, 1) into ink (SIZE, SIZE). */
static void draw(const kept_strokes *kept, double pen, double *ink) {
    double reach = pen / 2 + 0.5;
    for (int p = 0; p < SIZE * SIZE; p++) ink[p] = FAR;
    int64_t begin = 0;
    for (int64_t k = 0; k < kept->n_strokes; k++) {
        int64_t last = kept->ends[k] - 1;
        const double *x = kept->x, *y = kept->y;
        if (begin == last) draw_segment(x[begin], y[begin], x[begin], y[begin], reach, ink);
        for (int64_t i = begin; i < last; i++)
            draw_segment(x[i], y[i], x[i + 1], y[i + 1], reach, ink);
        begin = last + 1;
    }
    for (int p = 0; p < SIZE * SIZE; p++) ink[p] = max(min(reach - sqrt(ink[p]), 1.0), 0.0);
}

/* Moves the points so that the centre of mass of ink comes to (14, 14). */
static void centre_mass(kept_strokes *kept, const double *ink) {
    double mass = 0, sum_x = 0, sum_y = 0;
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++) {
            double v = ink[SIZE * i + j];
            mass += v;
            sum_x += v * j;
            sum_y += v * i;
        }
    }
    if (!(mass > 0)) return;
    double dx = CENTRE - sum_x / mass, dy = CENTRE - sum_y / mass;
    for (int64_t i = 0; i < kept->n_points; i++) {
        kept->x[i] += dx;
        kept->y[i] += dy;
    }
}

static mc_strokes_status draw_image(const mc_strokes_batch *batch, int64_t image,
                                    kept_strokes *kept, float *pixels) {
    const int64_t *offsets = batch->stroke_offsets;
    int64_t begin = batch->image_offsets[image], end = batch->image_offsets[image + 1];
    int64_t first = offsets[begin], n_points = offsets[end] - first;
    double pen = batch->pens[image], ink[SIZE * SIZE];
    if (!(pen > 0 && pen <= MC_STROKES_MAX_PEN)) return MC_STROKES_BAD_PEN;
    if (n_points > MC_STROKES_MAX_POINTS || end - begin > MC_STROKES_MAX_POINTS)
        return MC_STROKES_TOO_MANY_POINTS;
    memset(pixels, 0, sizeof(float) * SIZE * SIZE);
    if (n_points == 0) return MC_STROKES_OK;

    mapping map;
    mc_strokes_status status = fit_box(batch->points + 2 * first, n_points, pen, &map);
    kept->n_points = kept->n_strokes = 0;
    for (int64_t k = begin; k < end && status == MC_STROKES_OK; k++)
        status =
            keep_stroke(batch->points + 2 * offsets[k], offsets[k + 1] - offsets[k], &map, kept);
    if (status != MC_STROKES_OK) return status;

    draw(kept, pen, ink);
    centre_mass(kept, ink);
    draw(kept, pen, ink);
    for (int p = 0; p < SIZE * SIZE; p++) pixels[p] = (float)ink[p];
    return MC_STROKES_OK;
}

static bool spans(const int64_t *offsets, int64_t n, int64_t total) {
    if (offsets[0] != 0 || offsets[n] != total) return false;
    for (int64_t i = 0; i < n; i++)
        if (offsets[i] > offsets[i + 1]) return false;
    return true;
}

/* Room for the largest image of the batch in one block: x, y and the ends of its strokes (a kept
 * stroke has a kept point, so there are never more of them than points). */
static bool allocate(const mc_strokes_batch *batch, kept_strokes *kept) {
    int64_t most = 1;
    for (int64_t i = 0; i < batch->n_images; i++) {
        int64_t n = batch->stroke_offsets[batch->image_offsets[i + 1]] -
                    batch->stroke_offsets[batch->image_offsets[i]];
        if (n > most) most = n;
    }
    if (most > MC_STROKES_MAX_KEPT) most = MC_STROKES_MAX_KEPT;
    kept->x = malloc((size_t)most * (2 * sizeof(double) + sizeof(int64_t)));
    if (kept->x == NULL) return false;
    kept->y = kept->x + most;
    kept->ends = (int64_t *)(kept->y + most);
    return true;
}

mc_strokes_status mc_strokes_rasterize(const mc_strokes_batch *batch, float *images,
                                       int64_t *failed) {
    kept_strokes kept;
    *failed = -1;
    if (batch->n_points < 0 || batch->n_strokes < 0 || batch->n_images < 0 ||
        !spans(batch->stroke_offsets, batch->n_strokes, batch->n_points) ||
        !spans(batch->image_offsets, batch->n_images, batch->n_strokes))
        return MC_STROKES_BAD_OFFSETS;
    if (!allocate(batch, &kept)) return MC_STROKES_NO_MEMORY;
    mc_strokes_status status = MC_STROKES_OK;
    for (int64_t i = 0; i < batch->n_images && status == MC_STROKES_OK; i++) {
        status = draw_image(batch, i, &kept, images + i * SIZE * SIZE);
        if (status != MC_STROKES_OK) *failed = i;
    }
    free(kept.x);
    return status;
}
