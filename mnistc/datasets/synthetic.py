"""Our own handwritten digits: skeletons as pen strokes, varied, and drawn by the rasteriser.

A drawing is a mixture of the shapes of one style (`skeletons`). Its control points are jittered,
joined by a smooth curve, bent by a smooth deformation of the plane, shaken, slanted, turned and
stretched. All of it is linear algebra on many drawings at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mnistc import strokes as _strokes
from mnistc.datasets.dataset import DIGITS, Dataset, StrokeSet, ink_bytes
from mnistc.datasets.skeletons import ASPECT, STYLES

Floats = NDArray[np.float64]

BLOCK = 2000  # drawings generated together; a block depends on the seed and its number only
POINTS_PER_PIECE = 4  # of the curve, between two control points
N_TRAIN, N_TEST = 60_000, 10_000

__all__ = ["generate", "load", "strokes"]


@dataclass(frozen=True)
class Style:
    """One way of writing a digit: k control points, p points of the curve.

    Attributes
    ----------
    shapes : ndarray of shape (shapes, k, 2)
    curve : ndarray of shape (p, k)
        Makes the points of the curve from the control points.
    ends : ndarray of shape (strokes, 2, 2), int
        Each stroke's first and last control point, each with the next one towards the inside.
    control_stroke, point_stroke : ndarray of shape (k,) and (p,), int
        The stroke that a point belongs to.
    """

    digit: int
    share: float
    shapes: Floats
    curve: Floats
    ends: NDArray[np.intp]
    control_stroke: NDArray[np.intp]
    point_stroke: NDArray[np.intp]


def generate(
    n: int, seed: int = 0, *, part: int = 0, pen_width: float | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw n digits.

    Parameters
    ----------
    n : int
    seed : int
        The same seed gives the same digits, however many are asked for.
    part : int
        Another number gives other digits: 0 is for training and 1 for testing.
    pen_width : float, optional
        One pen for all, in pixels; by default each drawing has its own, about 2.4.

    Returns
    -------
    images : ndarray of shape (n, 28, 28), uint8
        Ink 255.
    labels : ndarray of shape (n,), uint8
    """
    _check(n, seed)
    images = np.empty((n, _strokes.SIZE, _strokes.SIZE), np.uint8)
    labels = np.empty(n, np.uint8)
    for start in range(0, n, BLOCK):
        drawn = _block(seed, part, start // BLOCK)
        pens = drawn.pens if pen_width is None else pen_width
        ink = _strokes.rasterize_flat(
            drawn.points, drawn.stroke_offsets, drawn.drawing_offsets, pens
        )
        # The block is sorted by style; put its drawings back in their order and cut the rest.
        stop = min(start + BLOCK, n)
        images[start:stop] = ink_bytes(ink)[drawn.place[: stop - start]]
        labels[start:stop] = drawn.labels[drawn.place[: stop - start]]
    return images, labels


def strokes(n: int, seed: int = 0, *, part: int = 0) -> StrokeSet:
    """The pen strokes of the digits that `generate` draws with the same arguments."""
    _check(n, seed)
    drawings: list[list[Floats]] = []
    labels = []
    for start in range(0, n, BLOCK):
        drawn = _block(seed, part, start // BLOCK)
        lines = np.split(drawn.points, drawn.stroke_offsets[1:-1])
        first = drawn.drawing_offsets
        drawings += [lines[first[i] : first[i + 1]] for i in drawn.place]
        labels.append(drawn.labels[drawn.place])
    all_labels = np.concatenate([*labels, np.empty(0, np.uint8)])[:n]
    return StrokeSet(drawings[:n], all_labels.astype(np.uint8), np.zeros(n, np.int64))


def load(seed: int = 0) -> tuple[Dataset, Dataset]:
    """The set that stands in for MNIST: as many digits to train on and to test on."""
    train = Dataset(*generate(N_TRAIN, seed, part=0), DIGITS, "synthetic")
    test = Dataset(*generate(N_TEST, seed, part=1), DIGITS, "synthetic")
    return train, test


def _check(n: int, seed: int) -> None:
    for name, value in (("n", n), ("seed", seed)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise TypeError(f"{name}: got {value!r}, wanted an integer")
        if value < 0:
            raise ValueError(f"{name}: got {value}, wanted 0 or more")


# ---- one block of drawings -------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Drawings in flat arrays, sorted by style; `place` has each one's index in there."""

    points: Floats
    stroke_offsets: NDArray[np.int64]
    drawing_offsets: NDArray[np.int64]
    pens: Floats
    labels: NDArray[np.uint8]
    place: NDArray[np.intp]


def _block(seed: int, part: int, number: int) -> Block:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, part, number))))
    styles = _styles()
    chosen = rng.choice(len(styles), BLOCK, p=[style.share for style in styles])
    points, stroke_lengths, stroke_counts = [], [], []
    for index, count in enumerate(np.bincount(chosen, minlength=len(styles))):
        style = styles[index]
        points.append(_draw(style, int(count), rng).reshape(-1, 2))
        lengths = np.bincount(style.point_stroke)
        stroke_lengths.append(np.tile(lengths, count))
        stroke_counts.append(np.full(count, len(lengths)))
    order = np.argsort(chosen, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(BLOCK)
    digits = np.array([style.digit for style in styles], np.uint8)
    return Block(
        np.concatenate(points),
        _offsets(stroke_lengths),
        _offsets(stroke_counts),
        np.clip(2.4 * np.exp(0.28 * rng.standard_normal(BLOCK)), 1.2, 5.5),
        digits[chosen[order]],
        place,
    )


def _offsets(lengths: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)


def _draw(style: Style, n: int, rng: np.random.Generator) -> Floats:
    """n drawings of a style: (n, points, 2), in a box of about 100 x 100."""
    # How carelessly somebody writes: every deviation grows with it.
    loose = np.exp(0.35 * rng.standard_normal((n, 1, 1)))
    control = _mix(style, n, rng)  # from here on x and y are rows: (n, 2, k)
    control += 2.5 * loose * rng.standard_normal(control.shape)
    strokes = style.control_stroke[-1] + 1
    if strokes > 1:
        control += (3.0 * loose * rng.standard_normal((n, 2, strokes)))[..., style.control_stroke]
    for end, inner in style.ends:  # the pen goes on too far, or is lifted too early
        step = control[:, :, end] - control[:, :, inner]
        control[:, :, end] += 0.15 * loose[:, 0] * rng.standard_normal((n, 1)) * step
    p, k = style.curve.shape
    points = (control.reshape(2 * n, k) @ style.curve.T).reshape(n, 2, p)
    points -= 50
    _proportion(points, rng)
    _bend(points, loose, rng)
    points += _tremor(points.shape, loose, rng)
    return _pose(points, style.digit, rng)


def _mix(style: Style, n: int, rng: np.random.Generator) -> Floats:
    """Mixtures of the style's shapes, a little beyond them too: (n, 2, k)."""
    shapes, k, _ = style.shapes.shape
    weights = rng.dirichlet(np.full(shapes, 0.5), n) * 1.4 - 0.4 / shapes
    rows = style.shapes.transpose(0, 2, 1).reshape(shapes, 2 * k)
    mixed: Floats = weights @ rows
    return mixed.reshape(n, 2, k)


def _proportion(points: Floats, rng: np.random.Generator) -> None:
    """Where the middle is, and how much wider the top is than the bottom."""
    n = len(points)
    x, y = points[:, 0], points[:, 1]
    middle = 1 - np.square(y / 50)
    x *= 1 + rng.normal(0, 0.17, (n, 1)) * (y / 50) + rng.normal(0, 0.08, (n, 1)) * middle
    y += rng.normal(0, 6, (n, 1)) * middle


def _bend(points: Floats, loose: Floats, rng: np.random.Generator) -> None:
    """A smooth deformation of the plane: two long waves in random directions."""
    n = len(points)
    for _ in range(2):
        direction = rng.normal(0, 0.022, (n, 2, 1))
        amplitude = rng.normal(0, 2.7, (n, 2, 1)) * loose
        phase = (points * direction).sum(1, keepdims=True) + rng.uniform(0, 2 * np.pi, (n, 1, 1))
        points += amplitude * np.sin(phase)


def _tremor(shape: tuple[int, ...], loose: Floats, rng: np.random.Generator) -> Floats:
    """Noise along the stroke: hardly any with a pen, some with a mouse."""
    noise = rng.standard_normal(shape)
    noise[..., 1:-1] += noise[..., :-2] + noise[..., 2:]
    noise *= 0.35 * loose * np.abs(rng.standard_normal((shape[0], 1, 1)))
    return noise


def _pose(points: Floats, digit: int, rng: np.random.Generator) -> Floats:
    """Width, slant and rotation; returns x and y as columns: (n, points, 2)."""
    n = len(points)
    width = ASPECT[digit] * np.exp(rng.normal(0, 0.24, (n, 1)))
    slant = rng.normal(0.13, 0.3 if digit == 1 else 0.25, (n, 1))
    angle = rng.normal(0, np.radians(7), (n, 1))
    x = width * points[:, 0] - slant * points[:, 1]
    y = points[:, 1]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos - y * sin, x * sin + y * cos], -1)


