"""TensorFlow.js layers models: ``model.json`` and its weight shards.

Both ways of saying the same thing are read: what the converter makes of a Keras model
(``modelTopology.model_config``) and what ``model.save()`` writes in a browser. Sequential models
whose layers this package has; anything else is a `FormatError` that names the layer. Writing is
in `mnistc.formats.tfjs_writer`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.errors import FormatError
from mnistc.formats.files import MAX_FILE_BYTES, PathLike, read_capped
from mnistc.formats.model_file import MAX_LAYERS, ModelFile, check_network
from mnistc.formats.tensors import MAX_PARAMETERS
from mnistc.formats.untrusted import F32, check_finite, check_metadata, one_line, parse_json, short
from mnistc.layers import (
    Activation,
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
    array_shapes,
    layer_name,
    named_layers,
)

MAX_SHARDS = 1024
STORED: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
}

Config = dict[str, Any]


def read_tfjs(path: PathLike) -> ModelFile:
    """Read a TensorFlow.js layers model from its ``model.json``; the shards lie beside it.

    Raises
    ------
    FileNotFoundError
        If ``model.json`` or a shard is missing.
    FormatError
        If it is not a Sequential layers model of known layers, or sizes disagree, or a shard's
        path leads out of the directory.
    """
    path = Path(path)
    return tfjs_from_document(parse_json(read_capped(path), path.name), path)


def tfjs_from_document(document: Any, path: Path) -> ModelFile:
    """Read a model from the parsed, still untrusted ``model.json`` at `path`."""
    source = path.name
    check_metadata(document, source)
    try:
        name, configs = _sequential(document)
        layers, keras_names, input_shape = _read_layers(configs)
        check_network(layers, input_shape)
        _check_flat(layers, input_shape, configs)
        tensors = _read_tensors(document.get("weightsManifest"), path.parent)
        weights = _assign(layers, keras_names, input_shape, tensors)
        return ModelFile(layers, weights, input_shape, name=name)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{source}: {one_line(str(error))}") from None


def _get(config: Any, key: str, kind: type, default: Any = None) -> Any:
    """Value of `key` if it has the right type, `default` if it is missing."""
    if not isinstance(config, dict):
        raise FormatError(f"wanted an object with {key!r}, got {short(config)}")
    value = config.get(key, default)
    if not isinstance(value, kind):
        raise FormatError(f"{key}: wanted {kind.__name__}, got {short(value)}")
    return value


def _number(config: Config, key: str) -> float:
    value = config.get(key)
    if type(value) not in (int, float):
        raise FormatError(f"{key}: wanted a number, got {short(value)}")
    return float(value)  # type: ignore[arg-type]


def _sequential(document: Any) -> tuple[str, list[Any]]:
    """Name and layer configurations of the Sequential model in `document`."""
    if document.get("format", "layers-model") != "layers-model":
        raise FormatError(f"format: wanted 'layers-model', got {short(document['format'])}")
    topology = _get(document, "modelTopology", dict)
    model = topology.get("model_config", topology)
    kind = _get(model, "class_name", str)
    if kind != "Sequential":
        raise FormatError(f"wanted a Sequential model, got {short(kind)}")
    config = model.get("config")
    configs = config if isinstance(config, list) else _get(config, "layers", list)
    name = config.get("name") if isinstance(config, dict) else None
    return (name if isinstance(name, str) and name else "sequential"), configs


def _read_layers(configs: list[Any]) -> tuple[list[Layer], list[str], Shape]:
    """Our layers, the Keras name of each, and the input shape."""
    if not 1 <= len(configs) <= MAX_LAYERS:
        raise FormatError(f"layers: wanted 1 to {MAX_LAYERS}, got {len(configs)}")
    layers: list[Layer] = []
    names: list[str] = []
    shape: Shape | None = None
    for index, entry in enumerate(configs):
        kind = _get(entry, "class_name", str)
        config = _get(entry, "config", dict)
        name = _get(config, "name", str, f"layer_{index}")
        where = f"layers[{index}] ({kind} {short(name)})"
        try:
            if shape is None:
                shape = _input_shape(config)
            if kind == "InputLayer":
                continue
            if kind not in READERS:
                raise FormatError(f"not supported; known are {', '.join(READERS)}")
            layers.append(READERS[kind](config))
        except (ValueError, TypeError) as error:
            raise FormatError(f"{where}: {error}") from None
        names.append(name)
    if shape is None:
        raise FormatError("layers: no batch_input_shape")
    return named_layers(layers), names, shape


def _batch_shape(config: Config) -> list[Any]:
    shape = config.get("batch_input_shape") or config.get("batch_shape")
    return shape if isinstance(shape, list) else []


def _input_shape(config: Config) -> Shape:
    sizes = _batch_shape(config)[1:]
    if not 1 <= len(sizes) <= 3 or not all(type(size) is int and size > 0 for size in sizes):
        raise FormatError(
            f"batch_input_shape: wanted [null, height, width, channels], got {short(sizes)}"
        )
    if len(sizes) == 1:
        return (28, 28, 1) if sizes == [784] else (1, 1, sizes[0])
    return sizes[0], sizes[1], sizes[2] if len(sizes) == 3 else 1


def _check_flat(layers: list[Layer], shape: Shape, configs: list[Any]) -> None:
    """Keras applies Dense to the last axis of an image; ours flattens the image first."""
    flat = len(_batch_shape(configs[0]["config"])) == 2
    for layer in layers:
        if isinstance(layer, Dense) and shape[:2] != (1, 1) and not flat:
            raise FormatError(f"Dense on an image of {shape[0]}x{shape[1]}: wanted Flatten before")
        shape = layer.output_shape(shape)


def _expect(config: Config, **wanted: tuple[Any, ...]) -> None:
    """Refuse a setting that this package has no equivalent of."""
    for key, values in wanted.items():
        if key in config and config[key] not in values:
            raise FormatError(f"{key}: wanted {short(values[0])}, got {short(config[key])}")


def _pair(config: Config, key: str) -> tuple[int, int]:
    value = config.get(key)
    if type(value) is int:
        return value, value
    if isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value):
        return value[0], value[1]
    raise FormatError(f"{key}: wanted two integers, got {short(value)}")


def _common(config: Config) -> dict[str, Any]:
    """Parameters shared by the layers that have weights, and what they may not ask for."""
    once = (1, [1, 1], None)
    _expect(config, strides=once, dilation_rate=once, depth_multiplier=(1,))
    _expect(config, data_format=("channels_last", None))
    activation = config.get("activation") or "linear"
    return {"activation": activation}


def _conv2d(config: Config) -> Layer:
    kernel, padding = _pair(config, "kernel_size"), config.get("padding", "valid")
    groups = config.get("groups", 1)
    return Conv2D(_get(config, "filters", int), kernel, padding, groups=groups, **_common(config))


def _depthwise(config: Config) -> Layer:
    kernel, padding = _pair(config, "kernel_size"), config.get("padding", "valid")
    _expect(config, groups=(1,))
    return DepthwiseConv2D(kernel, padding, **_common(config))


def _dense(config: Config) -> Layer:
    return Dense(_get(config, "units", int), **_common(config))


def _max_pool(config: Config) -> Layer:
    _expect(config, padding=("valid",), data_format=("channels_last", None))
    size = _pair(config, "pool_size")
    strides = size if config.get("strides") is None else _pair(config, "strides")
    if size[0] != size[1] or strides[0] != strides[1]:
        raise FormatError(f"wanted a square pool, got {size} with strides {strides}")
    return MaxPool2D(size[0], strides[0])


def _batch_norm(config: Config) -> Layer:
    _expect(config, axis=(-1, 3, [3], [-1]))
    return BatchNorm(epsilon=config.get("epsilon", 1e-3))


def _global_average(config: Config) -> Layer:
    _expect(config, data_format=("channels_last", None), keepdims=(False,))
    return GlobalAveragePool2D()


def _flatten(config: Config) -> Layer:
    _expect(config, data_format=("channels_last", None))
    return Flatten()


def _relu(config: Config) -> Layer:
    _expect(config, max_value=(None,), negative_slope=(0, None), threshold=(0, None))
    return Activation("relu")


def _softmax(config: Config) -> Layer:
    _expect(config, axis=(-1,))
    return Activation("softmax")


READERS: dict[str, Callable[[Config], Layer]] = {
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise,
    "MaxPooling2D": _max_pool,
    "GlobalAveragePooling2D": _global_average,
    "BatchNormalization": _batch_norm,
    "Flatten": _flatten,
    "Dropout": lambda config: Dropout(config.get("rate", 0.5)),
    "Dense": _dense,
    "Activation": lambda config: Activation(_get(config, "activation", str)),
    "ReLU": _relu,
    "Softmax": _softmax,
}


@dataclass(frozen=True)
class _Spec:
    """One entry of the weights manifest, checked."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 1.0
    offset: float = 0.0

    @property
    def n_bytes(self) -> int:
        size: int = STORED[self.dtype].itemsize
        return math.prod(self.shape) * size


