"""The arrays of a network by name, as views of the C core's memory."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import numpy as np
import numpy.typing as npt

from mnistc import _core
from mnistc.layers import Layer, Shape, layer_name

F32 = npt.NDArray[np.float32]


class Weights(MutableMapping[str, F32]):
    """The arrays of a network by name: ``net.weights["dense.bias"]``.

    What is read is a view of the network's own memory. What is set is copied there, after a
    check of its shape (ValueError) and that it is finite (ValueError). No name can be added or
    deleted.
    """

    def __init__(self, layers: list[Layer], input_shape: Shape, network: _core.Network) -> None:
        self._views: dict[str, F32] = {}
        blocks = {"weight": network.parameters, "state": network.state}
        offsets = {"weight": 0, "state": 0}
        shape = input_shape
        for layer in layers:
            for kind, arrays in (
                ("weight", layer.weight_shapes(shape)),
                ("state", layer.state_shapes(shape)),
            ):
                for key, wanted in arrays.items():
                    start, size = offsets[kind], int(np.prod(wanted))
                    view = blocks[kind][start : start + size].reshape(wanted)
                    self._views[f"{layer_name(layer)}.{key}"] = view
                    offsets[kind] += size
            shape = layer.output_shape(shape)

    def __getitem__(self, name: str) -> F32:
        return self._views[name]

    def __setitem__(self, name: str, value: npt.ArrayLike) -> None:
        if name not in self._views:
            raise KeyError(f"no weights {name!r}; there are {', '.join(self._views)}")
        view = self._views[name]
        array = np.asarray(value, dtype=np.float32)
        if array.shape != view.shape:
            raise ValueError(f"weights {name!r} must have shape {view.shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"weights {name!r} must be finite")
        view[...] = array

    def __delitem__(self, name: str) -> None:
        raise TypeError("the weights of a network cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {view.shape}" for name, view in self._views.items())
        return f"Weights({shapes})"
