"""The formats of the C program from which this project grew.

A fully connected network, sigmoid in every layer. JSON: one object with the keys ``biases0``,
``weights0``, ``biases1``, ... in any order; each weight list is flat, row-major (out, in).
CSV: a directory with ``biases0.csv``, ``weights0.csv``, ..., one number a line in the same order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnistc.errors import FormatError
from mnistc.formats.files import PathLike, read_capped, write_atomic
from mnistc.formats.model_file import MAX_LAYERS, ModelFile
from mnistc.formats.untrusted import F32, MAX_VALUES, parse_json, short, shortest, to_floats
from mnistc.layers import Dense, Flatten, layer_name

KEY = re.compile(r"(biases|weights)(0|[1-9][0-9]{0,2})")


def read_original_json(path: PathLike) -> ModelFile:
    """Read the original's JSON.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If keys are missing or unknown, or the sizes do not chain.
    """
    path = Path(path)
    return original_from_document(parse_json(read_capped(path), path.name), path.name)


def original_from_document(document: Any, source: str) -> ModelFile:
    """Read a network from the original's parsed, still untrusted JSON."""
    if not isinstance(document, dict):
        raise FormatError(f"{source}: wanted an object, got {short(document)}")
    unknown = next((key for key in document if not KEY.fullmatch(key)), None)
    if unknown is not None:
        raise FormatError(f"{source}: wanted only biases0, weights0, ...; got {short(unknown)}")
    arrays = {key: to_floats(value, f"{source}: {key}") for key, value in document.items()}
    return _model(arrays, source)


def read_original_csv(directory: PathLike) -> ModelFile:
    """Read the original's CSV files from `directory`; other files there are left alone.

    Raises
    ------
    FileNotFoundError
        If the directory has no ``weights0.csv``.
    FormatError
        If a line is no finite number (the message names it), or the sizes do not chain.
    """
    directory = Path(directory)
    paths = {p.stem: p for p in sorted(directory.glob("*.csv")) if KEY.fullmatch(p.stem)}
    if "weights0" not in paths:
        raise FileNotFoundError(f"no weights0.csv in {directory}")
    return _model({key: _read_column(path) for key, path in paths.items()}, directory.name)


def _read_column(path: Path) -> F32:
    data = read_capped(path).rstrip()
    if data.count(b"\n") >= MAX_VALUES:
        raise FormatError(f"{path.name}: more than {MAX_VALUES} numbers, the most that is read")
    values = [_number(line) for line in data.splitlines()]
    if None in values:
        row = values.index(None)
        text = data.splitlines()[row].decode("latin-1")
        raise FormatError(f"{path.name}, line {row + 1}: wanted a number, got {short(text)}")
    return to_floats(values, path.name)


def _number(line: bytes) -> float | None:
    try:
        value = float(line) if b"_" not in line else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _model(arrays: Mapping[str, F32], source: str) -> ModelFile:
    """Chain the layers; the sizes of the weights follow from those of the biases."""
    count = sum(key.startswith("biases") for key in arrays)
    wanted = {f"{kind}{i}" for kind in ("biases", "weights") for i in range(count)}
    if not 1 <= count <= MAX_LAYERS or set(arrays) != wanted:
        odd = sorted(set(arrays) ^ wanted) or ["biases0"]
        raise FormatError(f"{source}: biases and weights do not pair up: {odd[0]}")
    layers, weights = [], {}
    inputs = 0
    for i in range(count):
        bias, weight = arrays[f"biases{i}"], arrays[f"weights{i}"]
        if not bias.size or not weight.size:
            raise FormatError(f"{source}: biases{i} or weights{i} is empty")
        inputs = inputs or weight.size // bias.size
        if weight.size != bias.size * inputs:
            raise FormatError(
                f"{source}: weights{i}: wanted {bias.size} x {inputs} numbers, got {weight.size}"
            )
        name = f"dense_{i}" if i else "dense"
        layers.append(Dense(bias.size, "sigmoid", name))
        weights[f"{name}.weight"] = weight.reshape(bias.size, inputs).T
        weights[f"{name}.bias"] = bias
        inputs = bias.size
    pixels = arrays["weights0"].size // arrays["biases0"].size
    shape = (28, 28, 1) if pixels == 784 else (1, 1, pixels)
    try:
        return ModelFile(list(layers), weights, shape, name="original")
    except ValueError as error:
        raise FormatError(f"{source}: {error}") from None


def _columns(model: ModelFile) -> dict[str, list[float]]:
    """Key to numbers, in the order in which the original wrote them."""
    model = model.folded()
    columns: dict[str, list[float]] = {}
    dense = [layer for layer in model.layers if not isinstance(layer, Flatten)]
    for i, layer in enumerate(dense):
        if not isinstance(layer, Dense) or layer.activation != "sigmoid":
            raise ValueError(
                "the original's formats hold Dense layers with sigmoid only, "
                f"got {layer.type} with {layer.activation_name}"
            )
        name = layer_name(layer)
        columns[f"biases{i}"] = shortest(model.weights[f"{name}.bias"])
        columns[f"weights{i}"] = shortest(model.weights[f"{name}.weight"].T)
    return dict(sorted(columns.items()))


def write_original_json(path: PathLike, model: ModelFile) -> None:
    """Write the original's JSON.

    Raises
    ------
    ValueError
        If the network has anything but Dense layers with sigmoid.
    """
    columns = _columns(model).items()
    text = ",".join(f'"{key}":[{",".join(map(_digits, values))}]' for key, values in columns)
    write_atomic(path, f"{{{text}}}".encode("ascii"))


def write_original_csv(directory: PathLike, model: ModelFile) -> None:
    """Write the original's CSV files into `directory`, made if need be; see above."""
    columns = _columns(model)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for key, values in columns.items():
        write_atomic(directory / f"{key}.csv", "".join(f"{_digits(v)}\n" for v in values).encode())


def _digits(value: float) -> str:
    """Shortest text that every reader of JSON, C or CSV takes for the same double."""
    return repr(value).removesuffix(".0")