# ---- skeletons to matrices -------------------------------------------------------------------


@lru_cache(maxsize=1)
def _styles() -> list[Style]:
    return [
        _style(digit, float(share) / total / len(STYLES), [str(shape) for shape in shapes])
        for digit, styles in STYLES.items()
        for total in [sum(float(style[0]) for style in styles)]
        for share, *shapes in styles
    ]


def _style(digit: int, share: float, texts: list[str]) -> Style:
    shapes = [[stroke.split() for stroke in text.split("|")] for text in texts]
    controls = [
        [[float(v) for v in point.rstrip("!").split(",")] for stroke in shape for point in stroke]
        for shape in shapes
    ]
    curves = [_curve([point.endswith("!") for point in stroke]) for stroke in shapes[0]]
    lengths = [len(stroke) for stroke in shapes[0]]
    stop = np.cumsum(lengths)
    ends = [[[b - n, b - n + 1], [b - 1, b - 2]] for b, n in zip(stop, lengths, strict=True)]
    curve = np.zeros((sum(len(c) for c in curves), stop[-1]))
    row = column = 0
    for c in curves:
        curve[row : row + c.shape[0], column : column + c.shape[1]] = c
        row, column = row + c.shape[0], column + c.shape[1]
    return Style(
        digit,
        share,
        np.array(controls),
        curve,
        np.array(ends).reshape(-1, 2),
        np.repeat(np.arange(len(lengths)), lengths),
        np.repeat(np.arange(len(curves)), [len(c) for c in curves]),
    )


def _curve(corners: list[bool]) -> Floats:
    """The matrix of a Catmull-Rom curve through control points, broken at corners."""
    k = len(corners)
    breaks = [0, *(i for i in range(1, k - 1) if corners[i]), k - 1]
    rows = [np.eye(1, k)]
    for first, last in pairwise(breaks):
        for i in range(first, last):
            for j in range(1, POINTS_PER_PIECE + 1):
                rows.append(_curve_point(i, j / POINTS_PER_PIECE, first, last, k))
    return np.concatenate(rows)


def _curve_point(i: int, t: float, first: int, last: int, k: int) -> Floats:
    """Weights of the control points at t between points i and i + 1 of a piece first..last."""
    weights = np.zeros((1, k))
    basis = (
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (-(t**2) + t**3) / 2,
    )
    for index, weight in zip(range(i - 1, i + 3), basis, strict=True):
        if index < first:  # beyond an end: the last step mirrored
            weights[0, [first, first + 1]] += weight * np.array([2, -1])
        elif index > last:
            weights[0, [last, last - 1]] += weight * np.array([2, -1])
        else:
            weights[0, index] += weight
    return weights
