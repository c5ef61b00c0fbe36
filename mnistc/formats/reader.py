"""Read the model file, version 1: one JSON document that says all there is to say about a network.

``model.schema.json`` beside this file describes it. Reading trusts nothing: sizes are compared
before anything is allocated, and every error is a one-line `FormatError` that names the place.
"""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mnistc.errors import FormatError
from mnistc.formats import vectors
from mnistc.formats.files import PathLike, read_capped
from mnistc.formats.model_file import MAX_LAYERS, ModelFile, check_network
from mnistc.formats.tensors import decode_tensor
from mnistc.formats.untrusted import F32, check_metadata, one_line, parse_json, short
from mnistc.layers import (
    BatchNorm,
    Dropout,
    Layer,
    Shape,
    array_shapes,
    layer_from_config,
    layer_name,
    named_layers,
)

FORMAT = "mnistc-model"
VERSION = "1.0"
METADATA = (
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


def model_from_arrays(text: bytes, arrays: dict[str, Any], source: str) -> ModelFile:
    """Read a model from the JSON of everything but its tensors, and the tensors as arrays."""
    for key, array in arrays.items():
        if array.dtype not in (np.float32, np.float16):
            raise FormatError(f"{source}: {short(key)}: wanted float32, got {array.dtype}")
    return model_from_document(parse_json(text, source), source, arrays)


def model_from_document(
    document: Any, source: str, arrays: dict[str, Any] | None = None
) -> ModelFile:
    """Read a model from parsed, still untrusted JSON; `arrays` stand in for its tensors."""
    _check_version(document, source)
    if arrays is not None:
        document = {**document, "tensors": {}}
    try:
        _check_schema(document, source)
        layers, owners = _read_layers(document["layers"])
        input_shape, _ = check_network(layers, _whole(document["input"]["shape"]))
        if arrays is None:
            arrays = _read_tensors(document["tensors"], layers, owners, input_shape)
        metadata = {key: document[key] for key in METADATA if key in document}
        model = ModelFile(layers, arrays, input_shape, **metadata)
        vectors.check(model)
    except (ValueError, TypeError) as error:  # FormatError among them
        text = str(error).removeprefix(f"{source}: ")
        raise FormatError(f"{source}: {one_line(text)}") from None
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
        where = one_line(where.lstrip("."), 80) or "file"
        raise FormatError(f"{source}: {where}: {one_line(error.message, 160)}")


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
            values = {key: _whole(value) for key, value in entry.items() if key not in probe}
            layers.append(layer_from_config(values))
        except (ValueError, TypeError) as error:
            raise FormatError(f"layers[{index}]: {error}") from None
        owners.append({role: entry[role] for role in probe})
    return named_layers(layers), owners


def _whole(value: Any) -> Any:
    """`value` with whole numbers as integers: 3.0 is one to the schema, and some writers' way."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
            where = f"tensors.{one_line(name, 80)}"
            if name not in tensors:
                raise FormatError(f"{where}: missing; layer {layer_name(layer)!r} needs it")
            if name in used:
                raise FormatError(f"{where}: used by two layers")
            used.add(name)
            key = f"{layer_name(layer)}.{role}"
            weights[key] = decode_tensor(tensors[name], shapes[key], where)
    extra = sorted(set(tensors) - used)
    if extra:
        raise FormatError(f"tensors.{one_line(extra[0], 80)}: no layer uses it")
    return weights
