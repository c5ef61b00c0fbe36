"""Labelled images to train on and to measure with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from mnistc.datasets import mnist, paths, pendigits, synthetic
from mnistc.datasets.dataset import Dataset, StrokeSet
from mnistc.datasets.sources import data_folder, fetch_missing, is_online
from mnistc.datasets.synthetic import strokes as synthetic_strokes

NAMES = ("mnist", "fashion_mnist", "pendigits", "synthetic")
OFFLINE_NOTICE = (
    "MNIST is not at hand and cannot be downloaded: using the built-in synthetic digits instead"
)

__all__ = [
    "NAMES",
    "Dataset",
    "StrokeSet",
    "data_folder",
    "fetch",
    "find",
    "load",
    "synthetic_strokes",
]


def load(
    name: str | Path = "auto",
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> tuple[Dataset, Dataset]:
    """Load a dataset.

    Parameters
    ----------
    name : str or path
        ``"mnist"``, ``"fashion_mnist"``, ``"pendigits"`` (24 writers to train on, 6 others to
        test on), ``"synthetic"`` (built in), or ``"auto"``: MNIST if it is at hand or can be
        downloaded, else the synthetic set. Or a path: a folder of IDX files, an IDX file
        ``*images*`` with its ``*labels*`` beside it, an .npz, or a CSV with the label first.
        A training file named ``*train*`` brings its ``*t10k*`` or ``*test*``; without one, or
        where it is a CSV without labels, every sixth image is kept for testing.
    data_dir : path, optional
        Folder of the datasets; else the environment variable ``MNISTC_DATA``, else the user's
        cache.
    download : bool
        Whether a missing file may be downloaded.
    seed : int
        Of the synthetic set.
    class_names : sequence of str, optional
        Of a path's classes; by default the numbers up to the largest label.

    Returns
    -------
    train, test : Dataset
        With `notice` set where ``"auto"`` fell back to the synthetic set.

    Raises
    ------
    ValueError
        If the name is unknown.
    FileNotFoundError
        If the files are missing and may not be downloaded.
    ConnectionError
        If they could not be.
    mnistc.FormatError
        If a file is not what it claims to be.
    """
    if name == "auto":
        return _load_auto(data_folder(data_dir), download)
    if name == "synthetic":
        return synthetic.load(seed)
    if name in NAMES:
        found = fetch(str(name), data_dir, download=download)
        loader: Callable[..., tuple[Dataset, Dataset]] = (
            _load_pendigits if name == "pendigits" else _load_mnist
        )
        return loader(str(name), tuple((p, p.stat().st_mtime_ns) for p in found))
    path = Path(name)
    if isinstance(name, str) and not path.exists() and path.name == name and not path.suffix:
        raise ValueError(f"dataset: got {name!r}, wanted {', '.join(NAMES)}, auto or a path")
    return paths.load(path, class_names)


def find(name: str, data_dir: str | Path | None = None) -> list[Path] | None:
    """Paths of a dataset's files, or None where it would have to be downloaded."""
    _check_name(name)
    folder = data_folder(data_dir)
    if name == "pendigits":
        path = pendigits.find(folder)
        return None if path is None else [path]
    return mnist.find(name, folder)


def fetch(name: str, data_dir: str | Path | None = None, *, download: bool = True) -> list[Path]:
    """Make sure that a dataset is at hand, and say where.

    Raises
    ------
    FileNotFoundError, ConnectionError, PermissionError, mnistc.FormatError
    """
    found = find(name, data_dir)
    folder = data_folder(data_dir)
    if found is None and download:
        _download(name, folder / name)
        found = find(name, data_dir)
    if found is None:
        raise FileNotFoundError(f"{name} is not in {folder} and may not be downloaded")
    return found


def _check_name(name: str) -> None:
    if name not in NAMES or name == "synthetic":
        wanted = ", ".join(n for n in NAMES if n != "synthetic")
        raise ValueError(f"dataset: got {name!r}, wanted {wanted}")


def _download(name: str, folder: Path) -> None:
    if name == "pendigits":
        pendigits.download(folder)
    else:
        fetch_missing(name, folder)


def _load_auto(folder: Path, may_download: bool) -> tuple[Dataset, Dataset]:
    found = mnist.find("mnist", folder)
    if found is None and may_download and is_online("mnist"):
        try:
            found = fetch("mnist", folder)
        except OSError:
            found = None
    if found is not None:
        return load("mnist", folder, download=False)
    train, test = synthetic.load(0)
    return replace(train, notice=OFFLINE_NOTICE), replace(test, notice=OFFLINE_NOTICE)


# The arrays are read-only, so whoever asks again can have the same ones. The second argument has
# the files' times in it: a file that changed is read again.
@lru_cache(maxsize=2)
def _load_mnist(name: str, files: tuple[tuple[Path, int], ...]) -> tuple[Dataset, Dataset]:
    return mnist.load(name, [path for path, _ in files])


@lru_cache(maxsize=1)
def _load_pendigits(name: str, files: tuple[tuple[Path, int], ...]) -> tuple[Dataset, Dataset]:
    return pendigits.load(files[0][0])
