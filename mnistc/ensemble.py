"""Several networks of the same layers as one, which gives the mean of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mnistc.layers import Conv2D, Dense, DepthwiseConv2D, Flatten, Layer, layer_name
from mnistc.model import Sequential

F32 = npt.NDArray[np.float32]


def ensemble(networks: Sequence[Sequential]) -> Sequential:
    """Join networks of the same layers side by side, as groups of filters.

    The logits of the result are the mean of the networks' logits; with a last softmax its
    probabilities are the geometric means of theirs, scaled to a sum of 1.

    Parameters
    ----------
    networks : sequence of Sequential
        Each begins with a `Conv2D` and ends with a `Dense`, its only one.

    Returns
    -------
    Sequential
        A network of its own, with the metadata of the first.

    Raises
    ------
    ValueError
        If the networks differ in layers or input, or have layers that cannot be joined.
    TypeError
        For something that is no network.

    Examples
    --------
    >>> nets = [recipe.train(train, seed=seed).network for seed in range(4)]
    >>> together = mnistc.ensemble(nets)
    """
    if not isinstance(networks, Iterable):
        raise TypeError(f"networks must be a list of Sequential, got {networks!r}")
    networks = list(networks)
    for network in networks:
        if not isinstance(network, Sequential):
            raise TypeError(f"networks must be a list of Sequential, got {network!r} in it")
    if not networks:
        raise ValueError("an ensemble needs at least one network")
    first, count = networks[0], len(networks)
    for index, network in enumerate(networks):
        if network.input_shape != first.input_shape or network.layers != first.layers:
            raise ValueError(f"networks[{index}] has other layers than networks[0]")
    _check(first.layers)
    layers = [_joined(layer, count, index == 0) for index, layer in enumerate(first.layers)]
    result = Sequential(layers, first.input_shape, first.seed)
    copy_into(result, networks)
    result.loss = first.loss
    result.metadata = dict(first.metadata)
    return result


def copy_into(joined: Sequential, networks: Sequence[Sequential]) -> None:
    """Set the weights of `joined`, an ensemble of as many networks, to those of `networks`."""
    shape = networks[0].input_shape
    for layer in networks[0].layers:
        if isinstance(layer, Conv2D):
            channels = layer.filters  # of one network, until its last layer
        for role in [*layer.weight_shapes(shape), *layer.state_shapes(shape)]:
            key = f"{layer_name(layer)}.{role}"
            arrays = [network.weights[key] for network in networks]
            if not isinstance(layer, Dense):
                joined.weights[key] = _side_by_side(arrays, channels)
            elif role == "weight":
                joined.weights[key] = _side_by_side([a.T for a in arrays], channels).T / len(arrays)
            else:
                joined.weights[key] = np.mean(arrays, 0)
        shape = layer.output_shape(shape)


def _side_by_side(arrays: Sequence[F32], channels: int) -> F32:
    """The last axis of each, (positions * channels), becomes (positions, networks, channels)."""
    parts = [array.reshape(*array.shape[:-1], -1, channels) for array in arrays]
    return np.stack(parts, -2).reshape(*arrays[0].shape[:-1], -1)


def _check(layers: Sequence[Layer]) -> None:
    first, last = layers[0], layers[-1]
    if not isinstance(first, Conv2D) or first.groups > 1:
        raise ValueError(f"the first layer must be a Conv2D without groups, got {first}")
    if not isinstance(last, Dense):
        raise ValueError(f"the last layer must be Dense, got {last}")
    flat = False
    for layer in layers[:-1]:
        if isinstance(layer, Dense) or layer.activation_name == "softmax":
            raise ValueError(f"only the last layer may be dense or a softmax, got {layer}")
        if flat and isinstance(layer, (Conv2D, DepthwiseConv2D)):
            raise ValueError(f"no convolution may follow Flatten, got {layer}")
        flat = flat or isinstance(layer, Flatten)


def _joined(layer: Layer, count: int, is_first: bool) -> Layer:
    """`layer` of `count` networks side by side, which have the input of the first in common."""
    if not isinstance(layer, Conv2D):
        return layer
    groups = 1 if is_first else count * layer.groups
    return replace(layer, filters=count * layer.filters, groups=groups)