def _read_spec(entry: Any) -> _Spec:
    name = _get(entry, "name", str)
    shape = _get(entry, "shape", list)
    if len(shape) > 4 or not all(type(n) is int and 0 < n <= MAX_PARAMETERS for n in shape):
        raise FormatError(f"{short(name)}: shape {short(shape)} is no shape of weights")
    if math.prod(shape) > MAX_PARAMETERS:
        raise FormatError(f"{short(name)}: more than {MAX_PARAMETERS} values")
    stored, scale, offset = _get(entry, "dtype", str), 1.0, 0.0
    if "quantization" in entry:
        quantization = _get(entry, "quantization", dict)
        stored = _get(quantization, "dtype", str)
        if stored in ("uint8", "uint16"):
            scale, offset = _number(quantization, "scale"), _number(quantization, "min")
    elif stored != "float32":
        raise FormatError(f"{short(name)}: dtype must be float32, got {short(stored)}")
    if stored not in STORED:
        raise FormatError(f"{short(name)}: quantization {short(stored)} is not known")
    return _Spec(name, tuple(shape), stored, scale, offset)


def _read_tensors(manifest: Any, directory: Path) -> dict[str, F32]:
    """All weights by name. Sizes are added up and compared before a shard is opened."""
    if not isinstance(manifest, list):
        raise FormatError(f"weightsManifest: wanted a list, got {short(manifest)}")
    tensors: dict[str, F32] = {}
    total = 0
    for group in manifest:
        specs = [_read_spec(entry) for entry in _get(group, "weights", list)]
        paths = [_shard(text, directory) for text in _get(group, "paths", list)]
        wanted = sum(spec.n_bytes for spec in specs)
        total += wanted
        if total > MAX_FILE_BYTES or len(paths) > MAX_SHARDS:
            raise FormatError("weightsManifest: more weights or shards than is read")
        data = bytearray()
        for path in paths:
            data += read_capped(path, wanted - len(data))
        if len(data) != wanted:
            raise FormatError(f"weight shards: wanted {wanted} bytes, got {len(data)}")
        offset = 0
        for spec in specs:
            if spec.name in tensors:
                raise FormatError(f"weightsManifest: {short(spec.name)} is given twice")
            tensors[spec.name] = _decode(spec, data[offset : offset + spec.n_bytes])
            offset += spec.n_bytes
    return tensors


