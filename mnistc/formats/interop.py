"""Weights in the layouts of Keras and PyTorch, as NumPy arrays; neither package is needed.

Keras' kernels have our layout: dense (in, out), convolution (height, width, in / groups, out),
depthwise with one more axis of size 1. PyTorch's are (out, in) and (out, in / groups, height,
width), and its images are channels first, so the rows of a dense layer after a flattened image are
put in that order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnistc.formats.model_file import ModelFile
from mnistc.formats.untrusted import F32
from mnistc.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Layer,
    layer_name,
)

Order = slice | npt.NDArray[np.intp]

TORCH_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "running_mean",
    "running_var": "running_var",
}


def to_keras_weights(model: ModelFile) -> list[F32]:
    """Arrays for ``keras_model.set_weights``, for a Keras model of the same layers.

    Notes
    -----
    Keras' Dense does not flatten: put a Flatten before it where the input is an image.
    """
    weights = []
    for layer in model.layers:
        name = layer_name(layer)
        for key, array in model.weights.items():
            if key.startswith(f"{name}."):
                depthwise = isinstance(layer, DepthwiseConv2D) and array.ndim == 3
                weights.append(array[..., None] if depthwise else array)
    return weights


def to_torch_state_dict(model: ModelFile) -> dict[str, F32]:
    """Arrays for ``load_state_dict`` of a PyTorch module with the same layers and names.

    The module works on (n, channels, height, width) and flattens with ``torch.nn.Flatten``.
    Each array still has to go through ``torch.from_numpy``.

    Examples
    --------
    >>> net = torch.nn.Sequential(OrderedDict(conv2d=torch.nn.Conv2d(1, 32, 3), ...))
    >>> state = to_torch_state_dict(model)
    >>> net.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    """
    state: dict[str, F32] = {}
    shape = model.input_shape
    order: Order = slice(None)  # of a flat vector: where PyTorch has what
    for layer in model.layers:
        if isinstance(layer, (Flatten, Dense)) and shape[:2] != (1, 1):
            order = np.arange(np.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
        state |= _torch_arrays(layer, model, order)
        shape = layer.output_shape(shape)
        if isinstance(layer, Dense):
            order = slice(None)
    return {key: np.ascontiguousarray(array) for key, array in state.items()}


def _torch_arrays(layer: Layer, model: ModelFile, order: Order) -> dict[str, F32]:
    name = layer_name(layer)
    if isinstance(layer, BatchNorm):
        ours = TORCH_BATCH_NORM.items()
        return {f"{name}.{torch}": model.weights[f"{name}.{role}"][order] for torch, role in ours}
    if not isinstance(layer, (Dense, Conv2D, DepthwiseConv2D)):
        return {}
    weight, bias = model.weights[f"{name}.weight"], model.weights[f"{name}.bias"]
    if isinstance(layer, Dense):
        weight = weight[order].T
    elif isinstance(layer, Conv2D):
        weight = weight.transpose(3, 2, 0, 1)
    else:
        weight = weight.transpose(2, 0, 1)[:, None]
    return {f"{name}.weight": weight, f"{name}.bias": bias}
