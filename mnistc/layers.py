"""The layers of a network, as plain descriptions.

A layer object holds hyper-parameters only, so it can be shared, compared and written to a file.
The arrays live in one flat block owned by the C core (see ``mnistc.model``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softmax")
_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,63}")  # as in formats/model.schema.json

Shape = tuple[int, int, int]
"""Height, width and channels of one image; a flat vector of n is (1, 1, n)."""


def check_int(name: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int, or say what was wanted instead."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = int(value.__index__())
    if not low <= number <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {number}")
    return number


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


def check_float(
    name: str, value: object, low: float, high: float, *, open_high: bool = False
) -> float:
    if isinstance(value, bool) or (
        not isinstance(value, (int, float)) and not hasattr(value, "__float__")
    ):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not (low <= number < high if open_high else low <= number <= high):
        bracket = ")" if open_high else "]"
        raise ValueError(f"{name} must be in [{low}, {high}{bracket}, got {number}")
    return number


def check_kernel(value: object) -> tuple[int, int]:
    pair = (value, value) if hasattr(value, "__index__") else value
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"kernel_size must be an odd integer or a pair of them, got {value!r}")
    height, width = (check_int("kernel_size", size, 1, 31) for size in pair)
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {value!r}")
    return height, width


def _convolved(
    name: str, shape: Shape, kernel: tuple[int, int], padding: str, channels: int
) -> Shape:
    if padding == "same":
        return shape[0], shape[1], channels
    height, width = shape[0] - kernel[0] + 1, shape[1] - kernel[1] + 1
    if height < 1 or width < 1:
        raise ValueError(
            f"{name}: a {kernel[0]}x{kernel[1]} kernel with padding='valid' does not fit "
            f"an input of {shape[0]}x{shape[1]}"
        )
    return height, width, channels


@dataclass(frozen=True)
class Layer:
    """Base of all layers.

    Subclasses give `type` (the name in model files), and for an input shape the output shape,
    the shapes of their weights and their multiply-adds for one image.
    """

    type: ClassVar[str] = ""

    @property
    def activation_name(self) -> str:
        return str(getattr(self, "activation", "linear"))

    def output_shape(self, shape: Shape) -> Shape:
        """Shape (height, width, channels) that this layer makes of an input of `shape`."""
        return shape

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Shapes of the trained arrays, in the order in which they lie in memory."""
        return {}

    def state_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that are kept but not trained (running statistics)."""
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        """Multiply-adds of one forward pass of one image."""
        return 0

    def config(self) -> dict[str, Any]:
        """Type, name and hyper-parameters as JSON-ready values."""
        values: dict[str, Any] = {"type": self.type}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = list(value) if isinstance(value, tuple) else value
        return values


def layer_from_config(config: dict[str, Any]) -> Layer:
    """Rebuild a layer from `Layer.config()`; unknown types and keys are ValueErrors."""
    values = dict(config)
    kind = values.pop("type", None)
    if kind not in LAYERS:
        raise ValueError(f"layer type must be one of {', '.join(sorted(LAYERS))}; got {kind!r}")
    known = {field.name for field in fields(LAYERS[kind])}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"layer {kind!r} has no parameter {unknown[0]!r}; it has {sorted(known)}")
    try:
        return LAYERS[kind](**values)
    except TypeError as error:
        raise ValueError(f"layer {kind!r}: {error}") from None


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer: ``activation(x @ weight + bias)``.

    An input with height and width is flattened row by row, channels last.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : {"linear", "relu", "sigmoid", "tanh", "softmax"}
    name : str, optional
        Prefix of the weights' names: ``name.weight`` (in, out) and ``name.bias`` (out,).
    """

    units: int
    activation: str = "linear"
    name: str | None = None
    type: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", check_int("units", self.units, 1, 1 << 24))
        check_choice("activation", self.activation, ACTIVATIONS)

    def output_shape(self, shape: Shape) -> Shape:
        return 1, 1, self.units

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"weight": (shape[0] * shape[1] * shape[2], self.units), "bias": (self.units,)}

    def multiply_adds(self, shape: Shape) -> int:
        return shape[0] * shape[1] * shape[2] * self.units


