"""Pen-Based Recognition of Handwritten Digits: real pen strokes of 30 writers.

E. Alpaydin and F. Alimoglu, UCI Machine Learning Repository, dataset 81, CC BY 4.0. The file is in
the UNIPEN text format, in a tablet box of 500 x 500 with y growing upwards; here it grows
downwards, as everywhere else.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnistc.datasets import files
from mnistc.datasets.dataset import DIGITS, Dataset, StrokeSet
from mnistc.datasets.sources import SOURCES, fetch_file
from mnistc.errors import FormatError

TABLET = 500.0
MAX_BYTES = 1 << 26
NAMES = ("pendigits-orig.tra.gz", "pendigits-orig.tra.Z", "pendigits-orig.tra")

__all__ = [
    "StrokeSet",
    "download",
    "find",
    "load",
    "load_strokes",
    "parse_unipen",
    "writer_split",
]


def load_strokes(data_dir: str | Path | None = None, *, download: bool = True) -> StrokeSet:
    """Read the 7,494 drawings of the training half.

    Parameters
    ----------
    data_dir : path, optional
        Folder that has ``pendigits-orig.tra`` (plain, ``.gz`` or ``.Z``) in it, or in a folder
        ``pendigits``; by default as in `mnistc.datasets.load`.
    download : bool
        Whether it may be downloaded if it is missing.

    Raises
    ------
    FileNotFoundError, ConnectionError, mnistc.FormatError
    """
    from mnistc.datasets import fetch

    (path,) = fetch("pendigits", data_dir, download=download)
    return read_strokes(path)


def read_strokes(path: Path) -> StrokeSet:
    """Read one UNIPEN file."""
    return parse_unipen(files.read(path, MAX_BYTES), str(path))


def load(path: Path) -> tuple[Dataset, Dataset]:
    """The drawings as images: 24 writers to train on, 6 others to test on."""
    raw = files.read(path, MAX_BYTES)
    sha256 = {NAMES[-1]: hashlib.sha256(raw).hexdigest()}
    train, test = (
        Dataset(part.images(), part.labels, DIGITS, "pendigits", sha256)
        for part in writer_split(parse_unipen(raw, str(path)))
    )
    return train, test


def download(folder: Path) -> None:
    """Fetch the archive and keep the one file of it that is wanted, uncompressed."""
    import zipfile

    source = SOURCES["pendigits"]
    (archive,) = source.max_bytes
    data = fetch_file(source, archive)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as unpacked:
            member = next(m for m in unpacked.infolist() if Path(m.filename).name == NAMES[1])
            if member.file_size > MAX_BYTES:
                raise FormatError(f"{archive}: {NAMES[1]} is oversized")
            text = files.decompress(unpacked.read(member), MAX_BYTES, NAMES[1])
    except (zipfile.BadZipFile, StopIteration):
        raise FormatError(f"{archive}: no zip file with {NAMES[1]} in it") from None
    files.keep(folder / NAMES[2], text)


def find(data_dir: str | Path) -> Path | None:
    """The file's path, or None."""
    folders = (Path(data_dir) / "pendigits", Path(data_dir))
    paths = (folder / name for folder in folders for name in NAMES)
    return next((path for path in paths if path.is_file()), None)


def writer_split(data: StrokeSet, train_writers: int = 24) -> tuple[StrokeSet, StrokeSet]:
    """Split by writers, so that the second part is by strangers to the first."""
    writers = np.unique(data.writers)
    if not 0 < train_writers < len(writers):
        raise ValueError(f"train_writers: got {train_writers}, wanted 1 to {len(writers) - 1}")
    known = np.isin(data.writers, writers[:train_writers])
    return data.select(known), data.select(~known)


def parse_unipen(text: bytes, name: str = "data") -> StrokeSet:
    """Parse the subset of UNIPEN that the file uses.

    ``.SEGMENT DIGIT n ? "label"`` begins a digit, ``.COMMENT label writer index`` names its
    writer, and points stand between ``.PEN_DOWN`` and ``.PEN_UP``. Other keywords are skipped.

    Raises
    ------
    FormatError
        Naming the line that is at fault.
    """
    strokes: list[list[NDArray[np.float64]]] = []
    labels: list[int] = []
    writers: list[int] = []
    points: list[bytes] | None = None
    for number, line in enumerate(text.split(b"\n"), 1):
        words = line.split()
        if not words:
            continue
        keyword = words[0]
        if not keyword.startswith(b"."):
            if points is not None:
                if len(words) != 2:
                    raise FormatError(f"{name}, line {number}: wanted x and y")
                points += words
        elif keyword == b".PEN_DOWN":
            points = []
        elif keyword == b".PEN_UP":
            if points is None or not strokes:
                raise FormatError(f"{name}, line {number}: .PEN_UP outside a digit")
            strokes[-1].append(_points(points, f"{name}, line {number}"))
            points = None
        elif keyword == b".SEGMENT" and words[1:2] == [b"DIGIT"]:
            labels.append(_label(words[-1], f"{name}, line {number}"))
            strokes.append([])
            writers.append(0)
        elif keyword == b".COMMENT" and strokes and len(words) == 4 and words[2].isdigit():
            writers[-1] = int(words[2])
    if points is not None:
        raise FormatError(f"{name}: truncated, the last .PEN_DOWN has no .PEN_UP")
    if not strokes:
        raise FormatError(f"{name}: no .SEGMENT DIGIT in it")
    return StrokeSet(strokes, np.array(labels, np.uint8), np.array(writers))


def _points(words: list[bytes], where: str) -> NDArray[np.float64]:
    try:
        points = np.array(words, np.float64).reshape(-1, 2)
    except ValueError:
        raise FormatError(f"{where}: a coordinate of this stroke is not a number") from None
    if not np.isfinite(points).all():
        raise FormatError(f"{where}: a coordinate of this stroke is not finite")
    points[:, 1] = TABLET - points[:, 1]
    return points


def _label(word: bytes, where: str) -> int:
    digit = word.strip(b'"')
    if len(digit) != 1 or not digit.isdigit():
        raise FormatError(f"{where}: label {word.decode(errors='replace')}, wanted a digit")
    return int(digit)
