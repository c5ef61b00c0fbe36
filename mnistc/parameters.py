"""The arrays of a network by name, as views of the C core's memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableMapping

import numpy as np
import numpy.typing as npt

from mnistc import _core
from mnistc.layers import Layer, Shape, layer_name

F32 = npt.NDArray[np.float32]


class Weights(MutableMapping[str, F32]):
    """The arrays of a network by name: ``net.weights["dense.bias"]``.

    What is read is a view of the network's own memory, and may be written to. What is set is
    copied there, after a check of its shape (ValueError) and that it is finite (ValueError). No
    name can be added or deleted.
    """

    def __init__(self, layers: list[Layer], input_shape: Shape, network: _core.Network) -> None:
        self._network = network
        self._places: dict[str, tuple[str, int, int, tuple[int, ...]]] = {}
        # Blocks of memory that somebody holds views of. The core keeps a copy of the weights in
        # the order in which its kernels read them, and must be told of changes: see `settle`.
        self._lent: dict[str, weakref.ref[F32]] = {}
        ends = {"parameters": 0, "state": 0}
        shape = input_shape
        for layer in layers:
            for block, arrays in (
                ("parameters", layer.weight_shapes(shape)),
                ("state", layer.state_shapes(shape)),
            ):
                for key, wanted in arrays.items():
                    start, ends[block] = ends[block], ends[block] + int(np.prod(wanted))
                    place = (block, start, ends[block], wanted)
                    self._places[f"{layer_name(layer)}.{key}"] = place
            shape = layer.output_shape(shape)

    def settle(self) -> None:
        """Tell the core, before it computes, that arrays it lent may have been written to."""
        if self._lent:
            _ = self._network.parameters  # whoever gets it may write: the core takes note
            self._lent = {block: ref for block, ref in self._lent.items() if ref() is not None}

    def _block(self, name: str) -> F32:
        """A block of the network's memory; all views of it keep this one array alive."""
        ref = self._lent.get(name)
        block = None if ref is None else ref()
        if block is None:
            block = getattr(self._network, name)
            self._lent[name] = weakref.ref(block)
        return block

    def __getitem__(self, name: str) -> F32:
        block, start, stop, shape = self._places[name]
        return self._block(block)[start:stop].reshape(shape)

    def __setitem__(self, name: str, value: npt.ArrayLike) -> None:
        if name not in self._places:
            raise KeyError(f"no weights {name!r}; there are {', '.join(self._places)}")
        shape = self._places[name][3]
        try:
            array = np.asarray(value, dtype=np.float32)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"weights {name!r} must be numbers: {error}") from None
        if array.shape != shape:
            raise ValueError(f"weights {name!r} must have shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"weights {name!r} must be finite")
        self[name][...] = array

    def __delitem__(self, name: str) -> None:
        raise TypeError("the weights of a network cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {place[3]}" for name, place in self._places.items())
        return f"Weights({shapes})"
