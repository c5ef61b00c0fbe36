"""A network in memory, with its weights and everything that a file says about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mnistc.formats.fold import fold
from mnistc.formats.tensors import MAX_PARAMETERS
from mnistc.formats.untrusted import F32, check_finite, short
from mnistc.layers import Layer, Shape, array_shapes, check_int, layer_name, named_layers

STROKES_V1 = {
    "id": "strokes-v1",
    "size": 28,
    "box": 20,
    "centering": "mass",
    "pen_width": 2.4,
}

MAX_LAYERS = 256
MAX_IMAGE_VALUES = 1 << 22
MAX_LABELS = 10_000


@dataclass
class ModelFile:
    """A network with its weights and everything a file says about them.

    Parameters
    ----------
    layers : list of Layer
        Layers without a name get one (``dense``, ``dense_1``, ...).
    weights : dict of str to float32 array
        ``layer.array`` to its values; see `mnistc.layers.array_shapes`.
    input_shape : (height, width, channels)
    labels : list of str
        One for each output; "0", "1", ... unless told.
    name, license, generator : str
    preprocessing : dict
        How a drawing becomes the input; strokes-v1 for inputs of 28 x 28 x 1 unless told.
    training, metrics, extra : dict
        JSON-ready values.
    test_vectors : list of dict
        ``{"strokes" or "input": ..., "probabilities": [...], "atol": ...}``.

    Raises
    ------
    ValueError
        If layers, weights and labels do not fit together, or a weight is not finite.
    """

    layers: list[Layer]
    weights: dict[str, F32]
    input_shape: Shape = (28, 28, 1)
    labels: list[str] = field(default_factory=list)
    name: str = "model"
    license: str = ""
    generator: str = ""
    preprocessing: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    test_vectors: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = named_layers(self.layers)
        self.input_shape, outputs = check_network(self.layers, self.input_shape)
        self.weights = _check_weights(self.layers, self.weights, self.input_shape)
        self.labels = [str(label) for label in self.labels or range(outputs)]
        if len(self.labels) != outputs:
            raise ValueError(f"labels: wanted {outputs}, one per output; got {len(self.labels)}")
        if self.preprocessing is None:
            self.preprocessing = dict(STROKES_V1) if self.input_shape == (28, 28, 1) else {}

    @property
    def n_parameters(self) -> int:
        """Number of trained values (running statistics are not trained)."""
        state = (".running_mean", ".running_var")
        return sum(a.size for key, a in self.weights.items() if not key.endswith(state))

    def folded(self) -> ModelFile:
        """The same network for predicting only: no Dropout, BatchNorm folded where exact."""
        layers, weights = fold(self.layers, self.weights, self.input_shape)
        return replace(self, layers=layers, weights=weights)


def check_network(layers: list[Layer], input_shape: object) -> tuple[Shape, int]:
    """Walk the shapes of a network without allocating; return input shape and number of outputs.

    Raises
    ------
    ValueError
        If a layer does not fit its input, or something is larger than any sensible network.
    """
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 3:
        raise ValueError(f"input shape must be height, width, channels; got {short(input_shape)}")
    height, width, channels = (
        check_int("input shape", size, 1, MAX_IMAGE_VALUES) for size in input_shape
    )
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"layers: wanted 1 to {MAX_LAYERS}, got {len(layers)}")
    shape = height, width, channels
    total = 0
    _check_size("input shape", shape, MAX_IMAGE_VALUES)
    for index, layer in enumerate(layers):
        where = f"layers[{index}] ({layer_name(layer)})"
        arrays = layer.weight_shapes(shape) | layer.state_shapes(shape)
        for key, array in arrays.items():
            total += _check_size(f"{where}: {key}", array, MAX_PARAMETERS)
        try:
            shape = layer.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        _check_size(f"{where}: output", shape, MAX_IMAGE_VALUES)
    if total > MAX_PARAMETERS:
        raise ValueError(f"layers: {total} weights in all, at most {MAX_PARAMETERS}")
    if shape[:2] != (1, 1) or shape[2] > MAX_LABELS:
        got = "x".join(map(str, shape))
        raise ValueError(f"layers: the last must give a vector of classes, got {got}")
    return (height, width, channels), shape[2]


def _check_size(where: str, shape: tuple[int, ...], limit: int) -> int:
    size = math.prod(shape)
    if size > limit:
        sides = "x".join(map(str, shape))
        raise ValueError(f"{where}: {sides} is more than {limit} values, the most there may be")
    return size


def _check_weights(
    layers: list[Layer], weights: Mapping[str, Any], input_shape: Shape
) -> dict[str, F32]:
    wanted = array_shapes(layers, input_shape)
    unknown = sorted(set(weights) - set(wanted))
    if unknown:
        raise ValueError(f"weights: no layer has {short(unknown[0])}")
    result = {}
    for key, shape in wanted.items():
        if key not in weights:
            raise ValueError(f"weights: {key} is missing")
        array = np.ascontiguousarray(weights[key], np.float32)
        if array.shape != shape:
            raise ValueError(f"weights: {key} must have shape {shape}, got {array.shape}")
        check_finite(array.ravel(), f"weights: {key}")
        if key.endswith(".running_var") and (array < 0).any():
            raise ValueError(f"weights: {key} must not be negative")
        result[key] = array
    return result
