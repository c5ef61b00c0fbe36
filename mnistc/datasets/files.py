"""Reading files that nobody vouches for: every size is capped before it is allocated."""

from __future__ import annotations

import zlib
from pathlib import Path

from mnistc.errors import FormatError
from mnistc.formats.files import write_atomic

MAX_BYTES = 1 << 30  # of any data file, uncompressed

__all__ = [
    "MAX_BYTES",
    "decompress",
    "decompress_start",
    "keep",
    "read",
    "read_raw",
    "unlzw",
]


def read(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file, uncompressed by what it begins with (gzip or compress), not by its name.

    Raises
    ------
    FileNotFoundError
    FormatError
        If it is damaged or holds more than `limit` bytes.
    """
    return decompress(read_raw(Path(path), limit), limit, str(path))


def read_raw(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file as it is."""
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.is_file():
        raise FormatError(f"{path}: wanted a regular file")
    size = path.stat().st_size
    if size > limit:
        raise FormatError(f"{path}: oversized, {size:,} bytes where at most {limit:,} are wanted")
    return path.read_bytes()


def decompress(data: bytes, limit: int = MAX_BYTES, name: str = "data") -> bytes:
    """Undo gzip or compress (``.Z``), where `data` begins with one of their magic numbers."""
    if data[:2] == b"\x1f\x8b":
        return _gunzip(data, limit, name)
    if data[:2] == b"\x1f\x9d":
        return unlzw(data, limit, name)
    return data


def decompress_start(data: bytes, size: int, name: str = "data") -> bytes:
    """The first `size` bytes, or all if there are fewer, of data that may be gzipped."""
    if data[:2] != b"\x1f\x8b":
        return data[:size]
    try:
        return zlib.decompressobj(wbits=31).decompress(data, size)
    except zlib.error as error:
        raise FormatError(f"{name}: damaged gzip data ({error})") from None


def keep(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, into a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def _gunzip(data: bytes, limit: int, name: str) -> bytes:
    """All members of a gzip file, stopping as soon as they exceed the limit (a gzip bomb)."""
    parts, room = [], limit
    try:
        while data.startswith(b"\x1f\x8b"):
            stream = zlib.decompressobj(wbits=31)
            part = stream.decompress(data, room + 1)
            if len(part) > room:
                raise FormatError(f"{name}: oversized, it unpacks to more than {limit:,} bytes")
            if not stream.eof:
                raise FormatError(f"{name}: truncated gzip data")
            parts.append(part)
            room -= len(part)
            data = stream.unused_data
    except zlib.error as error:
        raise FormatError(f"{name}: damaged gzip data ({error})") from None
    return b"".join(parts)


def unlzw(data: bytes, limit: int = MAX_BYTES, name: str = "data") -> bytes:
    """Undo the Unix program compress (``.Z``): LZW, codes of 9 to 16 bits in groups of eight."""
    if len(data) < 3 or data[:2] != b"\x1f\x9d" or not 10 <= data[2] & 31 <= 16 or data[2] & 0x60:
        raise FormatError(f"{name}: no compress (.Z) file")
    max_bits, block_mode = data[2] & 31, data[2] & 128
    first_free = 257 if block_mode else 256
    table: list[bytes] = [bytes([i]) for i in range(256)] + [b""] * (first_free - 256)
    output, size = [], 0
    previous = b""
    position, bits, group = 24, 9, 24  # all in bits; a change of width skips to a group's end
    end = 8 * len(data)
    while position + bits <= end:
        byte, shift = divmod(position, 8)
        code = int.from_bytes(data[byte : byte + 3], "little") >> shift & ((1 << bits) - 1)
        position += bits
        if code == 256 and block_mode:
            del table[first_free:]
            previous = b""
            position, bits = _next_group(position, group, bits), 9
            group = position
            continue
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            raise FormatError(f"{name}: damaged .Z data (code {code} at bit {position})")
        size += len(entry)
        if size > limit:
            raise FormatError(f"{name}: oversized, it unpacks to more than {limit:,} bytes")
        output.append(entry)
        if previous and len(table) < 1 << max_bits:
            table.append(previous + entry[:1])
        previous = entry
        if len(table) == 1 << bits and bits < max_bits:
            position, bits = _next_group(position, group, bits), bits + 1
            group = position
    return b"".join(output)


def _next_group(position: int, group: int, bits: int) -> int:
    """Codes are written in groups of eight; what is left of a group is skipped."""
    used = position - group
    return group + -(-used // (8 * bits)) * 8 * bits
