"""The model file, version 1: one JSON document that says all there is to say about a network.

``model.schema.json`` beside this file describes it. Reading trusts nothing: sizes are compared
before anything is allocated, and every error is a one-line `FormatError` that names the place.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mnistc.errors import FormatError
from mnistc.formats import vectors
from mnistc.formats.files import PathLike, read_capped, write_atomic
from mnistc.formats.fold import fold
from mnistc.formats.tensors import (
    ENCODINGS,
    MAX_PARAMETERS,
    QUANTIZED,
    decode_tensor,
    dtype_for,
    encode_tensor,
)
from mnistc.formats.untrusted import F32, check_finite, check_metadata, parse_json, short
from mnistc.layers import (
    BatchNorm,
    Dropout,
    Layer,
    Shape,
    array_shapes,
    check_choice,
    check_int,
    layer_from_config,
    layer_name,
    named_layers,
)

FORMAT = "mnistc-model"
VERSION = "1.0"
STROKES_V1 = {
    "id": "strokes-v1",
    "size": 28,
    "box": 20,
    "centering": "mass",
    "pen_width": 2.4,
}

MAX_LAYERS = 256
MAX_IMAGE_VALUES = 1 << 24
MAX_LABELS = 10_000

Quantize = Literal["int8", "float16"]


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


# Writing


def write_model(
    path: PathLike,
    model: ModelFile,
    quantize: Quantize | None = None,
    encoding: Literal["base64", "decimal"] = "base64",
) -> None:
    """Write `model` to `path`, whole or not at all.

    BatchNorm is folded where that is exact and Dropout left out. Test vectors are computed
    anew from the weights as stored; a model without any gets a few.

    Parameters
    ----------
    quantize : {None, "float16", "int8"}
        How kernels are stored; the errors are in `mnistc.formats.tensors`. Biases stay float32.
    encoding : {"base64", "decimal"}
        Decimal numbers are the shortest that read back as the same float32.

    Raises
    ------
    ValueError
        If the model cannot be written: weights that are not finite or too large for float16,
        metadata that is not JSON.
    OSError
        If the disk is full or the directory not writable; an old file is then unchanged.
    """
    write_atomic(path, format_model(model, quantize, encoding))


def format_model(model: ModelFile, quantize: str | None = None, encoding: str = "base64") -> bytes:
    """Bytes of the model file that `write_model` writes."""
    if quantize not in QUANTIZED:
        raise ValueError(f"quantize must be None, 'float16' or 'int8'; got {short(quantize)}")
    check_choice("encoding", encoding, ENCODINGS)
    model = replace(model.folded(), generator=_generator())
    tensors = {
        key: encode_tensor(array, dtype_for(array.shape, quantize), encoding, key)
        for key, array in model.weights.items()
    }
    stored = {
        key: decode_tensor(entry, model.weights[key].shape, key) for key, entry in tensors.items()
    }
    model = replace(model, weights=stored)
    model = replace(model, test_vectors=vectors.refresh(model))
    data = _serialize(_document(model), tensors)
    parse_model(data, "the written file")  # what cannot be read must not be written
    return data


def _generator() -> str:
    from mnistc import __version__

    return f"mnistc {__version__}"


def _document(model: ModelFile) -> dict[str, Any]:
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": model.name,
        "labels": model.labels,
        "license": model.license,
        "generator": model.generator,
        "input": {
            "shape": list(model.input_shape),
            "range": [0, 1],
            "polarity": "ink-is-one",
        },
        "preprocessing": model.preprocessing,
        "layers": [layer_entry(layer, model.input_shape) for layer in model.layers],
        "training": model.training,
        "metrics": model.metrics,
        "test_vectors": model.test_vectors,
        "extra": model.extra,
    }
    optional = ("license", "preprocessing", "training", "metrics", "test_vectors", "extra")
    return {k: v for k, v in document.items() if v or k not in optional}


def layer_entry(layer: Layer, shape: Shape) -> dict[str, Any]:
    """JSON object of a layer: its hyper-parameters and the names of its tensors."""
    entry = layer.config()
    entry.pop("momentum", None)  # only training needs it
    arrays = [*layer.weight_shapes(shape), *layer.state_shapes(shape)]
    return entry | {key: f"{layer_name(layer)}.{key}" for key in arrays}


def _serialize(document: dict[str, Any], tensors: dict[str, Any]) -> bytes:
    """JSON with one layer, tensor and test vector a line, so that a difference can be read."""

    def line(value: object) -> str:
        try:
            return json.dumps(
                value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
            )
        except RecursionError:
            raise ValueError("metadata is nested too deeply for JSON") from None

    def block(key: str, value: Any) -> str:
        if key in ("layers", "test_vectors"):
            return "[\n" + ",\n".join(map(line, value)) + "\n]"
        if key == "tensors":
            return "{\n" + ",\n".join(f"{line(k)}:{line(v)}" for k, v in value.items()) + "\n}"
        return line(value)

    items = {**document, "tensors": tensors}
    text = ",\n".join(f"{line(key)}:{block(key, value)}" for key, value in items.items())
    try:
        return f"{{\n{text}\n}}\n".encode()
    except UnicodeEncodeError:
        raise ValueError("metadata holds half a surrogate pair, not a character") from None


def _plain(value: object) -> object:
    """NumPy numbers and arrays in metadata, as JSON knows them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return value.name
    raise ValueError(f"metadata must be JSON-ready, got a {type(value).__name__}")


