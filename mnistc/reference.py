"""A forward pass in plain NumPy: slow, short, and the yardstick for everything that is fast.

Images are channels last, (n, height, width, channels). Every layer gets and gives such an array;
a flat vector of k values is (n, 1, 1, k).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    layer_name,
)

if TYPE_CHECKING:
    from mnistc.formats import ModelFile

Array = npt.NDArray[Any]


def activate(x: Array, name: str) -> Array:
    """Apply the activation `name`; softmax is over the last axis."""
    if name == "relu":
        return np.maximum(x, 0)
    if name == "sigmoid":
        small = np.exp(-np.abs(x))  # in (0, 1]: no overflow for either sign
        return np.where(x >= 0, 1 / (1 + small), small / (1 + small))
    if name == "tanh":
        return np.asarray(np.tanh(x))
    if name == "softmax":
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    return x


def pad_same(x: Array, kernel: tuple[int, int]) -> Array:
    """Surround the images with the zeros of ``padding="same"``."""
    rows, columns = kernel[0] // 2, kernel[1] // 2
    return np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def convolve(x: Array, weight: Array, padding: str) -> Array:
    """Convolve x (n, h, w, in) with weight (kh, kw, in / groups, out), or depthwise with
    (kh, kw, in).
    """
    height, width = weight.shape[:2]
    if weight.ndim == 4 and x.shape[3] > weight.shape[2]:
        groups = x.shape[3] // weight.shape[2]
        pairs = zip(np.split(x, groups, 3), np.split(weight, groups, 3), strict=True)
        return np.concatenate([convolve(*pair, padding) for pair in pairs], 3)
    if padding == "same":
        x = pad_same(x, (height, width))
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    total: Array = np.zeros(1, x.dtype)
    for i in range(height):
        for j in range(width):
            window = x[:, i : i + rows, j : j + columns]
            product = window * weight[i, j] if weight.ndim == 3 else window @ weight[i, j]
            total = total + product
    return total


def max_pool(x: Array, size: int, stride: int) -> Array:
    """Largest value of each size x size window of x (n, h, w, c); partial windows are left out."""
    rows, columns = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    windows = [
        x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
        for i in range(size)
        for j in range(size)
    ]
    return np.asarray(np.maximum.reduce(windows))


def apply_layer(layer: Layer, arrays: Mapping[str, Array], x: Array) -> Array:
    """Output of one layer (in its predicting form) for x (n, h, w, c)."""
    if isinstance(layer, Dense):
        x = x.reshape(len(x), 1, 1, -1) @ arrays["weight"] + arrays["bias"]
    elif isinstance(layer, (Conv2D, DepthwiseConv2D)):
        x = convolve(x, arrays["weight"], layer.padding) + arrays["bias"]
    elif isinstance(layer, MaxPool2D):
        x = max_pool(x, layer.pool_size, layer.strides or layer.pool_size)
    elif isinstance(layer, GlobalAveragePool2D):
        x = x.mean(axis=(1, 2), keepdims=True)
    elif isinstance(layer, Flatten):
        x = x.reshape(len(x), 1, 1, -1)
    elif isinstance(layer, BatchNorm):
        scale = arrays["gamma"] / np.sqrt(arrays["running_var"] + x.dtype.type(layer.epsilon))
        x = (x - arrays["running_mean"]) * scale + arrays["beta"]
    return activate(x, layer.activation_name)


def forward(
    layers: Iterable[Layer],
    weights: Mapping[str, Array],
    x: Array,
    input_shape: tuple[int, int, int],
    dtype: npt.DTypeLike = np.float64,
) -> list[Array]:
    """Outputs (n, h, w, c) of every layer, first to last.

    Parameters
    ----------
    layers : iterable of Layer
        Named layers (see `mnistc.layers.named_layers`).
    weights : mapping of str to array
        ``layer.array`` to its values.
    x : array, (n, ...)
        uint8 is taken as 0..255 and scaled to 0..1; everything else as it is.
    input_shape : (height, width, channels)
    dtype : float64 or float32
        Type of all the arithmetic.
    """
    kind = np.dtype(dtype)
    values = np.asarray(x, kind).reshape(-1, *input_shape)
    if np.asarray(x).dtype == np.uint8:
        values = values / kind.type(255)
    outputs = []
    for layer in layers:
        prefix = layer_name(layer) + "."
        arrays = {
            key.removeprefix(prefix): np.asarray(value, kind)
            for key, value in weights.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        values = apply_layer(layer, arrays, values)
        outputs.append(values)
    return outputs


def predict(
    model: ModelFile, x: Array, dtype: npt.DTypeLike = np.float64, chunk: int = 256
) -> Array:
    """Outputs (n, classes) of `model` for images x (n, ...), `chunk` images at a time."""
    x = np.asarray(x)
    parts = [
        forward(model.layers, model.weights, x[i : i + chunk], model.input_shape, dtype)[-1]
        for i in range(0, len(x), chunk)
    ]
    outputs = [part.reshape(len(part), -1) for part in parts]
    return np.concatenate(outputs) if outputs else np.empty((0, len(model.labels)), dtype)