@dataclass(frozen=True)
class Conv2D(Layer):
    """Two-dimensional convolution with stride 1: ``activation(conv(x, weight) + bias)``.

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or (int, int)
        Odd height and width.
    padding : {"valid", "same"}
        "same" surrounds the image with zeros so that it keeps its size.
    activation : {"linear", "relu", "sigmoid", "tanh", "softmax"}
    name : str, optional
        Prefix of ``name.weight`` (height, width, in / groups, out) and ``name.bias`` (out,).
    groups : int
        Channels and filters are cut into as many groups, in order, and a group of filters sees
        its group of channels only. Both numbers must be multiples of it.
    """

    filters: int
    kernel_size: int | tuple[int, int] = 3
    padding: str = "valid"
    activation: str = "linear"
    name: str | None = None
    groups: int = 1
    type: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        object.__setattr__(self, "filters", check_int("filters", self.filters, 1, 1 << 16))
        object.__setattr__(self, "kernel_size", check_kernel(self.kernel_size))
        object.__setattr__(self, "groups", check_int("groups", self.groups, 1, 1024))
        if self.filters % self.groups:
            raise ValueError(
                f"filters must be a multiple of groups, got {self.filters} and {self.groups}"
            )
        check_choice("padding", self.padding, ("valid", "same"))
        check_choice("activation", self.activation, ACTIVATIONS)

    @property
    def kernel(self) -> tuple[int, int]:
        return check_kernel(self.kernel_size)

    def output_shape(self, shape: Shape) -> Shape:
        if shape[2] % self.groups:
            raise ValueError(f"Conv2D: {shape[2]} channels cannot be cut into {self.groups} groups")
        return _convolved("Conv2D", shape, self.kernel, self.padding, self.filters)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        seen = shape[2] // self.groups
        return {"weight": (*self.kernel, seen, self.filters), "bias": (self.filters,)}

    def multiply_adds(self, shape: Shape) -> int:
        height, width, channels = self.output_shape(shape)
        seen = shape[2] // self.groups
        return height * width * channels * self.kernel[0] * self.kernel[1] * seen


@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    """Convolution of each channel with a kernel of its own.

    Followed by a 1x1 `Conv2D` it makes a depthwise-separable convolution.

    Parameters
    ----------
    kernel_size : int or (int, int)
    padding : {"valid", "same"}
    activation : {"linear", "relu", "sigmoid", "tanh", "softmax"}
    name : str, optional
        Prefix of ``name.weight`` (height, width, channels) and ``name.bias`` (channels,).
    """

    kernel_size: int | tuple[int, int] = 3
    padding: str = "valid"
    activation: str = "linear"
    name: str | None = None
    type: ClassVar[str] = "depthwise_conv2d"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_size", check_kernel(self.kernel_size))
        check_choice("padding", self.padding, ("valid", "same"))
        check_choice("activation", self.activation, ACTIVATIONS)

    @property
    def kernel(self) -> tuple[int, int]:
        return check_kernel(self.kernel_size)

    def output_shape(self, shape: Shape) -> Shape:
        return _convolved("DepthwiseConv2D", shape, self.kernel, self.padding, shape[2])

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"weight": (*self.kernel, shape[2]), "bias": (shape[2],)}

    def multiply_adds(self, shape: Shape) -> int:
        height, width, channels = self.output_shape(shape)
        return height * width * channels * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """Largest value of each window; windows that do not fit are left out.

    Parameters
    ----------
    pool_size : int
        Side of the square window, 2 or 3 as a rule.
    strides : int, optional
        Distance between windows; the pool size unless told.
    name : str, optional
    """

    pool_size: int = 2
    strides: int | None = None
    name: str | None = None
    type: ClassVar[str] = "max_pool2d"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool_size", check_int("pool_size", self.pool_size, 1, 15))
        stride = self.pool_size if self.strides is None else self.strides
        object.__setattr__(self, "strides", check_int("strides", stride, 1, 15))

    def output_shape(self, shape: Shape) -> Shape:
        if shape[0] < self.pool_size or shape[1] < self.pool_size:
            raise ValueError(
                f"MaxPool2D: a window of {self.pool_size} does not fit "
                f"an input of {shape[0]}x{shape[1]}"
            )
        stride = self.strides or self.pool_size
        height = (shape[0] - self.pool_size) // stride + 1
        width = (shape[1] - self.pool_size) // stride + 1
        return height, width, shape[2]