# Reading


def read_model(path: PathLike) -> ModelFile:
    """Read a model file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is not a model file of version 1 in every particular.
    """
    return parse_model(read_capped(path), Path(path).name)


def parse_model(data: bytes, source: str = "model") -> ModelFile:
    """Read a model from the bytes of its file; `source` names it in errors."""
    return model_from_document(parse_json(data, source), source)


def model_from_document(document: Any, source: str) -> ModelFile:
    """Read a model from parsed, still untrusted JSON."""
    _check_version(document, source)
    try:
        _check_schema(document, source)
        layers, owners = _read_layers(document["layers"])
        input_shape, _ = check_network(layers, document["input"]["shape"])
        model = ModelFile(
            layers=layers,
            weights=_read_tensors(document["tensors"], layers, owners, input_shape),
            input_shape=input_shape,
            **{
                key: document[key]
                for key in (
                    "labels",
                    "name",
                    "license",
                    "generator",
                    "preprocessing",
                    "training",
                    "metrics",
                    "test_vectors",
                    "extra",
                )
                if key in document
            },
        )
        vectors.check(model)
    except FormatError as error:
        text = str(error)
        raise FormatError(text if text.startswith(source) else f"{source}: {text}") from None
    except (ValueError, TypeError) as error:
        raise FormatError(f"{source}: {error}") from None
    return model


