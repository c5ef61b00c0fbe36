"""CSV in the label-first layout, and NumPy's .npz archives."""

from __future__ import annotations

import codecs
import io
import math
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mnistc.datasets import files
from mnistc.errors import FormatError

_BYTES = {str(i).encode(): i for i in range(256)}

if TYPE_CHECKING:
    import zipfile

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

_START = 1 << 20  # bytes that a first row may take

__all__ = ["has_labels", "read_csv", "read_npz"]


def read_csv(path: str | Path) -> Pair:
    """Read rows of a label and square images' pixels, 0 to 255: ``label,pixel,...,pixel``.

    A first row of names is passed over; the file may be gzipped.

    Returns
    -------
    images : ndarray of shape (n, side, side), uint8
    labels : ndarray of shape (n,), uint8

    Raises
    ------
    FormatError
        Naming the line that is at fault.
    """
    lines = files.read(path).removeprefix(codecs.BOM_UTF8).split(b"\n")
    rows: list[bytes] = []
    width = 0
    for number, line in enumerate(lines, 1):
        cells = line.rstrip(b"\r").split(b",")
        if cells == [b""] or (number == 1 and _is_heading(cells)):
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise FormatError(f"{path}, line {number}: {len(cells)} cells, wanted {width}")
        try:
            rows.append(bytes(map(_BYTES.__getitem__, cells)))
        except KeyError:
            rows.append(_slow_row(cells, f"{path}, line {number}"))
    side = math.isqrt(max(width - 1, 0))
    if not rows:
        raise FormatError(f"{path}: no rows in it")
    if side == 0 or side * side != width - 1:
        raise FormatError(f"{path}: {width} cells a row, wanted a label and a square, such as 785")
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)
    return np.ascontiguousarray(table[:, 1:]).reshape(-1, side, side), table[:, 0].copy()


def has_labels(path: str | Path, pixels: int) -> bool:
    """Whether rows have more than their `pixels`: the test file of a contest has no labels."""
    with Path(path).open("rb") as file:
        start = files.decompress_start(file.read(_START), _START, str(path))
    return start.split(b"\n", 1)[0].count(b",") + 1 != pixels


def _is_heading(cells: list[bytes]) -> bool:
    word = cells[0].strip().strip(b'"')
    return word[:1].isalpha() and word.lower() not in (b"nan", b"inf", b"infinity")


def _slow_row(cells: list[bytes], where: str) -> bytes:
    """A row with blanks, signs or decimals; every value still a whole number up to 255."""
    row = []
    for column, cell in enumerate(cells, 1):
        try:
            value = float(cell.strip().strip(b'"'))
        except ValueError:
            value = math.nan
        if not 0 <= value <= 255 or value != int(value):
            shown = cell[:20].decode(errors="replace")
            raise FormatError(f"{where}: cell {column} is {shown!r}, wanted an integer 0 to 255")
        row.append(int(value))
    return bytes(row)


def read_npz(path: str | Path) -> tuple[Pair, Pair | None]:
    """Read an .npz of ``x_train, y_train, x_test, y_test``, or of ``images, labels``.

    Objects (pickles) are refused, and an array's declared size must be the size it has.

    Returns
    -------
    train : images, labels
    test : images, labels or None
    """
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(files.read_raw(Path(path)))) as archive:
            names = {Path(member).stem: member for member in archive.namelist()}

            def pair(images: str, labels: str) -> Pair:
                x = _member(archive, names[images], f"{path}, {images}")
                y = _member(archive, names[labels], f"{path}, {labels}")
                return _as_images(x, f"{path}, {images}"), _as_bytes(y, f"{path}, {labels}")

            if {"x_train", "y_train"} <= names.keys():
                test = {"x_test", "y_test"} <= names.keys()
                return pair("x_train", "y_train"), pair("x_test", "y_test") if test else None
            if {"images", "labels"} <= names.keys():
                return pair("images", "labels"), None
    except FormatError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError,
        OSError,
    ) as error:  # fmt: skip
        if isinstance(error, FileNotFoundError):
            raise
        raise FormatError(f"{path}: damaged .npz file ({error})") from None
    raise FormatError(
        f"{path}: holds {sorted(names)}, wanted x_train, y_train (x_test, y_test) or images, labels"
    )


def _member(archive: zipfile.ZipFile, member: str, where: str) -> NDArray[np.generic]:
    size = archive.getinfo(member).file_size
    if size > files.MAX_BYTES:
        raise FormatError(f"{where}: oversized, {size:,} bytes")
    with archive.open(member) as file:
        shape, fortran, dtype = _npy_header(file, where)
        offset = file.tell()
        declared = math.prod(shape) * dtype.itemsize
        if declared != size - offset:
            raise FormatError(f"{where}: declares {declared:,} bytes, has {size - offset:,}")
        data = file.read(declared + 1)
    array = np.frombuffer(data, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=10_000)
    except ValueError as error:
        reason = str(error).split("\n")[0][:80]
        raise FormatError(f"{where}: damaged .npy header ({reason})") from None
    if dtype.kind not in "buif":
        raise FormatError(f"{where}: holds {dtype}, wanted numbers (objects are refused)")
    return shape, fortran, dtype


def _as_images(array: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    """Bytes as they are; truths and numbers 0 to 1 are stretched to 0 to 255."""
    if array.dtype.kind in "bf" and array.size and array.max() <= 1:
        array = np.rint(array.astype(np.float64) * 255)
    images = _as_bytes(array, where)
    return images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images


def _as_bytes(array: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            converted = array.astype(np.uint8)
        if not np.array_equal(converted, array):
            raise FormatError(f"{where}: {array.dtype} values, wanted whole numbers 0 to 255")
        array = converted
    return np.ascontiguousarray(array, np.uint8)
