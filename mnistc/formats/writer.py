"""Write the model file, version 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.formats import vectors
from mnistc.formats.calibrate import calibrate
from mnistc.formats.files import PathLike, write_atomic
from mnistc.formats.model_file import ModelFile
from mnistc.formats.reader import FORMAT, VERSION, model_from_arrays, parse_model
from mnistc.formats.tensors import (
    ENCODINGS,
    QUANTIZED,
    decode_tensor,
    dtype_for,
    encode_tensor,
    stored_float,
)
from mnistc.formats.untrusted import short
from mnistc.layers import Layer, Shape, check_choice, layer_name


def write_model(
    path: PathLike,
    model: ModelFile,
    quantize: str | None = None,
    encoding: str = "base64",
    calibration: npt.NDArray[Any] | None = None,
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
    calibration : (n, ...) uint8 or float array, optional
        For int8: images such as those trained on. Weights are then rounded so that what the
        layers make of these images changes least; see `mnistc.formats.calibrate`.

    Raises
    ------
    ValueError
        If the model cannot be written: weights that are not finite or too large for float16,
        metadata that is not JSON.
    OSError
        If the disk is full or the directory not writable; an old file is then unchanged.
    """
    write_atomic(path, format_model(model, quantize, encoding, calibration))


def format_model(
    model: ModelFile,
    quantize: str | None = None,
    encoding: str = "base64",
    calibration: npt.NDArray[Any] | None = None,
) -> bytes:
    """Bytes of the model file that `write_model` writes."""
    if quantize not in QUANTIZED:
        raise ValueError(f"quantize must be None, 'float16' or 'int8'; got {short(quantize)}")
    check_choice("encoding", encoding, ENCODINGS)
    if calibration is not None and quantize != "int8":
        raise ValueError(f"calibration is for quantize='int8', got quantize={short(quantize)}")
    model, scales = (model.folded(), {}) if calibration is None else calibrate(model, calibration)
    model = replace(model, generator=_generator())
    tensors = {
        key: encode_tensor(array, dtype_for(array.shape, quantize), encoding, key, scales.get(key))
        for key, array in model.weights.items()
    }
    stored = {
        key: decode_tensor(entry, model.weights[key].shape, key) for key, entry in tensors.items()
    }
    model = replace(model, weights=stored)
    model = replace(model, test_vectors=vectors.refresh(model))
    data = _serialize(document_of(model), tensors)
    parse_model(data, "the written file")  # what cannot be read must not be written
    return data


def format_arrays(
    model: ModelFile, quantize: str | None
) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """The arrays as formats without integers store them, and the rest of the file as JSON text."""
    model = model.folded()
    arrays = {key: stored_float(array, quantize, key) for key, array in model.weights.items()}
    stored = {key: array.astype(np.float32) for key, array in arrays.items()}
    model = replace(model, weights=stored)
    model = replace(model, test_vectors=vectors.refresh(model))
    text = json.dumps(document_of(model), allow_nan=False, default=_plain)
    model_from_arrays(text.encode(), dict(arrays), "the written file")
    return arrays, text


def _generator() -> str:
    from mnistc import __version__

    return f"mnistc {__version__}"


def document_of(model: ModelFile) -> dict[str, Any]:
    """All of a model file but its tensors."""
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
    if entry.get("groups") == 1:
        del entry["groups"]  # the rule
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