def _check_version(document: Any, source: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(f"{source}: not a model file: wanted format {FORMAT!r}")
    version = document.get("version")
    match = isinstance(version, str) and re.fullmatch(r"(\d{1,5})\.(\d{1,5})", version)
    if not match:
        raise FormatError(f"{source}: version must be like {VERSION!r}, got {short(version)}")
    if match[1] != "1":
        raise FormatError(f"{source}: version {version} is not known here; wanted 1.x")


@functools.cache
def _schema() -> dict[str, Any]:
    text = resources.files("mnistc.formats").joinpath("model.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _check_schema(document: dict[str, Any], source: str) -> None:
    """Check everything but the long lists, which are checked faster elsewhere."""
    import jsonschema

    schema = _schema()
    if document["version"] != VERSION:  # a newer minor may know more keys
        document = {k: v for k, v in document.items() if k in schema["properties"]}
    for key, limit in (("layers", MAX_LAYERS), ("tensors", 4 * MAX_LAYERS), ("test_vectors", 100)):
        if isinstance(document.get(key), (list, dict)) and len(document[key]) > limit:
            raise FormatError(f"{source}: {key}: at most {limit}, got {len(document[key])}")
    skeleton = _skeleton(document)
    check_metadata(skeleton, source)
    validator = jsonschema.Draft202012Validator(schema)
    error = next(iter(validator.iter_errors(skeleton)), None)
    if error is not None:
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        message = error.message if len(error.message) <= 160 else error.message[:157] + "..."
        raise FormatError(f"{source}: {ascii(where.lstrip('.'))[1:-1] or 'file'}: {message}")


def _skeleton(document: dict[str, Any]) -> dict[str, Any]:
    """Copy of `document` with its long strings and lists of numbers left empty."""

    def emptied(entry: Any, keys: tuple[str, ...]) -> Any:
        if not isinstance(entry, dict):
            return entry
        empty = {k: type(v)() for k, v in entry.items() if k in keys and type(v) in (str, list)}
        return entry | empty

    copy = dict(document)
    if isinstance(copy.get("tensors"), dict):
        tensors = copy["tensors"].items()
        copy["tensors"] = {k: emptied(v, ("data", "scale")) for k, v in tensors}
    if isinstance(copy.get("test_vectors"), list):
        keys = ("strokes", "input", "probabilities")
        copy["test_vectors"] = [emptied(v, keys) for v in copy["test_vectors"]]
    return copy


def _read_layers(entries: list[dict[str, Any]]) -> tuple[list[Layer], list[dict[str, str]]]:
    """Layers, and for each the names of its tensors by role ("weight", "bias", ...)."""
    layers, owners = [], []
    for index, entry in enumerate(entries):
        if entry["type"] == Dropout.type:
            raise FormatError(f"layers[{index}]: dropout has no place in a file")
        probe = layer_roles(entry["type"])
        try:
            values = {key: value for key, value in entry.items() if key not in probe}
            layers.append(layer_from_config(values))
        except (ValueError, TypeError) as error:
            raise FormatError(f"layers[{index}]: {error}") from None
        owners.append({role: entry[role] for role in probe})
    return named_layers(layers), owners


def layer_roles(kind: str) -> tuple[str, ...]:
    """Roles of the tensors that a layer of this type names."""
    if kind == BatchNorm.type:
        return "gamma", "beta", "running_mean", "running_var"
    return ("weight", "bias") if kind in ("dense", "conv2d", "depthwise_conv2d") else ()


def _read_tensors(
    tensors: dict[str, Any], layers: list[Layer], owners: list[dict[str, str]], input_shape: Shape
) -> dict[str, F32]:
    """Decode every tensor under the name that its layer gives it."""
    shapes = array_shapes(layers, input_shape)
    weights: dict[str, F32] = {}
    used: set[str] = set()
    for layer, roles in zip(layers, owners, strict=True):
        for role, name in roles.items():
            where = f"tensors.{ascii(name)[1:-1]}"
            if name not in tensors:
                raise FormatError(f"{where}: missing; layer {layer_name(layer)!r} needs it")
            if name in used:
                raise FormatError(f"{where}: used by two layers")
            used.add(name)
            key = f"{layer_name(layer)}.{role}"
            weights[key] = decode_tensor(tensors[name], shapes[key], where)
    extra = sorted(set(tensors) - used)
    if extra:
        raise FormatError(f"tensors.{ascii(extra[0])[1:-1]}: no layer uses it")
    return weights


def verify(model: ModelFile, predict: vectors.Predict) -> float:
    """Check a reader against the model's own test vectors.

    Parameters
    ----------
    predict : callable
        From images (n, height, width, channels) float32 to outputs (n, classes).

    Returns
    -------
    float
        Largest difference seen; 0 for a model without test vectors.

    Raises
    ------
    FormatError
        If an output is further off than its vector's ``atol``.
    """
    return vectors.verify(model, predict)
