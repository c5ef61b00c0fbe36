"""safetensors: the weights, and the rest of the model file as JSON text in the metadata."""

from __future__ import annotations

from pathlib import Path

from mnistc.errors import FormatError, MissingExtraError
from mnistc.formats.files import PathLike, read_capped, write_atomic
from mnistc.formats.model_file import ModelFile
from mnistc.formats.reader import model_from_arrays
from mnistc.formats.untrusted import F32, short
from mnistc.formats.writer import format_arrays

KEY = "mnistc"


def write_safetensors(path: PathLike, model: ModelFile, quantize: str | None = None) -> None:
    """Write `model` as safetensors; kernels are float16 if `quantize` says so.

    Raises
    ------
    MissingExtraError
        If the package safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise MissingExtraError("safetensors", "safetensors") from None
    arrays, text = format_arrays(model, quantize)
    write_atomic(path, save(arrays, {KEY: text}))


def read_safetensors(path: PathLike) -> ModelFile:
    """Read what `write_safetensors` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is not safetensors, or not written by this package.
    MissingExtraError
        If the package safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingExtraError("safetensors", "safetensors") from None
    path = Path(path)
    read_capped(path)
    arrays: dict[str, F32] = {}
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                arrays[key] = file.get_tensor(key)
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path.name}: bad safetensors: {short(str(error))}") from None
    if text is None:
        raise FormatError(f"{path.name}: no metadata {KEY!r}, so not written by this package")
    return model_from_arrays(text.encode(), arrays, path.name)