def _shard(text: Any, directory: Path) -> Path:
    """Path of a shard, which must lie in `directory` or below, links followed."""
    if not isinstance(text, str) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", text, re.ASCII):
        raise FormatError(f"weightsManifest: {short(text)} is no relative path of a shard")
    path = directory / text
    if not path.resolve().is_relative_to(directory.resolve()):
        raise FormatError(f"weightsManifest: {short(text)} leads out of the model's directory")
    return path


def _decode(spec: _Spec, data: bytearray) -> F32:
    stored: npt.NDArray[Any] = np.frombuffer(data, STORED[spec.dtype])
    with np.errstate(over="ignore", invalid="ignore"):
        if spec.dtype in ("uint8", "uint16"):
            stored = stored.astype(np.float32) * np.float32(spec.scale) + np.float32(spec.offset)
        values: F32 = stored.astype(np.float32)
    return check_finite(values, short(spec.name)).reshape(spec.shape)


KERAS_ARRAYS = {
    "weight": "kernel",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def keras_array(layer: Layer, role: str) -> str:
    """What Keras calls this array of a layer."""
    if isinstance(layer, DepthwiseConv2D) and role == "weight":
        return "depthwise_kernel"
    return KERAS_ARRAYS[role]


def _assign(
    layers: list[Layer],
    keras_names: list[str],
    input_shape: Shape,
    tensors: dict[str, F32],
) -> dict[str, F32]:
    """Find each array of each layer; missing biases, gammas and betas are 0, 1 and 0."""
    # "sequential/conv2d/kernel:0" and "conv2d/kernel" are the same.
    by_name = {"/".join(name.split(":")[0].split("/")[-2:]): a for name, a in tensors.items()}
    if len(by_name) < len(tensors):
        raise FormatError("weightsManifest: two weights of the same layer and name")
    weights = {}
    shapes = array_shapes(layers, input_shape)
    for layer, keras_name in zip(layers, keras_names, strict=True):
        prefix = layer_name(layer) + "."
        for key in (key for key in shapes if key.startswith(prefix)):
            role = key.removeprefix(prefix)
            name = f"{keras_name.split('/')[-1]}/{keras_array(layer, role)}"
            array = by_name.pop(name, None)
            if array is None and role in ("bias", "gamma", "beta"):
                array = np.full(shapes[key], float(role == "gamma"), np.float32)
            if array is None:
                raise FormatError(f"weightsManifest: {short(name)} is missing")
            if isinstance(layer, DepthwiseConv2D) and array.shape == (*shapes[key], 1):
                array = array[..., 0]
            if array.shape != shapes[key]:
                raise FormatError(f"{short(name)}: wanted {shapes[key]}, got {array.shape}")
            weights[key] = array
    if by_name:
        raise FormatError(f"weightsManifest: no layer has {short(next(iter(by_name)))}")
    return weights
