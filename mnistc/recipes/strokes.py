"""MNIST, real pen strokes and made-up ones together: what networks for drawings are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.recipes.examples import Examples

if TYPE_CHECKING:
    from mnistc.datasets import Dataset, StrokeSet
    from mnistc.datasets.variations import FlatStrokes
    from mnistc.recipes.recipe import DataDir

WRITERS = 24  # of 30; the others are strangers to measure with
PENS = (1.1, 5.2)  # a little beyond half and twice the width that drawings are read with, px
BENDING = 0.5
BEYOND = 0.6  # how far mixtures go past the drawings that they are of


@dataclass(frozen=True)
class WithStrokes:
    """Adds drawings to a dataset, new ones in each epoch, each with a pen of its own.

    Attributes
    ----------
    bent : int
        Bent copies of each drawing of 24 pendigits writers.
    mixtures : int
        Mixtures of two such drawings, for each of them.
    synthetic : int
        Synthetic digits.
    """

    bent: int
    mixtures: int
    synthetic: int

    def __call__(self, data: Dataset, seed: int, data_dir: DataDir) -> Examples:
        from mnistc.datasets import pendigits
        from mnistc.datasets.dataset import DIGITS

        if data.images.shape[1:] != (28, 28):
            size = " x ".join(map(str, data.images.shape[1:]))
            raise ValueError(f"drawings go with images of 28 x 28, got {size}")
        if data.class_names != DIGITS:
            names = ", ".join(data.class_names)
            raise ValueError(f"drawings go with the classes 0 to 9, got {names}")
        drawn, _ = pendigits.writer_split(pendigits.load_strokes(data_dir), WRITERS)
        return Drawings(data, drawn, self, seed)


class Drawings(Examples):
    """A dataset's images, always the same, and drawings after them, drawn anew in each epoch."""

    def __init__(self, data: Dataset, drawn: StrokeSet, amounts: WithStrokes, seed: int) -> None:
        from mnistc.datasets.variations import Mixtures, flatten

        self._drawn, self._amounts, self._seed = flatten(drawn), amounts, seed
        self._mixtures = Mixtures(self._drawn)
        self._fixed = len(data)
        n = (
            len(data)
            + amounts.bent * len(self._drawn)
            + amounts.mixtures * len(self._mixtures)
            + amounts.synthetic
        )
        images = np.zeros((n, *data.images.shape[1:]), np.uint8)
        labels = np.zeros(n, np.int32)
        images[: len(data)], labels[: len(data)] = data.images, data.labels
        super().__init__(images, labels)
        self.renew(0)

    def renew(self, epoch: int) -> None:
        """Draw those of an epoch: a function of the seed and the epoch alone."""
        start = self._fixed
        for drawings, pens in self._epoch(epoch):
            stop = start + len(drawings)
            self.images[start:stop] = drawings.images(pens)
            self.targets[start:stop] = drawings.labels
            start = stop

    def _epoch(self, epoch: int) -> Iterator[tuple[FlatStrokes, npt.NDArray[Any]]]:
        from mnistc.datasets import synthetic
        from mnistc.datasets.variations import flatten

        rng = np.random.default_rng((self._seed, epoch))
        for _ in range(self._amounts.bent):
            bent = self._drawn.bent(rng, BENDING)
            yield bent, rng.uniform(*PENS, len(bent))
        if self._amounts.synthetic:
            # Parts 0 and 1 are the synthetic dataset itself.
            made_up = flatten(
                synthetic.strokes(self._amounts.synthetic, self._seed, part=2 + epoch)
            )
            yield made_up, rng.uniform(*PENS, len(made_up))
        rng = np.random.default_rng((self._seed, epoch, 1))
        for _ in range(self._amounts.mixtures):
            mixed = self._mixtures.draw(rng, BEYOND).bent(rng, BENDING)
            yield mixed, rng.uniform(*PENS, len(mixed))
