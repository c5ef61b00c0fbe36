"""Datasets in files of one's own: a folder of IDX files, one IDX file, .npz or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnistc.datasets.dataset import Dataset, held_out
from mnistc.datasets.idx import read_idx
from mnistc.datasets.tables import has_labels, read_csv, read_npz
from mnistc.errors import FormatError

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

__all__ = ["load"]


def load(path: Path, class_names: Sequence[str] | None = None) -> tuple[Dataset, Dataset]:
    """Read a dataset by its path; see `mnistc.datasets.load` for what it may be."""
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    suffixes = [s.lower() for s in path.suffixes]
    test: Pair | None
    if path.is_dir():
        train, test = _read_folder(path)
    elif ".npz" in suffixes:
        train, test = read_npz(path)
    elif ".csv" in suffixes or ".txt" in suffixes:
        train, test = read_csv(path), None
        if (other := _test_twin(path)) is not None and has_labels(other, train[0][0].size):
            test = read_csv(other)
    else:
        train, test = _read_images_and_labels(path), None
        if (other := _test_twin(path)) is not None:
            test = _read_images_and_labels(other)
    return _datasets(train, test, class_names, str(path))


def _datasets(
    train: Pair, test: Pair | None, class_names: Sequence[str] | None, name: str
) -> tuple[Dataset, Dataset]:
    if class_names is None:
        parts = [train[1]] if test is None else [train[1], test[1]]
        largest = max((int(part.max()) for part in parts if part.size), default=0)
        class_names = [str(i) for i in range(max(largest + 1, 2))]
    if test is None:
        return held_out(*train, class_names, name)
    names = tuple(class_names)
    return Dataset(*train, names, name), Dataset(*test, names, name)


def _read_folder(folder: Path) -> tuple[Pair, Pair | None]:
    images = sorted(
        path
        for path in folder.iterdir()
        if "images" in path.name
        and "idx3" in path.name
        and not path.name.startswith(".")  # such as ._train-images-idx3-ubyte, made by macOS
        and path.is_file()
    )
    train = [p for p in images if "train" in p.name]
    chosen = (train or images)[:1]
    if not chosen:
        raise FileNotFoundError(f"{folder}: no IDX file such as train-images-idx3-ubyte in it")
    test = _test_twin(chosen[0])
    return (
        _read_images_and_labels(chosen[0]),
        None if test is None else _read_images_and_labels(test),
    )


def _read_images_and_labels(path: Path) -> Pair:
    """An IDX file of images, and the one of labels that is named like it."""
    if "images" not in path.name:
        raise FormatError(
            f"{path}: what is it? Wanted .npz, .csv, or an IDX file named like "
            "train-images-idx3-ubyte beside train-labels-idx1-ubyte"
        )
    images = read_idx(path, 3)
    labels_path = _existing(path, path.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels_path is None:
        raise FileNotFoundError(f"{path}: no file of labels beside it")
    return images, read_idx(labels_path, 1)


def _test_twin(path: Path) -> Path | None:
    """The test file that belongs to a training file, by their names."""
    if "train" not in path.name:
        return None
    for word in ("t10k", "test"):
        found = _existing(path, path.name.replace("train", word))
        if found is not None:
            return found
    return None


def _existing(path: Path, name: str) -> Path | None:
    """`name` beside `path`, gzipped or not."""
    for candidate in (name, name.removesuffix(".gz"), name + ".gz"):
        if path.with_name(candidate).is_file():
            return path.with_name(candidate)
    return None
