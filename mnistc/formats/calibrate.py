"""Round kernels to int8 so that the layers' outputs suffer least, not the weights.

Plain rounding treats every weight alike. Here a layer's inputs on some real images tell which
errors matter: weights are rounded one input at a time, and what a rounding changes in the output
is taken back by the weights that are still to be rounded (Frantar et al., "GPTQ", 2022, after
Hassibi and Stork's optimal brain surgeon). What is left in the mean goes into the bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.formats.model_file import ModelFile
from mnistc.formats.tensors import channel_scales
from mnistc.formats.untrusted import F32
from mnistc.layers import Conv2D, Dense, Layer, layer_name
from mnistc.reference import apply_layer, pad_same

F64 = npt.NDArray[np.float64]

IMAGES = 1024  # more change nothing that could be measured
ROWS = 16384  # inputs of a layer that are looked at
DAMPING = 0.01  # of the mean square of an input: keeps inputs that hardly occur in check


def calibrate(model: ModelFile, images: npt.NDArray[Any]) -> tuple[ModelFile, dict[str, F32]]:
    """Weights on the int8 grid, and the grid's step for each output channel.

    Parameters
    ----------
    model : ModelFile
    images : (n, ...) uint8 or float array
        Examples of what the network will read, such as training images; 1024 of them are used.

    Returns
    -------
    model : ModelFile
        Folded; the kernels of Dense and Conv2D are whole multiples of their scale.
    scales : dict of str to (channels,) float32 array
        For each of those kernels.

    Raises
    ------
    ValueError
        If the images do not fit the network.
    """
    model = model.folded()
    exact = rounded = _inputs(images, model)
    weights, scales = dict(model.weights), {}
    for layer in model.layers:
        name = layer_name(layer)
        before = _arrays(model.weights, name)
        if isinstance(layer, (Dense, Conv2D)):
            key, groups = f"{name}.weight", getattr(layer, "groups", 1)
            scales[key] = channel_scales(model.weights[key])
            cut = zip(
                np.split(before["weight"], groups, -1),
                np.split(scales[key], groups),
                np.split(exact, groups, 3),
                np.split(rounded, groups, 3),
                strict=True,
            )
            kernels, lost = zip(*(_calibrated(layer, *group) for group in cut), strict=True)
            weights[key] = np.concatenate(kernels, -1).astype(np.float32)
            weights[f"{name}.bias"] = (before["bias"] + np.concatenate(lost)).astype(np.float32)
        exact = apply_layer(layer, before, exact)
        rounded = apply_layer(layer, _arrays(weights, name), rounded)
    return replace(model, weights=weights), scales


def _inputs(images: npt.NDArray[Any], model: ModelFile) -> F64:
    """At most IMAGES of them, evenly spread, 0 to 1, (n, height, width, channels)."""
    images = np.asarray(images)
    size = int(np.prod(model.input_shape))
    if not len(images) or images[0].size != size:
        raise ValueError(
            f"calibration must be images of {size} values, got an array of shape {images.shape}"
        )
    chosen = images[:: -(-len(images) // IMAGES)].astype(np.float64)
    if images.dtype == np.uint8:
        chosen /= 255
    return chosen.reshape(-1, *model.input_shape)


def _arrays(weights: Mapping[str, F32], name: str) -> dict[str, F64]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value.astype(np.float64)
        for key, value in weights.items()
        if key.startswith(prefix)
    }


def _calibrated(layer: Layer, weight: F64, scale: F32, exact: F64, rounded: F64) -> tuple[F64, F64]:
    """Multiples of scale (out,) for the weight of one group, and what its mean outputs lose, given
    the exact inputs and those that the layers before make of rounded weights.
    """
    taken = _patches(layer, weight.shape, rounded)
    flat = weight.reshape(taken.shape[1], -1)
    kernel = _round(flat, scale, taken)
    wanted = _patches(layer, weight.shape, exact)
    return kernel.reshape(weight.shape), wanted.mean(0) @ flat - taken.mean(0) @ kernel


def _patches(layer: Layer, shape: tuple[int, ...], x: F64) -> F64:
    """The inputs that one output of `layer` sees, (rows, inputs), evenly thinned."""
    if isinstance(layer, Conv2D):
        if layer.padding == "same":
            x = pad_same(x, layer.kernel)
        windows = np.lib.stride_tricks.sliding_window_view(x, shape[:2], (1, 2))
        count = int(np.prod(windows.shape[:3]))
        chosen = np.arange(0, count, -(-count // ROWS))
        image, row, column = np.unravel_index(chosen, windows.shape[:3])
        x = windows[image, row, column].transpose(0, 2, 3, 1)
    return x.reshape(len(x), -1)


def _round(weight: F64, scale: F32, x: F64) -> F64:
    """Multiples of scale (out,) for weight (in, out), given inputs x (rows, in)."""
    hessian = x.T @ x / len(x)
    hessian[np.diag_indices_from(hessian)] += DAMPING * hessian.trace() / len(hessian) + 1e-12
    order = np.argsort(-hessian.diagonal(), kind="stable")  # what matters most has most to help it
    factor = np.linalg.cholesky(np.linalg.inv(hessian[np.ix_(order, order)])).T
    left, step = weight[order], scale.astype(np.float64)
    result = np.empty_like(weight)
    for i in range(len(left)):
        result[order[i]] = np.clip(np.rint(left[i] / step), -127, 127) * step
        error = (left[i] - result[order[i]]) / factor[i, i]
        left[i + 1 :] -= np.outer(factor[i, i + 1 :], error)
    return result
