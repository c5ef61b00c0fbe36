"""Networks from tiny to large for MNIST alone; those that read drawings are in `draw`.

All train on changed images, new ones each epoch, and end with averaged weights. What was tried is
in benchmarks/accuracy.md.
"""

from __future__ import annotations

from mnistc.augment import Augment
from mnistc.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Shape,
)
from mnistc.optimizers import Adam, AdamW
from mnistc.recipes.recipe import Recipe
from mnistc.schedules import OneCycle

MILD = Augment(rotation=8, scale=0.08, shift=1, shear=8, aspect=0.06, elastic_alpha=4)
LIGHT = Augment(rotation=6, scale=0.08, shift=1, shear=6, aspect=0.06, elastic_alpha=5)
GENTLE = Augment(rotation=5, scale=0.05, shift=0.5, shear=5, aspect=0.04, elastic_alpha=2)
FASHION = Augment(shift=2, scale=0.05, erase=0.25)
STRONG = Augment(
    rotation=8, scale=0.08, shift=1, shear=8, aspect=0.08, elastic_alpha=24, thickness=0.3
)


def small_mlp(input_shape: Shape, classes: int) -> list[Layer]:
    return [Dense(100, "relu"), Dense(30, "relu"), Dense(classes, "softmax")]


def large_mlp(input_shape: Shape, classes: int) -> list[Layer]:
    return [
        Dense(1000, "relu"),
        Dense(500, "relu"),
        Dense(classes, "softmax"),
    ]


def small_cnn(input_shape: Shape, classes: int) -> list[Layer]:
    return [
        Conv2D(16, 3, activation="relu"),
        MaxPool2D(2),
        Conv2D(32, 3, activation="relu"),
        Conv2D(48, 3, activation="relu"),
        MaxPool2D(2),
        Flatten(),
        Dropout(0.2),
        Dense(classes, "softmax"),
    ]


def tiny_cnn(input_shape: Shape, classes: int) -> list[Layer]:
    return [
        Conv2D(8, 3, activation="relu"),
        MaxPool2D(2),
        Conv2D(8, 3, activation="relu"),
        MaxPool2D(2),
        Conv2D(8, 3, activation="relu"),
        Flatten(),
        Dense(classes, "softmax"),
    ]


def large_cnn(input_shape: Shape, classes: int) -> list[Layer]:
    layers: list[Layer] = []
    for channels in (32, 64):
        for _ in range(2):
            layers += [Conv2D(channels, 3, padding="same"), BatchNorm(activation="relu")]
        layers += [MaxPool2D(2), Dropout(0.1)]
    for channels in (96, 128):
        layers += [Conv2D(channels, 3), BatchNorm(activation="relu")]
    return [*layers, Flatten(), Dropout(0.3), Dense(classes, "softmax")]


RECIPES = [
    Recipe(
        name="mlp",
        description="The original's 784-100-30-10 with rectifiers, changed images and averaged "
        "weights.",
        build=small_mlp,
        epochs=100,
        batch_size=128,
        optimizer=Adam(0.003),
        schedule=OneCycle(),
        augment=LIGHT,
        ema=0.999,
        expected="int8: MNIST 99.03 % (seed 0); 80 seconds on one core",
    ),
    Recipe(
        name="mlp-large",
        description="784-1000-500-10 with rectifiers, on elastically changed images.",
        build=large_mlp,
        epochs=22,
        batch_size=128,
        optimizer=Adam(0.0015),
        schedule=OneCycle(),
        augment=STRONG,
        ema=0.998,
        expected="int8: MNIST 99.37 %, mean of seeds 0, 1 (99.39, 99.35); 3 minutes on one core",
    ),
    Recipe(
        name="cnn",
        description="Three convolutions, 26 thousand weights: small enough for a web page.",
        build=small_cnn,
        epochs=22,
        batch_size=128,
        optimizer=AdamW(0.003, weight_decay=0.02),
        schedule=OneCycle(),
        augment=MILD,
        ema=0.998,
        expected="not run in full; on drawings too it is the recipe `draw`",
    ),
    Recipe(
        name="cnn-tiny",
        description="Three convolutions of 8 channels, fewer than 2,000 weights.",
        build=tiny_cnn,
        epochs=60,
        batch_size=64,
        optimizer=Adam(0.005),
        schedule=OneCycle(),
        augment=GENTLE,
        ema=0.999,
        expected="int8: MNIST 98.91 %, mean of seeds 0 to 4 (98.85, 98.79, 99.08, 98.87, 98.95); "
        "95 seconds on one core",
    ),
    Recipe(
        name="cnn-large",
        description="Six convolutions with batch normalisation, 243 thousand weights.",
        build=large_cnn,
        epochs=30,
        batch_size=128,
        optimizer=AdamW(0.003, weight_decay=0.02),
        schedule=OneCycle(),
        augment=MILD,
        ema=0.999,
        expected="not run",
    ),
    Recipe(
        name="fashion",
        description="The network of `cnn-large` for Fashion-MNIST; written, not run.",
        build=large_cnn,
        dataset="fashion_mnist",
        epochs=30,
        batch_size=128,
        optimizer=AdamW(0.003, weight_decay=0.02),
        schedule=OneCycle(),
        augment=FASHION,
        ema=0.999,
        expected="not run",
    ),
]
