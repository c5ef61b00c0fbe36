"""Checks of what users pass in: the one place where arrays are validated and converted.

Everything below gets C-contiguous float32 or uint8 images of shape (n, inputs) and targets that
are either int32 classes (n,) or float32 rows (n, classes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.layers import Shape, check_float

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]

_LARGEST_WEIGHT = float(np.finfo(np.float32).max)
_ROWS = 8192  # checked at a time, so that a check needs no copy of a large array


def describe(shape: Shape) -> str:
    """The shapes of images that a network of this input takes, in words."""
    height, width, channels = shape
    if height == width == 1:
        return f"(n, {channels})"
    flat = height * width * channels
    plain = f"(n, {height}, {width}), " if channels == 1 else ""
    return f"{plain}(n, {height}, {width}, {channels}) or (n, {flat})"


def image_shapes(shape: Shape) -> set[tuple[int, ...]]:
    """The shapes that one image may have."""
    height, width, channels = shape
    shapes: set[tuple[int, ...]] = {(height * width * channels,), shape}
    if channels == 1:
        shapes.add((height, width))
    return shapes


def as_images(x: object, shape: Shape, name: str = "x", *, check_range: bool = True) -> Array:
    """Return images as (n, inputs), uint8 or float32, C-contiguous; a view where possible.

    Parameters
    ----------
    x : array_like
        uint8 (0 to 255) or float (0 to 1) images: (n, h, w, c), (n, h, w) for one channel, or
        (n, h * w * c).
    shape : (int, int, int)
        Input of the network.
    name : str
        Of the argument, for messages.
    check_range : bool
        Refuse floats outside 0 to 1.

    Raises
    ------
    TypeError
        For a dtype that is neither uint8 nor float.
    ValueError
        For a wrong shape, no images at all, NaN, infinity or values outside 0 to 1.
    """
    try:
        array = np.asarray(x)
    except ValueError as error:  # ragged lists
        raise ValueError(f"{name} must be an array of shape {describe(shape)}: {error}") from None
    wanted = image_shapes(shape)
    if array.shape[1:] not in wanted or array.ndim == 0:
        hint = ""
        if array.shape in wanted:
            hint = f"; for a single image write {name}[None]"
        raise ValueError(f"{name} must have shape {describe(shape)}, got {array.shape}{hint}")
    if len(array) == 0:
        raise ValueError(f"{name} must hold at least one image, got shape {array.shape}")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise TypeError(
            f"{name} must be uint8 (0 to 255) or float (0 to 1), got {array.dtype}"
            + (
                f": for pixels of 0 to 255 write {name}.astype('uint8')"
                * (array.dtype.kind in "iu")
            )
        )
    array = array.reshape(len(array), -1)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    check_pixels(array, name, check_range=check_range)
    return np.require(array, np.float32, ("C", "A"))


def check_pixels(x: Array, name: str = "x", *, check_range: bool = True) -> None:
    """Refuse NaN, infinity and, if `check_range`, floats outside 0 to 1 (ValueError)."""
    low, high = np.inf, -np.inf
    for start in range(0, len(x), _ROWS):
        part = x[start : start + _ROWS]
        least, most = part.min(), part.max()  # NaN if there is one
        if not np.isfinite(least) or not np.isfinite(most):
            raise ValueError(f"{name} holds NaN or infinite values")
        if max(-least, most) > np.finfo(np.float32).max:
            raise ValueError(f"{name} holds values too large for float32")
        low, high = min(low, least), max(high, most)
    if check_range and not (low >= -1e-6 and high <= 1 + 1e-6):
        advice = ": divide by 255, or pass uint8" if low >= 0 and high <= 255 else ""
        raise ValueError(
            f"{name} must be between 0 and 1 where it is float, got {low:g} to {high:g}{advice}"
        )


def as_targets(y: object, n: int, classes: int, loss: str, name: str = "y") -> Array:
    """Return targets as int32 classes (n,) or float32 rows (n, classes), C-contiguous.

    Parameters
    ----------
    y : array_like
        Integer classes, (n,) or (n, 1), or one-hot rows or probabilities, (n, classes).
    n, classes : int
        Images and outputs of the network.
    loss : str
        The cross-entropies take targets of 0 to 1, the softmax one rows with a sum of 1.
    name : str
        Of the argument, for messages.

    Raises
    ------
    TypeError
        For classes that are not integers.
    ValueError
        For a wrong shape or length, classes that the network lacks, or targets out of range.
    """
    try:
        array = np.asarray(y)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of classes: {error}") from None
    if array.ndim == 2 and array.shape[1] == 1 and classes != 1:
        array = array[:, 0]
    rows = array.ndim == 2 and array.shape[1] == classes
    if not rows and array.ndim != 1:
        raise ValueError(f"{name} must have shape (n,) or (n, {classes}), got {array.shape}")
    if len(array) != n:
        raise ValueError(
            f"{name} must hold one target for each of the {n} images, got {len(array)}"
        )
    if array.dtype.kind not in ("iufb" if rows else "iu"):
        raise TypeError(f"{name} must hold integer classes, got dtype {array.dtype}")
    if not rows:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{name} must hold classes of 0 to {classes - 1}, got {low if low < 0 else high}"
                + "; targets of a single output have shape (n, 1)" * (classes == 1)
            )
        return np.ascontiguousarray(array, dtype=np.int32)
    targets = np.ascontiguousarray(array, dtype=np.float32)
    _check_rows(targets, loss, name)
    return targets


def _check_rows(targets: Array, loss: str, name: str) -> None:
    if not np.isfinite(targets).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    if loss == "mean_squared_error":
        return
    if targets.min() < 0 or targets.max() > 1:
        raise ValueError(
            f"{name} must be between 0 and 1, got {targets.min():g} to {targets.max():g}"
        )
    if loss == "softmax_cross_entropy":
        sums = targets.sum(axis=1)
        worst = float(sums[np.abs(sums - 1).argmax()])
        if abs(worst - 1) > 1e-3:
            raise ValueError(f"each row of {name} must have a sum of 1, got {worst:g}")


def as_sample_weight(value: object, n: int, name: str = "sample_weight") -> F32 | None:
    """Return weights of images as float32 (n,), or None where all are 1.

    Parameters
    ----------
    value : array_like or None
        Shape (n,), finite, at least 0.
    n : int
        Images.
    name : str
        Of the argument, for messages.

    Raises
    ------
    ValueError
    """
    if value is None:
        return None
    try:
        weight = np.array(value, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of {n} numbers: {error}") from None
    if weight.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {weight.shape}")
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise ValueError(f"{name} must be finite and at least 0")
    if not weight.any():
        raise ValueError(f"{name} must not be 0 everywhere")
    return weight


def join_class_weight(
    weight: F32 | None, class_weight: Mapping[int, float] | str | None, targets: Array, classes: int
) -> F32 | None:
    """Weights of images (n,) by their own weights and those of their classes.

    Parameters
    ----------
    weight : (n,) float32 array or None
        What `as_sample_weight` returned.
    class_weight : dict or "balanced" or None
        Weight of each class; a class not named has weight 1. "balanced" makes every class
        count the same in total.
    targets : array
        What `as_targets` returned.

    Raises
    ------
    ValueError, TypeError
    """
    if class_weight is None:
        return weight
    labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
    factors = _class_factors(class_weight, labels, classes)[labels]
    if not factors.any():
        raise ValueError("class_weight must not be 0 for every class that occurs")
    if weight is None:
        return factors
    with np.errstate(over="ignore"):
        joined = weight * factors
    if not np.isfinite(joined).all() or not joined.any():
        raise ValueError(
            "sample_weight times class_weight must be finite, and above 0 for some image"
        )
    return joined


def _class_factors(
    class_weight: Mapping[int, float] | str, labels: Array, classes: int
) -> npt.NDArray[np.float32]:
    factors = np.ones(classes, dtype=np.float32)
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(labels, minlength=classes)
        present = counts > 0
        factors[present] = len(labels) / (present.sum() * counts[present])
        return factors
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight must be a dict or 'balanced', got {class_weight!r}")
    for label, factor in class_weight.items():
        if label not in range(classes):
            raise ValueError(f"class_weight must have keys of 0 to {classes - 1}, got {label!r}")
        factors[int(label)] = check_float("class_weight", factor, 0.0, _LARGEST_WEIGHT)
    return factors
