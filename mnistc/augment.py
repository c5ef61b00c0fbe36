"""Augmentation: random changes to training images, new ones for each image and epoch.

The work is done in C on the threads that train, as each minibatch is loaded. What happens to an
image is a function of the seed, the epoch and the image's index alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.layers import Shape, check_float

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Augment:
    """How much images are changed, at most; 0 leaves a change out.

    Parameters
    ----------
    rotation : float
        Degrees, either way, up to 180.
    scale : float
        Relative change of size, up to 0.9: 0.1 is from 90 % to 110 %.
    aspect : float
        Relative change of the width against the height, up to 0.9.
    shear : float
        Slant in degrees, up to 60.
    shift : float
        Pixels, in both directions.
    elastic_alpha, elastic_sigma : float
        Strength and smoothness, in pixels, of an elastic deformation, as in Simard et al. (2003),
        who take 34 and 4. The displacement's standard deviation is 0.163 * alpha / sigma pixels:
        20 and 5 (0.65 pixels) look like another hand, 5 and 4 (0.2 pixels) change little.
    thickness : float
        Pixels that the pen gets wider or narrower by, up to 4. From 0.6 pixels on, edges are as
        sharp as those of drawn strokes.
    erase : float
        Probability that a rectangle is erased.
    erase_size : float
        Its largest sides, as a share of the image's.
    noise : float
        Standard deviation of the noise added to each pixel.
    """

    rotation: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic_alpha: float = 0.0
    elastic_sigma: float = 4.0
    thickness: float = 0.0
    erase: float = 0.0
    erase_size: float = 0.3
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_float(name, value, 0.5 if name == "elastic_sigma" else 0.0, _LARGEST[name])


_LARGEST = {
    "rotation": 180.0,
    "scale": 0.9,
    "aspect": 0.9,
    "shear": 60.0,
    "shift": 1000.0,
    "elastic_alpha": 10000.0,
    "elastic_sigma": 1000.0,
    "thickness": 4.0,
    "erase": 1.0,
    "erase_size": 1.0,
    "noise": 1.0,
}

_CHANGES = [name for name in _LARGEST if name not in ("elastic_sigma", "erase_size")]


def as_options(augment: Augment | Mapping[str, float] | None) -> dict[str, float] | None:
    """Options for the C core, or None if nothing changes the images."""
    if augment is None:
        return None
    if isinstance(augment, Mapping):
        known = [field.name for field in fields(Augment)]
        unknown = [name for name in augment if name not in known]
        if unknown:
            raise ValueError(f"augment has no {unknown[0]!r}; it has {', '.join(known)}")
        augment = Augment(**augment)
    if not isinstance(augment, Augment):
        raise TypeError(f"augment must be mnistc.Augment(...), got {augment!r}")
    return {name: float(value) for name, value in asdict(augment).items()}


def check_fit(
    options: dict[str, float] | None, shape: Shape, x: npt.NDArray[np.floating[Any]] | None = None
) -> None:
    """Refuse changes that would not do to images of `shape` what they are for.

    Parameters
    ----------
    options : dict or None
        What `as_options` returned.
    shape : (int, int, int)
    x : float array, optional
        The images, where they may go beyond 0 to 1.

    Raises
    ------
    ValueError
        For more than noise where there is no height and width, and for what ends in a cut to
        0 to 1 where `x` goes beyond.
    """
    changes = [name for name in _CHANGES if (options or {}).get(name)]
    moving = [name for name in changes if name != "noise"]
    if moving and shape[0] == shape[1] == 1:
        raise ValueError(
            f"augment: {moving[0]} needs an input_shape with height and width, got {shape}"
        )
    cutting = [name for name in changes if name in ("noise", "thickness")]
    if cutting and x is not None and not (x.min() >= -1e-6 and x.max() <= 1 + 1e-6):
        raise ValueError(
            f"augment: {cutting[0]} needs x between 0 and 1, got {x.min():g} to {x.max():g}"
        )


def apply(
    images: npt.NDArray[Any], augment: Augment | Mapping[str, float], seed: int = 0, epoch: int = 0
) -> npt.NDArray[np.float32]:
    """What training would see of these images.

    Parameters
    ----------
    images : (n, h, w) uint8 array
    augment : Augment
    seed, epoch : int

    Returns
    -------
    (n, h, w) float32 array, 0 to 1
    """
    from mnistc import _core

    array = np.asarray(images)
    if array.ndim != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 of shape (n, h, w), got {array.dtype} {array.shape}"
        )
    return _core.augment(np.ascontiguousarray(array), as_options(augment) or {}, seed, epoch)


def grid(
    images: npt.NDArray[Any],
    augment: Augment | Mapping[str, float],
    columns: int = 12,
    seed: int = 0,
    zoom: int = 2,
) -> Image:
    """A picture of augmented images: each row one image, first as it is, then changed.

    Parameters
    ----------
    images : (n, h, w) uint8 array
        One row each.
    augment : Augment
    columns : int
        Pictures in a row.
    seed : int
    zoom : int
        Screen pixels for one pixel.

    Returns
    -------
    PIL.Image.Image
        Dark ink on white paper; ``.save("grid.png")`` or show it in a notebook.
    """
    from PIL import Image

    first = np.asarray(images, dtype=np.float32)[:, None] / 255
    changed = [apply(images, augment, seed, epoch) for epoch in range(columns - 1)]
    cells = np.concatenate([first, np.stack(changed, axis=1)], axis=1) if changed else first
    n, width, height = cells.shape[0], cells.shape[3], cells.shape[2]
    sheet = cells.transpose(0, 2, 1, 3).reshape(n * height, cells.shape[1] * width)
    pixels = np.clip(255 - sheet * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(np.kron(pixels, np.ones((zoom, zoom), dtype=np.uint8)))
