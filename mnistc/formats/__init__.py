"""Reading and writing models: the package's own file, and those of others.

`load_any` reads whatever it is given, `export` writes any format by name; the rest is one module
a format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mnistc.errors import FormatError
from mnistc.formats.files import PathLike, read_capped
from mnistc.formats.model_file import ModelFile
from mnistc.formats.reader import model_from_document, read_model
from mnistc.formats.untrusted import parse_json, short
from mnistc.formats.vectors import verify
from mnistc.formats.writer import write_model

__all__ = [
    "FORMATS",
    "ModelFile",
    "export",
    "load_any",
    "read_model",
    "shipped_names",
    "verify",
    "write_model",
]


def shipped_names() -> list[str]:
    """Names of the models that come with the package."""
    return list(_shipped_paths())


def _shipped_paths() -> dict[str, Path]:
    package = Path(__file__).parents[1]
    for folder in (package / "weights", package.parent / "weights"):  # installed; a source tree
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.json"))}
    return {}


def load_any(path_or_name: PathLike) -> ModelFile:
    """Read a model: a file or directory in any format that is read, or a shipped name.

    What a file is, is seen from its content: the package's own model file, the original's JSON,
    a TensorFlow.js ``model.json``, ``.npz`` or safetensors; a directory holds a TensorFlow.js
    model or the original's CSV files.

    Raises
    ------
    FileNotFoundError
        If there is neither such a file nor such a name.
    FormatError
        If the content is none of these, or is damaged.
    """
    path = Path(path_or_name)
    if path.is_dir():
        return _load_directory(path)
    if not path.exists() and re.fullmatch(r"[A-Za-z0-9_-]+", str(path_or_name)):
        shipped = _shipped_paths()
        if str(path_or_name) not in shipped:
            names = ", ".join(shipped) or "none"
            raise FileNotFoundError(
                f"no file and no shipped model {str(path_or_name)!r}; shipped are: {names}"
            )
        path = shipped[str(path_or_name)]
    data = read_capped(path)
    if data[:2] == b"PK":
        from mnistc.formats.npz import read_npz

        return read_npz(path)
    if data[8:9] == b"{" and data[0:1] != b"{":
        from mnistc.formats.safetensors_ import read_safetensors

        return read_safetensors(path)
    if path.suffix == ".csv":
        return _load_directory(path.parent)
    return _load_json(path, data)


def _load_directory(path: Path) -> ModelFile:
    if (path / "model.json").exists():
        return load_any(path / "model.json")
    from mnistc.formats.original import read_original_csv

    return read_original_csv(path)


def _load_json(path: Path, data: bytes) -> ModelFile:
    document = parse_json(data, path.name)
    if not isinstance(document, dict):
        raise FormatError(f"{path.name}: wanted a model, got {short(document)}")
    if "modelTopology" in document:
        from mnistc.formats.tfjs import tfjs_from_document

        return tfjs_from_document(document, path)
    if "format" not in document and ("weights0" in document or "biases0" in document):
        from mnistc.formats.original import original_from_document

        return original_from_document(document, path.name)
    return model_from_document(document, path.name)


def _refuse_quantize(name: str, quantize: str | None) -> None:
    if quantize is not None:
        raise ValueError(f"the format {name} is not quantised, got quantize={quantize!r}")


def _export_json(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    write_model(path, model, quantize)


def _export_original_json(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    from mnistc.formats.original import write_original_json

    _refuse_quantize("original-json", quantize)
    write_original_json(path, model)


def _export_csv(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    from mnistc.formats.original import write_original_csv

    _refuse_quantize("csv", quantize)
    write_original_csv(path, model)


def _export_npz(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    from mnistc.formats.npz import write_npz

    write_npz(path, model, quantize)


def _export_safetensors(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    from mnistc.formats.safetensors_ import write_safetensors

    write_safetensors(path, model, quantize)


def _export_onnx(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    from mnistc.formats.onnx_ import write_onnx

    _refuse_quantize("onnx", quantize)
    write_onnx(path, model)


def _export_tfjs(path: PathLike, model: ModelFile, quantize: str | None) -> None:
    from mnistc.formats.tfjs_writer import write_tfjs

    write_tfjs(path, model, quantize)


FORMATS: dict[str, Callable[[PathLike, ModelFile, str | None], None]] = {
    "json": _export_json,
    "original-json": _export_original_json,
    "csv": _export_csv,
    "npz": _export_npz,
    "safetensors": _export_safetensors,
    "onnx": _export_onnx,
    "tfjs": _export_tfjs,
}


def export(model: ModelFile, format: str, path: PathLike, quantize: str | None = None) -> None:
    """Write `model` in one of `FORMATS`.

    Parameters
    ----------
    model : ModelFile
    format : {"json", "original-json", "csv", "npz", "safetensors", "onnx", "tfjs"}
        csv and tfjs make a directory, the others a file.
    path : path
    quantize : {None, "float16", "int8"}
        json knows both, npz, safetensors and tfjs float16, the others neither.

    Raises
    ------
    ValueError
        Unknown format, or a network or `quantize` that the format cannot hold.
    MissingExtraError
        If the format needs a package that is not installed.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {format!r}")
    FORMATS[format](path, model, quantize)
