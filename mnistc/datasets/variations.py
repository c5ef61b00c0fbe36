"""Variations of real drawings: what other hands might have drawn.

A drawing is varied as a whole (`bent`), or mixed with another one of the same digit that has as
many strokes (`Mixtures`). The points of many drawings lie in flat arrays, boxes 100 wide or high.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mnistc import strokes as _strokes
from mnistc.datasets.dataset import StrokeSet, ink_bytes

Floats = NDArray[np.float64]

BOX = 100.0
POINTS = 24  # of each stroke of a mixture
FEWEST = 8  # drawings of a digit with the same number of strokes that make a group
MOST_STROKES = 4
CANDIDATES = 8  # of which the drawing most like the first is its partner

__all__ = ["FlatStrokes", "Mixtures", "flatten"]


@dataclass(frozen=True)
class FlatStrokes:
    """n drawings, one after the other.

    Attributes
    ----------
    points : ndarray of shape (n_points, 2), float64
    stroke_offsets, drawing_offsets : ndarray of int64
        As in `mnistc.strokes.rasterize_flat`.
    labels : ndarray of shape (n,), uint8
    """

    points: Floats
    stroke_offsets: NDArray[np.int64]
    drawing_offsets: NDArray[np.int64]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def point_offsets(self) -> NDArray[np.int64]:
        """The first point of each drawing, and the number of all."""
        return self.stroke_offsets[self.drawing_offsets]

    def images(self, pens: float | Floats) -> NDArray[np.uint8]:
        """Render them: uint8 of shape (n, 28, 28), ink 255; one pen for all, or (n,)."""
        ink = _strokes.rasterize_flat(self.points, self.stroke_offsets, self.drawing_offsets, pens)
        return ink_bytes(ink)

    def bent(self, rng: np.random.Generator, strength: float) -> FlatStrokes:
        """Each bent by two long waves, then slanted, turned and stretched; 1 is another hand's."""
        n = len(self)
        drawing = np.repeat(np.arange(n), np.diff(self.point_offsets))
        points = self.points.copy()
        for _ in range(2):
            direction = rng.normal(0, 0.022, (n, 2))
            amplitude = rng.normal(0, 2.7 * strength, (n, 2))
            phase = rng.uniform(0, 2 * np.pi, n)
            along = (points * direction[drawing]).sum(1) + phase[drawing]
            points += amplitude[drawing] * np.sin(along)[:, None]
        width = np.exp(rng.uniform(-0.1 * strength, 0.1 * strength, n))
        slant = rng.uniform(-0.12 * strength, 0.12 * strength, n)
        angle = np.radians(rng.uniform(-8 * strength, 8 * strength, n))
        cos, sin = np.cos(angle), np.sin(angle)
        x = width[drawing] * points[:, 0] - slant[drawing] * points[:, 1]
        y = points[:, 1]
        turned = np.stack(
            [x * cos[drawing] - y * sin[drawing], x * sin[drawing] + y * cos[drawing]], 1
        )
        return FlatStrokes(turned, self.stroke_offsets, self.drawing_offsets, self.labels)


def flatten(drawings: StrokeSet) -> FlatStrokes:
    """The drawings with the longer sides of their boxes 100, around (0, 0)."""
    lines = [line for strokes in drawings.strokes for line in strokes]
    stroke_offsets = np.cumsum([0, *(len(line) for line in lines)])
    drawing_offsets = np.cumsum([0, *(len(strokes) for strokes in drawings.strokes)])
    points = np.concatenate(lines)
    first = stroke_offsets[drawing_offsets]
    low = np.minimum.reduceat(points, first[:-1])
    high = np.maximum.reduceat(points, first[:-1])
    side = np.maximum((high - low).max(1), 1e-9)
    drawing = np.repeat(np.arange(len(drawings)), np.diff(first))
    points = (points - ((low + high) / 2)[drawing]) / side[drawing, None] * BOX
    return FlatStrokes(points, stroke_offsets, drawing_offsets, drawings.labels)


class Mixtures:
    """Mixtures of two drawings of the same digit with as many strokes.

    Parameters
    ----------
    drawings : FlatStrokes
        Those that fewer than 7 others could be mixed with are left out.
    """

    def __init__(self, drawings: FlatStrokes) -> None:
        lines = np.split(drawings.points, drawings.stroke_offsets[1:-1])
        alike: dict[tuple[int, int], list[Floats]] = {}  # by digit and number of strokes
        for label, (first, last) in zip(
            drawings.labels, pairwise(drawings.drawing_offsets.tolist()), strict=True
        ):
            drawing = np.stack([_resample(line) for line in lines[first:last]])
            alike.setdefault((int(label), last - first), []).append(drawing)
        kept = [
            (label, np.stack(group))
            for (label, count), group in sorted(alike.items())
            if len(group) >= FEWEST and count <= MOST_STROKES
        ]
        self._groups = [group for _, group in kept]
        self._labels = np.repeat(
            np.array([label for label, _ in kept], np.uint8), [len(group) for _, group in kept]
        )
        counts = np.repeat([g.shape[1] for g in self._groups], [len(g) for g in self._groups])
        self._drawing_offsets = np.concatenate([[0], np.cumsum(counts)])
        self._stroke_offsets = np.arange(0, self._drawing_offsets[-1] * POINTS + 1, POINTS)

    def __len__(self) -> int:
        return len(self._labels)

    def draw(self, rng: np.random.Generator, beyond: float) -> FlatStrokes:
        """As many mixtures as there are drawings, each of one and a partner at random.

        `beyond` is how far a mixture may go past either, as a share of their difference.
        """
        points = []
        for group in self._groups:
            n = len(group)
            candidates = rng.integers(0, n, (CANDIDATES, n))
            distance = np.stack([np.square(group[c] - group).mean((1, 2, 3)) for c in candidates])
            distance[candidates == np.arange(n)] = np.inf
            partner = candidates[distance.argmin(0), np.arange(n)]
            share = rng.uniform(-beyond, 1 + beyond, (n, 1, 1, 1))
            points.append((group + share * (group[partner] - group)).reshape(-1, 2))
        return FlatStrokes(
            np.concatenate(points), self._stroke_offsets, self._drawing_offsets, self._labels
        )


def _resample(line: Floats) -> Floats:
    """The stroke as POINTS points at equal distances along it."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    if along[-1] == 0:
        return np.repeat(line[:1], POINTS, axis=0)
    at = np.linspace(0, along[-1], POINTS)
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], 1)