@dataclass(frozen=True)
class GlobalAveragePool2D(Layer):
    """Mean of each channel over the whole image."""

    name: str | None = None
    type: ClassVar[str] = "global_average_pool2d"

    def output_shape(self, shape: Shape) -> Shape:
        return 1, 1, shape[2]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalise each channel over the minibatch (Ioffe and Szegedy, arXiv:1502.03167).

    Running statistics stand in when predicting, and are folded into the layer before or after
    when a model is exported.

    Parameters
    ----------
    momentum : float
        Share of the old running statistics kept at each step, in [0, 1).
    epsilon : float
        Added to the variance.
    activation : {"linear", "relu", "sigmoid", "tanh"}
        Applied to the normalised values.
    name : str, optional
        Prefix of ``name.gamma``, ``name.beta``, ``name.running_mean``, ``name.running_var``,
        all (channels,).
    """

    momentum: float = 0.9
    epsilon: float = 1e-3
    activation: str = "linear"
    name: str | None = None
    type: ClassVar[str] = "batch_norm"

    def __post_init__(self) -> None:
        check_float("momentum", self.momentum, 0.0, 1.0, open_high=True)
        check_float("epsilon", self.epsilon, 1e-12, 1.0)
        check_choice("activation", self.activation, ACTIVATIONS[:-1])

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"gamma": (shape[2],), "beta": (shape[2],)}

    def state_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"running_mean": (shape[2],), "running_var": (shape[2],)}


@dataclass(frozen=True)
class Dropout(Layer):
    """Set a share of the values to zero while training and scale the rest up to match.

    The random numbers are a function of seed, step and position (Philox), so the number of
    threads does not change them.

    Parameters
    ----------
    rate : float
        Share of values dropped, in [0, 1).
    name : str, optional
    """

    rate: float
    name: str | None = None
    type: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        check_float("rate", self.rate, 0.0, 1.0, open_high=True)


@dataclass(frozen=True)
class Flatten(Layer):
    """Turn (height, width, channels) into one vector, row by row, channels last."""

    name: str | None = None
    type: ClassVar[str] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return 1, 1, shape[0] * shape[1] * shape[2]


@dataclass(frozen=True)
class Activation(Layer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : {"linear", "relu", "sigmoid", "tanh", "softmax"}
    name : str, optional
    """

    activation: str
    name: str | None = None
    type: ClassVar[str] = "activation"

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, ACTIVATIONS)


LAYERS: dict[str, type[Layer]] = {
    layer.type: layer
    for layer in (
        Dense,
        Conv2D,
        DepthwiseConv2D,
        MaxPool2D,
        GlobalAveragePool2D,
        BatchNorm,
        Dropout,
        Flatten,
        Activation,
    )
}


def layer_name(layer: Layer) -> str:
    """Name of `layer`, "" if it has none."""
    return str(getattr(layer, "name", None) or "")


def named_layers(layers: Iterable[Layer]) -> list[Layer]:
    """Give every layer without a name one by Keras' habit: ``dense``, ``dense_1``, ...

    Raises
    ------
    ValueError
        If two layers have the same name, or one has none that files can hold.
    """
    given = list(layers)
    names = [name for layer in given if (name := layer_name(layer))]
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"name must be a letter and up to 63 letters, digits, _ or -, got {name!r}"
            )
    taken = set(names)
    if len(taken) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"layers must have different names, got {double!r} twice")
    result = []
    for layer in given:
        if not layer_name(layer):
            candidates = (f"{layer.type}_{i}" if i else layer.type for i in itertools.count())
            name = next(candidate for candidate in candidates if candidate not in taken)
            taken.add(name)
            values = {**layer.config(), "name": name}
            layer = layer_from_config(values)
        result.append(layer)
    return result


def array_shapes(layers: Iterable[Layer], input_shape: Shape) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights and running statistics of named `layers`, keyed ``layer.array``.

    Layer by layer, and within a layer first the trained arrays, then the running statistics.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    shape = input_shape
    for layer in layers:
        for arrays in (layer.weight_shapes(shape), layer.state_shapes(shape)):
            shapes.update({f"{layer_name(layer)}.{key}": value for key, value in arrays.items()})
        shape = layer.output_shape(shape)
    return shapes
