"""The recipe that ``mnistc train`` follows when told nothing."""

from __future__ import annotations

from mnistc.layers import Dense, Layer, Shape
from mnistc.optimizers import Adam
from mnistc.recipes.recipe import Recipe
from mnistc.schedules import OneCycle


def _quick(input_shape: Shape, classes: int) -> list[Layer]:
    return [Dense(128, "relu"), Dense(classes, "softmax")]


RECIPES = [
    Recipe(
        name="quick",
        description="A small network in a few seconds: the first thing to try.",
        build=_quick,
        dataset="auto",
        epochs=5,
        batch_size=64,
        optimizer=Adam(0.003),
        schedule=OneCycle(),
    ),
]
