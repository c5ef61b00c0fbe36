"""The recipe that ``mnistc train`` follows when told nothing."""

from __future__ import annotations

from mnistc.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, Shape
from mnistc.optimizers import Adam
from mnistc.recipes.recipe import Recipe
from mnistc.schedules import OneCycle


def _quick(input_shape: Shape, classes: int) -> list[Layer]:
    return [
        Conv2D(8, 5, padding="same", activation="relu"),
        MaxPool2D(2),
        Conv2D(16, 3, padding="same", activation="relu"),
        MaxPool2D(2),
        Flatten(),
        Dense(classes, "softmax"),
    ]


RECIPES = [
    Recipe(
        name="quick",
        description="A small convolutional network in a few seconds: the first thing to try.",
        build=_quick,
        dataset="auto",
        epochs=4,
        batch_size=64,
        optimizer=Adam(0.01),
        schedule=OneCycle(),
    ),
]
