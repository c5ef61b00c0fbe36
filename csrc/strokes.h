#ifndef MC_STROKES_H
#define MC_STROKES_H

#include <stdint.h>

/* strokes-v1: pen strokes to 28 x 28 images. No Python, no global state, never prints. */

enum {
    MC_STROKES_SIZE = 28,           /* side of the image, pixels */
    MC_STROKES_MAX_POINTS = 100000, /* points, and strokes, of one image, as given */
    MC_STROKES_MAX_KEPT = 10000,    /* points of one image, after thinning */
};

#define MC_STROKES_BOX 20.0     /* longer side of the ink, pen included, pixels */
#define MC_STROKES_MAX_PEN 10.0 /* widest pen, pixels */

typedef enum {
    MC_STROKES_OK = 0,
    MC_STROKES_NOT_FINITE,      /* a coordinate is NaN or infinite */
    MC_STROKES_TOO_MANY_POINTS, /* over one of the two limits above; strokes too */
    MC_STROKES_BAD_PEN,         /* not in (0, MC_STROKES_MAX_PEN] */
    MC_STROKES_BAD_OFFSETS,     /* offsets decrease or do not span their array */
    MC_STROKES_NO_MEMORY,
} mc_strokes_status;

/* A batch of drawings. Stroke k is points[stroke_offsets[k] .. stroke_offsets[k + 1]), image i is
 * the strokes [image_offsets[i] .. image_offsets[i + 1]). Empty strokes and images are allowed. */
typedef struct {
    const double *points;          /* (n_points, 2): x, y with y down, any unit */
    const int64_t *stroke_offsets; /* (n_strokes + 1) */
    const int64_t *image_offsets;  /* (n_images + 1) */
    const double *pens;            /* (n_images): pen width of each image, pixels */
    int64_t n_points, n_strokes, n_images;
} mc_strokes_batch;

/* Renders a batch into images (n_images, 28, 28), ink 1 on paper 0. On an error *failed is the
 * index of the offending image (-1 where the batch as a whole is at fault) and the images from
 * there on are not written. One allocation a call, none per image. */
mc_strokes_status mc_strokes_rasterize(const mc_strokes_batch *batch, float *images,
                                       int64_t *failed);

#endif
