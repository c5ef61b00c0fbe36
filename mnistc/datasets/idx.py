"""IDX, the format MNIST came in: a magic number, big-endian sizes, then the bytes."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnistc.datasets import files
from mnistc.errors import FormatError

UNSIGNED_BYTE = 0x08

__all__ = ["read_idx", "read_idx_hashed"]


def read_idx(path: str | Path, ndim: int | None = None) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Parameters
    ----------
    path : path
    ndim : int, optional
        Dimensions it must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8, read-only

    Raises
    ------
    FileNotFoundError
    FormatError
        If the magic number is wrong, or the file is truncated or holds more than it declares.
    """
    return read_idx_hashed(path, ndim)[0]


def read_idx_hashed(path: str | Path, ndim: int | None = None) -> tuple[NDArray[np.uint8], str]:
    """As `read_idx`, together with the SHA-256 of the uncompressed bytes."""
    raw = files.read_raw(Path(path))
    header = files.decompress_start(raw, 4 + 4 * 4, str(path))
    shape = _shape(header, ndim, str(path))
    offset = 4 + 4 * len(shape)
    size = offset + math.prod(shape)
    if size > files.MAX_BYTES:
        raise FormatError(f"{path}: declares {shape}, over the limit of {files.MAX_BYTES:,} bytes")
    data = files.decompress(raw, size, str(path))
    if len(data) != size:
        what = "truncated" if len(data) < size else "oversized"
        raise FormatError(
            f"{path}: {what}, {len(data):,} bytes where the header declares {size:,} {shape}"
        )
    array = np.frombuffer(data, np.uint8, offset=offset).reshape(shape)
    return array, hashlib.sha256(data).hexdigest()


def _shape(header: bytes, ndim: int | None, name: str) -> tuple[int, ...]:
    if len(header) < 4:
        raise FormatError(f"{name}: truncated, {len(header)} bytes are no IDX header")
    zero, kind, n = struct.unpack(">HBB", header[:4])
    if zero != 0 or kind != UNSIGNED_BYTE or not 1 <= n <= 4 or ndim not in (None, n):
        wanted = f"0000080{ndim}" if ndim else "00000801 to 00000804"
        raise FormatError(f"{name}: wrong magic number {header[:4].hex()}, wanted {wanted}")
    if len(header) < 4 + 4 * n:
        raise FormatError(f"{name}: truncated, the IDX header has {n} dimensions")
    return struct.unpack(f">{n}I", header[4 : 4 + 4 * n])
