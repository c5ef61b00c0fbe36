"""Fold batch normalisation into its neighbours and drop what only training needs.

When predicting, a BatchNorm is one multiplication and one addition per channel,
``x * scale + shift``. A linear layer before it takes both in; failing that, a linear layer
after it does, where that is exact. It is not exact across the zeros of ``padding="same"``, which
would have to become ``-shift / scale``; there the BatchNorm stays a layer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnistc.formats.untrusted import F32
from mnistc.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Shape,
    layer_from_config,
    layer_name,
)

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """``x * scale + shift`` for each channel; both (channels,) float64."""

    scale: F64
    shift: F64


def fold(
    layers: list[Layer], weights: Mapping[str, F32], input_shape: Shape
) -> tuple[list[Layer], dict[str, F32]]:
    """Layers and weights that predict the same without Dropout and (most) BatchNorm.

    Arithmetic is float64, rounded to float32 once. `layers` must be named.
    """
    layers = [layer for layer in layers if not isinstance(layer, Dropout)]
    weights = dict(weights)
    index = 0
    while index < len(layers):
        layer = layers[index]
        if isinstance(layer, BatchNorm) and _fold_one(layers, index, weights, input_shape):
            for key in ("gamma", "beta", "running_mean", "running_var"):
                del weights[f"{layer_name(layer)}.{key}"]
            del layers[index]
            index = 0  # what could not be folded before may have a new neighbour
        else:
            index += 1
    return layers, weights


def affine_of(layer: BatchNorm, weights: Mapping[str, F32]) -> Affine:
    """What `layer` does to each channel when predicting, before its activation."""
    gamma, beta, mean, var = (
        weights[f"{layer_name(layer)}.{key}"].astype(np.float64)
        for key in ("gamma", "beta", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(var + layer.epsilon)
    return Affine(scale, beta - mean * scale)


def _fold_one(layers: list[Layer], index: int, weights: dict[str, F32], input_shape: Shape) -> bool:
    """Fold the BatchNorm at `index` if a neighbour can take it; the caller removes it."""
    layer = layers[index]
    assert isinstance(layer, BatchNorm)
    affine = affine_of(layer, weights)
    if index > 0 and _absorb_output(layers[index - 1], affine, weights):
        values = {**layers[index - 1].config(), "activation": layer.activation}
        layers[index - 1] = layer_from_config(values)
        return True
    if layer.activation != "linear":
        return False
    shape = input_shape
    for before in layers[: index + 1]:
        shape = before.output_shape(shape)
    for after in layers[index + 1 :]:
        if isinstance(after, (Dense, Conv2D, DepthwiseConv2D)):
            return _absorb_input(after, affine, shape, weights)
        if isinstance(after, MaxPool2D) and (affine.scale < 0).any():
            return False  # the largest value would become the smallest
        if not isinstance(after, (MaxPool2D, GlobalAveragePool2D, Flatten)):
            return False
        if isinstance(after, Flatten):
            affine = _flattened(affine, shape)
        shape = after.output_shape(shape)
    return False


def _flattened(affine: Affine, shape: Shape) -> Affine:
    repeats = shape[0] * shape[1]  # channels are the fastest axis
    return Affine(np.tile(affine.scale, repeats), np.tile(affine.shift, repeats))


def _absorb_output(layer: Layer, affine: Affine, weights: dict[str, F32]) -> bool:
    """``scale * (w x + b) + shift = (scale w) x + (scale b + shift)``."""
    kernel = isinstance(layer, (Dense, Conv2D, DepthwiseConv2D))
    if not kernel or layer.activation_name != "linear":
        return False
    weight, bias = f"{layer_name(layer)}.weight", f"{layer_name(layer)}.bias"
    weights[weight] = _rounded(weights[weight] * affine.scale)  # the last axis is the output
    weights[bias] = _rounded(weights[bias] * affine.scale + affine.shift)
    return True


def _absorb_input(
    layer: Dense | Conv2D | DepthwiseConv2D,
    affine: Affine,
    shape: Shape,
    weights: dict[str, F32],
) -> bool:
    """``w (scale x + shift) + b = (w scale) x + (w shift + b)``."""
    padded = not isinstance(layer, Dense) and layer.padding == "same" and layer.kernel != (1, 1)
    if padded and affine.shift.any():
        return False
    name = layer_name(layer)
    weight = weights[f"{name}.weight"].astype(np.float64)
    if isinstance(layer, Dense):
        if shape[2] != len(weight):
            affine = _flattened(affine, shape)
        added = affine.shift @ weight
        weight = weight * affine.scale[:, None]
    elif isinstance(layer, Conv2D):
        seen, repeats = (layer.groups, -1), layer.filters // layer.groups
        scale, shift = (  # (in / groups, out): of the inputs that each filter sees
            np.repeat(values.reshape(seen).T, repeats, axis=1)
            for values in (affine.scale, affine.shift)
        )
        added = (weight * shift).sum((0, 1, 2))
        weight = weight * scale
    else:
        added = weight.sum(axis=(0, 1)) * affine.shift
        weight = weight * affine.scale
    weights[f"{name}.weight"] = _rounded(weight)
    weights[f"{name}.bias"] = _rounded(weights[f"{name}.bias"] + added)
    return True


def _rounded(values: F64) -> F32:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
