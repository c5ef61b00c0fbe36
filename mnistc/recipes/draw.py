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
PENS = (1.2, 4.8)  # half and twice the width that drawings are read with, in pixels
SYNTHETIC = 12_000


def with_strokes(
    data: Dataset, seed: int, data_dir: DataDir
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """`data`, the strokes of 24 pendigits writers with three pens each, and synthetic digits."""
    from mnistc.datasets import pendigits, synthetic

    drawn, _ = pendigits.writer_split(pendigits.load_strokes(data_dir), WRITERS)
    rng = np.random.default_rng(seed)
    low, high = np.log(PENS)
    pens = [np.exp(rng.uniform(low, high, len(drawn))) for _ in range(2)]
    parts = [
        (data.images, data.labels),
        (drawn.images(), drawn.labels),
        *((drawn.images(pen), drawn.labels) for pen in pens),
        synthetic.generate(SYNTHETIC, seed),
    ]
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


CHANGES = Augment(
    rotation=10, scale=0.1, shift=1, shear=10, aspect=0.1, elastic_alpha=5, thickness=0.4
)

RECIPES = [
    Recipe(
        name="draw",
        description="The network of `cnn` for drawings: MNIST, pen strokes of 24 writers and "
        "synthetic digits, pens of many widths.",
        build=small_cnn,
        epochs=20,
        batch_size=128,
        optimizer=AdamW(0.003, weight_decay=0.01),
        schedule=OneCycle(),
        augment=CHANGES,
        ema=0.998,
        prepare=with_strokes,
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
    ),
]
