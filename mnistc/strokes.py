"""Pen strokes to the images that the networks read (``strokes-v1``).

A stroke is a list of points (x, y) with y growing downwards, in any unit; a drawing is a list of
strokes. Ink is 1 and paper 0. Scaling and centring follow the way MNIST was made, so where and
how large somebody draws does not matter. Points within 1/16 px of the last one that was kept are
passed over, so that trembling or a fast tablet costs nothing. Ink that centring moves beyond the
border is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnistc import _strokes
from mnistc.bitmap import from_bitmap, load_image

SIZE = 28
PEN_WIDTH = 2.4
MAX_PEN_WIDTH = 10.0
MAX_POINTS = 100_000
MAX_KEPT_POINTS = 10_000

Strokes: TypeAlias = Sequence[ArrayLike]

_NOT_FINITE, _TOO_MANY_POINTS, _BAD_PEN, _BAD_OFFSETS, _NO_MEMORY = range(1, 6)

__all__ = [
    "MAX_KEPT_POINTS",
    "MAX_PEN_WIDTH",
    "MAX_POINTS",
    "PEN_WIDTH",
    "SIZE",
    "Strokes",
    "from_bitmap",
    "load_image",
    "rasterize",
    "rasterize_flat",
    "rasterize_many",
]


def rasterize(strokes: Strokes, pen_width: float = PEN_WIDTH) -> NDArray[np.float32]:
    """Render one drawing.

    Parameters
    ----------
    strokes : sequence of array_like, each of shape (n_points, 2)
        Points x, y with y growing downwards, in any unit. Empty strokes are ignored; a drawing
        without points gives a blank image.
    pen_width : float
        Width of the pen in pixels of the image, above 0 and up to 10.

    Returns
    -------
    ndarray of shape (28, 28), float32
        Ink 1, paper 0, the centre of mass at (14, 14) as far as the image holds all ink.

    Raises
    ------
    TypeError, ValueError
        If the strokes are no numbers, not finite, of another shape, or too many.
    """
    image: NDArray[np.float32] = rasterize_many([strokes], pen_width)[0]
    return image


def rasterize_many(
    drawings: Sequence[Strokes], pen_width: float | ArrayLike = PEN_WIDTH
) -> NDArray[np.float32]:
    """Render many drawings.

    Parameters
    ----------
    drawings : sequence of drawings
        Each as in `rasterize`.
    pen_width : float or array_like of shape (n,)
        One width for all, or one for each drawing.

    Returns
    -------
    ndarray of shape (n, 28, 28), float32
    """
    strokes: list[NDArray[np.float64]] = []
    image_offsets = [0]
    for i, drawing in enumerate(drawings):
        if isinstance(drawing, (str, bytes)) or not hasattr(drawing, "__len__"):
            raise TypeError(f"drawing {i}: got {type(drawing).__name__}, wanted a list of strokes")
        strokes.extend(_stroke_array(stroke, i, k) for k, stroke in enumerate(drawing))
        image_offsets.append(len(strokes))
    lengths = [0, *(len(stroke) for stroke in strokes)]
    points = np.concatenate(strokes) if strokes else np.empty((0, 2))
    return rasterize_flat(points, np.cumsum(lengths), image_offsets, pen_width)


def rasterize_flat(
    points: ArrayLike,
    stroke_offsets: ArrayLike,
    image_offsets: ArrayLike,
    pen_width: float | ArrayLike = PEN_WIDTH,
) -> NDArray[np.float32]:
    """Render many drawings that lie one after the other in flat arrays; the fast way.

    Parameters
    ----------
    points : array_like of shape (n_points, 2)
        The points of all strokes.
    stroke_offsets : array_like of int, shape (n_strokes + 1,)
        Stroke k is ``points[stroke_offsets[k]:stroke_offsets[k + 1]]``.
    image_offsets : array_like of int, shape (n + 1,)
        Drawing i has the strokes ``image_offsets[i]`` to ``image_offsets[i + 1]``.
    pen_width : float or array_like of shape (n,)
        One width for all, or one for each drawing.

    Returns
    -------
    ndarray of shape (n, 28, 28), float32
    """
    flat = np.ascontiguousarray(points, np.float64)
    if flat.ndim != 2 or flat.shape[1] != 2:
        raise ValueError(f"points: got shape {flat.shape}, wanted (n_points, 2)")
    strokes = _offsets(stroke_offsets, "stroke_offsets")
    drawings = _offsets(image_offsets, "image_offsets")
    n = len(drawings) - 1
    pens = np.asarray(pen_width)
    if pens.dtype.kind not in "iuf":
        raise ValueError(f"pen_width: got {pen_width!r}, wanted numbers")
    if pens.ndim != 0 and pens.shape != (n,):
        raise ValueError(f"pen_width: got shape {pens.shape}, wanted one number or ({n},)")
    pens = np.ascontiguousarray(np.broadcast_to(pens, (n,)), np.float64)
    images = np.empty((n, SIZE, SIZE), np.float32)
    status, failed = _strokes.rasterize(flat, strokes, drawings, pens, images)
    if status:
        _raise(status, failed, pens)
    return images


def _stroke_array(stroke: Any, drawing: int, index: int) -> NDArray[np.float64]:
    where = f"drawing {drawing}, stroke {index}"
    try:
        points = np.asarray(stroke, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{where}: wanted points (x, y) of numbers ({error})") from None
    if points.shape == (0,):
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{where}: got shape {points.shape}, wanted (n_points, 2)")
    return points


def _offsets(values: ArrayLike, name: str) -> NDArray[np.int64]:
    offsets = np.asarray(values)
    if offsets.ndim != 1 or not len(offsets) or offsets.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: got shape {offsets.shape} of {offsets.dtype}, wanted a list of integers"
        )
    return np.ascontiguousarray(offsets, np.int64)


def _raise(status: int, failed: int, pens: NDArray[np.float64]) -> None:
    if status == _NO_MEMORY:
        raise MemoryError("no memory to draw in")
    if status == _BAD_OFFSETS:
        raise ValueError("offsets: wanted from 0, never decreasing, up to the length they divide")
    what = {
        _NOT_FINITE: "a coordinate is NaN or infinite",
        _TOO_MANY_POINTS: f"too many points, at most {MAX_POINTS:,} and "
        f"{MAX_KEPT_POINTS:,} that are 1/16 pixel apart",
        _BAD_PEN: f"pen_width is {pens[failed]:g}, wanted above 0 and at most {MAX_PEN_WIDTH:g}",
    }[status]
    raise ValueError(f"drawing {failed}: {what}")
