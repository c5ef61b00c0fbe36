"""Statistics of batch normalisations for the images that a network is meant for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnistc.arrays import Array, as_images
from mnistc.layers import BatchNorm, layer_name
from mnistc.model import Sequential

F64 = npt.NDArray[np.float64]

_CHUNK_VALUES = 1 << 22  # of a layer's input at a time


def update_batch_norm(
    network: Sequential, x: npt.ArrayLike, n_threads: int = 0, *, check_range: bool = True
) -> None:
    """Take the running statistics of each `BatchNorm` anew: those of `x`, all of it.

    After a training on changed images they are those of changed images (and of its last
    minibatches), which the images to predict differ from. Weights stay as they are; a network
    without batch normalisation stays as it is. Of "precise" statistics: Wu and Johnson,
    arXiv:2105.07576.

    Parameters
    ----------
    network : Sequential
    x : array_like
        Images as for `Sequential.fit`, without any augmentation.
    n_threads : int
        0 takes as many as the process may use.
    check_range : bool
        Refuse floats outside 0 to 1.

    Raises
    ------
    ValueError, TypeError
        As `Sequential.predict`; the network is as it was then.

    Examples
    --------
    >>> network.fit(x, y, epochs=10, augment=Augment(rotation=15, shift=2))
    >>> mnistc.update_batch_norm(network, x)
    """
    if not isinstance(network, Sequential):
        raise TypeError(f"network must be a Sequential, got {network!r}")
    images = as_images(x, network.input_shape, check_range=check_range)
    weights = {name: view.copy() for name, view in network.weights.items()}
    for index, layer in enumerate(network.layers):
        if isinstance(layer, BatchNorm):
            name = layer_name(layer)
            mean, variance = _moments(network, index, weights, images, n_threads)
            weights[f"{name}.running_mean"] = mean.astype(np.float32)
            weights[f"{name}.running_var"] = variance.astype(np.float32)
    network.weights = weights


def _moments(
    network: Sequential, index: int, weights: dict[str, Array], images: Array, n_threads: int
) -> tuple[F64, F64]:
    """Mean and variance, (channels,), of what goes into a layer, by layers with `weights`."""
    before = Sequential(network.layers[:index], network.input_shape) if index else None
    shape = before.output_shape if before else network.input_shape
    if before:
        before.weights = {name: weights[name] for name in before.weights}
    step = max(_CHUNK_VALUES // (shape[0] * shape[1] * shape[2]), 1)
    total, squares = np.zeros(shape[2]), np.zeros(shape[2])
    for start in range(0, len(images), step):
        part = images[start : start + step]
        if before:
            values: Array = before.predict(part, n_threads, check_range=False)
        else:
            values = part if part.dtype == np.float32 else part * np.float32(1 / 255)
        values = values.reshape(-1, shape[2])
        total += values.sum(0, dtype=np.float64)
        squares += np.square(values, dtype=np.float64).sum(0)
    count = len(images) * shape[0] * shape[1]
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0)
