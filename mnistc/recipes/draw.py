"""Networks for what people draw on a screen: MNIST, real pen strokes and made-up ones together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.augment import Augment
from mnistc.optimizers import AdamW
from mnistc.recipes.mnist import small_cnn, small_mlp
from mnistc.recipes.recipe import DataDir, Recipe
from mnistc.schedules import OneCycle

if TYPE_CHECKING:
    from mnistc.datasets import Dataset

WRITERS = 24  # of 30; the others are strangers to measure with
PENS = (1.1, 5.0)  # a little beyond half and twice the width that drawings are read with, px
SYNTHETIC = 12_000


def with_strokes(
    data: Dataset, seed: int, data_dir: DataDir
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """`data`, the strokes of 24 pendigits writers with four pens each, and synthetic digits."""
    from mnistc.datasets import pendigits, synthetic

    drawn, _ = pendigits.writer_split(pendigits.load_strokes(data_dir), WRITERS)
    made_up = synthetic.strokes(SYNTHETIC, seed)
    rng = np.random.default_rng(seed)
    parts = [(data.images, data.labels), (drawn.images(), drawn.labels)]
    low, high = np.log(PENS)
    for part in (drawn, drawn, drawn, made_up):
        pens = np.exp(rng.uniform(low, high, len(part)))
        parts.append((part.images(pens), part.labels))
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


CHANGES = Augment(
    rotation=10, scale=0.1, shift=1, shear=10, aspect=0.1, elastic_alpha=5, thickness=0.5
)

RECIPES = [
    Recipe(
        name="draw",
        description="The network of `cnn` for drawings: MNIST, pen strokes of 24 writers and "
        "synthetic digits, pens of many widths.",
        build=small_cnn,
        epochs=32,
        batch_size=128,
        optimizer=AdamW(0.003, weight_decay=0.02),
        schedule=OneCycle(),
        augment=CHANGES,
        ema=0.998,
        prepare=with_strokes,
        expected="int8: MNIST 99.56 %, mean of seeds 0 to 4 (99.56, 99.56, 99.56, 99.59, 99.55); "
        "drawings of 6 strangers 99.20 %; 5 minutes on one core",
    ),
    Recipe(
        name="draw-mlp",
        description="The network of `mlp` for drawings, on the data of `draw`.",
        build=small_mlp,
        epochs=60,
        batch_size=128,
        optimizer=AdamW(0.003, weight_decay=0.01),
        schedule=OneCycle(),
        augment=CHANGES,
        ema=0.999,
        prepare=with_strokes,
        expected="int8: MNIST 99.01 %, mean of seeds 0, 1, 2 (99.00, 99.01, 99.01); drawings of "
        "6 strangers 98.60 %; 80 seconds on one core",
    ),
]
