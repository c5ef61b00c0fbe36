"""Recipes: named, documented, reproducible trainings.

``recipes.get("quick").train(train)`` is all there is to it; ``mnistc train --recipe quick`` does
the same from the command line.
"""

from __future__ import annotations

from mnistc.recipes import basic, draw, mnist, original
from mnistc.recipes.recipe import Recipe, Result

REGISTRY: dict[str, Recipe] = {
    recipe.name: recipe for module in (basic, original, mnist, draw) for recipe in module.RECIPES
}

__all__ = ["REGISTRY", "Recipe", "Result", "get", "names"]


def names() -> list[str]:
    """Names of all recipes."""
    return list(REGISTRY)


def get(name: str) -> Recipe:
    """The recipe of that name; ValueError if there is none."""
    if name not in REGISTRY:
        raise ValueError(f"recipe must be one of {', '.join(REGISTRY)}; got {name!r}")
    return REGISTRY[name]
