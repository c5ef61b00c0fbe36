"""Thin binding of csrc/strokes.c: checks shapes, releases the GIL, reports the status."""

from libc.stdint cimport int64_t



cdef extern from "strokes.h":
    ctypedef enum mc_strokes_status:
        MC_STROKES_OK
    ctypedef struct mc_strokes_batch:
        const double *points
        const int64_t *stroke_offsets
        const int64_t *image_offsets
        const double *pens
        int64_t n_points
        int64_t n_strokes
        int64_t n_images
    mc_strokes_status mc_strokes_rasterize(
        const mc_strokes_batch *batch, float *images, int64_t *failed
    ) noexcept nogil


def rasterize(
    const double[:, ::1] points,
    const int64_t[::1] stroke_offsets,
    const int64_t[::1] image_offsets,
    const double[::1] pens,
    float[:, :, ::1] images,
):
    """Render a batch into `images`; returns (status, index of the image at fault or -1)."""
    cdef mc_strokes_batch batch
    cdef int64_t failed = -1
    cdef mc_strokes_status status
    if points.shape[1] != 2 or images.shape[1] != 28 or images.shape[2] != 28:
        raise ValueError("points must be (n, 2) and images (n, 28, 28)")
    if (stroke_offsets.shape[0] < 1 or image_offsets.shape[0] != images.shape[0] + 1
            or pens.shape[0] != images.shape[0]):
        raise ValueError("offsets, pens and images disagree in length")
    batch.n_points = points.shape[0]
    batch.n_strokes = stroke_offsets.shape[0] - 1
    batch.n_images = images.shape[0]
    batch.points = &points[0, 0] if batch.n_points else NULL
    batch.stroke_offsets = &stroke_offsets[0]
    batch.image_offsets = &image_offsets[0]
    batch.pens = &pens[0] if batch.n_images else NULL
    cdef float *pixels = &images[0, 0, 0] if batch.n_images else NULL
    with nogil:
        status = mc_strokes_rasterize(&batch, pixels, &failed)
    return <int>status, failed
