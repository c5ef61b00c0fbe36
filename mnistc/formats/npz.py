"""NumPy archives: one array per weight, and the rest of the model file as JSON text.

The text lies in the array ``mnistc``; anyone who only wants the weights can leave it alone.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mnistc.errors import FormatError
from mnistc.formats.files import PathLike, read_capped, write_atomic
from mnistc.formats.model_file import ModelFile
from mnistc.formats.reader import model_from_arrays
from mnistc.formats.tensors import MAX_PARAMETERS
from mnistc.formats.untrusted import F32, short
from mnistc.formats.writer import format_arrays

KEY = "mnistc"
MAX_MEMBERS = 1024
MAX_HEADER = 10_000


def write_npz(path: PathLike, model: ModelFile, quantize: str | None = None) -> None:
    """Write `model` as an uncompressed ``.npz``; kernels are float16 if `quantize` says so."""
    arrays, text = format_arrays(model, quantize)
    members: dict[str, Any] = {**arrays, KEY: np.frombuffer(text.encode(), np.uint8)}
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    write_atomic(path, buffer.getvalue())


def read_npz(path: PathLike) -> ModelFile:
    """Read what `write_npz` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is no archive of ours, holds pickles, or unpacks to more than it should.
    """
    source = Path(path).name
    try:
        data = io.BytesIO(read_capped(path))
        with warnings.catch_warnings(), zipfile.ZipFile(data) as archive:
            warnings.simplefilter("ignore")
            arrays = _read_members(archive)
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from None
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, its codecs and NumPy's headers raise all kinds
        raise FormatError(f"{source}: not a readable .npz: {short(str(error))}") from None
    text = arrays.pop(KEY, None)
    if text is None or text.dtype != np.uint8:
        raise FormatError(f"{source}: no array {KEY!r}, so not written by this package")
    return model_from_arrays(text.tobytes(), arrays, source)


def _read_members(archive: zipfile.ZipFile) -> dict[str, Any]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise FormatError(f"more than {MAX_MEMBERS} arrays")
    if sum(member.file_size for member in members) > 4 * MAX_PARAMETERS:
        raise FormatError(f"unpacks to more than {4 * MAX_PARAMETERS} bytes")
    return {m.filename.removesuffix(".npy"): _read_member(archive, m) for m in members}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> F32:
    """Read one ``.npy``; its header must agree with its size before an array is made."""
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise FormatError(f"{short(member.filename)}: not a .npy of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, MAX_HEADER)
        size = member.file_size - file.tell()
        if dtype.str not in ("<f4", "<f2", "|u1") or fortran:
            raise FormatError(f"{short(member.filename)}: wanted float32, got {dtype.str}")
        if math.prod(shape) * dtype.itemsize != size or min(shape, default=1) < 0:
            raise FormatError(f"{short(member.filename)}: {shape} does not fit {size} bytes")
        data = file.read(size)
    if len(data) != size:
        raise FormatError(f"{short(member.filename)}: truncated")
    return np.frombuffer(data, dtype).reshape(shape)
