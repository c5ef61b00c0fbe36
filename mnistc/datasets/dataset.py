"""What every loader returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnistc import strokes as _strokes
from mnistc.errors import FormatError

DIGITS = tuple("0123456789")

__all__ = ["DIGITS", "Dataset", "StrokeSet", "held_out", "ink_bytes"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Attributes
    ----------
    images : ndarray of shape (n, height, width), uint8
        Ink 255 on paper 0, read-only. The named datasets are 28 x 28.
    labels : ndarray of shape (n,), uint8
        Class of each image, an index into `class_names`, read-only.
    class_names : tuple of str
    name : str
        The dataset that this is a part of, such as ``"mnist"``.
    sha256 : dict of str to str
        SHA-256 of the uncompressed bytes of each file that it was read from.
    notice : str
        One line that whoever asked should be shown: that the built-in digits stand in for MNIST.
        Mostly empty.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    class_names: tuple[str, ...] = DIGITS
    name: str = ""
    sha256: dict[str, str] = field(default_factory=dict)
    notice: str = ""

    def __post_init__(self) -> None:
        where = self.name or "dataset"
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            raise FormatError(
                f"{where}: images are {self.images.dtype} of shape {self.images.shape}, "
                "wanted uint8 (n, height, width)"
            )
        if self.labels.dtype != np.uint8 or self.labels.ndim != 1:
            raise FormatError(
                f"{where}: labels are {self.labels.dtype} of shape {self.labels.shape}, "
                "wanted uint8 (n,)"
            )
        if len(self.images) != len(self.labels):
            raise FormatError(f"{where}: {len(self.images)} images but {len(self.labels)} labels")
        if self.images.size == 0:
            raise FormatError(f"{where}: it is empty, of shape {self.images.shape}")
        if self.labels.max() >= len(self.class_names):
            index = int(np.argmax(self.labels >= len(self.class_names)))
            raise FormatError(
                f"{where}: label {self.labels[index]} of image {index} is outside the "
                f"{len(self.class_names)} classes"
            )
        self.images.setflags(write=False)
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"<Dataset {self.name}: {len(self):,} images {self.images.shape[1:]}, "
            f"{len(self.class_names)} classes>"
        )


@dataclass(frozen=True, eq=False)
class StrokeSet:
    """Drawings with their labels and, where known, their writers.

    Attributes
    ----------
    strokes : list of n drawings
        Each a list of float64 arrays of shape (n_points, 2), y growing downwards.
    labels : ndarray of shape (n,), uint8
    writers : ndarray of shape (n,), int64
        A number for each writer, 0 where unknown.
    """

    strokes: list[list[NDArray[np.float64]]]
    labels: NDArray[np.uint8]
    writers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.strokes)

    def select(self, which: ArrayLike) -> StrokeSet:
        """The drawings at these indices, or where a mask is true."""
        chosen = np.arange(len(self))[np.asarray(which)]
        return StrokeSet(
            [self.strokes[i] for i in chosen], self.labels[chosen], self.writers[chosen]
        )

    def images(self, pen_width: float | ArrayLike = _strokes.PEN_WIDTH) -> NDArray[np.uint8]:
        """Render the drawings: uint8 of shape (n, 28, 28), ink 255."""
        return ink_bytes(_strokes.rasterize_many(self.strokes, pen_width))


def ink_bytes(ink: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images of 0 to 1 as 0 to 255; `ink` is overwritten."""
    ink *= 255
    ink += 0.5
    return ink.astype(np.uint8)


def held_out(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], names: Sequence[str], name: str
) -> tuple[Dataset, Dataset]:
    """Keep every sixth image for testing, where a source has no test part of its own."""
    if len(images) < 2:
        raise FormatError(f"{name}: {len(images)} images, wanted at least 2 to train and test on")
    if len(images) != len(labels):
        raise FormatError(f"{name}: {len(images)} images but {len(labels)} labels")
    test = np.arange(len(images)) % 6 == 5
    test[-1] |= not test.any()
    train, rest = (Dataset(images[m], labels[m], tuple(names), name) for m in (~test, test))
    return train, rest
