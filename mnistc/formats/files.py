"""Read whole files with a cap, write whole files or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from mnistc.errors import FormatError

PathLike = str | os.PathLike[str]

MAX_FILE_BYTES = 1 << 27
"""Largest model file that is read: 128 MiB, some 1,000 times the shipped ones."""


def read_capped(path: PathLike, limit: int = MAX_FILE_BYTES) -> bytes:
    """Read all of `path`, never more than `limit` bytes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is a directory or larger than `limit`.
    """
    path = Path(path)
    if path.is_dir():
        raise FormatError(f"{path.name}: wanted a file, got a directory")
    try:
        with path.open("rb") as file:
            # Asking for `limit` at once would allocate it; a pipe does not know its size.
            step = min(os.fstat(file.fileno()).st_size, limit) + 1
            parts = [file.read(step)]
            size = len(parts[0])
            while size <= limit and (more := file.read(max(step, 1 << 16))):
                parts.append(more)
                size += len(more)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None
    if size > limit:
        raise FormatError(f"{path.name}: more than {limit} bytes, the most that is read")
    return b"".join(parts)


def write_atomic(path: PathLike, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, whole.

    The bytes go to a temporary file in the same directory, reach the disk and then take the
    old file's place. If that fails, the old file is as it was and nothing is left behind.

    Raises
    ------
    FileNotFoundError
        If the directory does not exist.
    OSError
        If the disk is full, the directory not writable, and so on.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "wanted a file, got a directory", str(path))
        target.write_bytes(data)  # a pipe or a device such as /dev/stdout
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        # Not tempfile.mkstemp: its files are private, these get the usual permissions.
        with temporary.open("xb") as file:
            file.write(data)
            _flush(file)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = error.strerror or str(error)
        kept = "; the file that was there is unchanged" if target.exists() else ""
        raise type(error)(error.errno, f"could not write: {reason}{kept}", str(path)) from None
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Make the new name itself durable; not every system lets a directory be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
