"""Figures beyond accuracy: confusion matrix, accuracy by class, calibration, worst mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.layers import check_int


def _labels(y: npt.ArrayLike, classes: int, name: str = "y") -> npt.NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must hold integer classes, shape (n,), got {labels.dtype} {labels.shape}"
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{name} must hold at least one class, each of 0 to {classes - 1}")
    return labels.astype(np.int64)


def _pair(
    probabilities: npt.ArrayLike, y: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    p = np.asarray(probabilities)
    if p.ndim != 2 or p.dtype.kind != "f":
        raise ValueError(
            f"probabilities must be floats of shape (n, classes), got {p.dtype} {p.shape}"
        )
    labels = _labels(y, p.shape[1])
    if len(labels) != len(p):
        raise ValueError(f"y must hold {len(p)} classes, one for each row, got {len(labels)}")
    return p, labels


def confusion_matrix(
    y: npt.ArrayLike, predicted: npt.ArrayLike, classes: int = 10
) -> npt.NDArray[np.int64]:
    """How often each class was taken for each.

    Parameters
    ----------
    y, predicted : (n,) integer array_like
        True and predicted classes.
    classes : int

    Returns
    -------
    (classes, classes) int64 array
        Rows are true classes, columns predicted ones.
    """
    classes = check_int("classes", classes, 1, 1 << 16)
    true, guess = _labels(y, classes), _labels(predicted, classes, "predicted")
    if len(true) != len(guess):
        raise ValueError(f"predicted must hold {len(true)} classes, got {len(guess)}")
    counts = np.bincount(true * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def per_class_accuracy(matrix: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Share of each class that was recognised, from a confusion matrix; NaN for absent classes."""
    counts = np.asarray(matrix, dtype=np.float64)
    totals = counts.sum(axis=1)
    result = np.full(len(counts), np.nan)
    np.divide(np.diag(counts), totals, out=result, where=totals > 0)
    return result


def expected_calibration_error(
    probabilities: npt.ArrayLike, y: npt.ArrayLike, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy (Guo et al., arXiv:1706.04599).

    Parameters
    ----------
    probabilities : (n, classes) float array_like
    y : (n,) integer array_like
    bins : int
        Equally wide intervals of the largest probability.
    """
    p, labels = _pair(probabilities, y)
    bins = check_int("bins", bins, 1, 1 << 16)
    confidence = p.max(axis=1).astype(np.float64)
    right = p.argmax(axis=1) == labels
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    gaps = np.bincount(place, confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def worst_mistakes(
    probabilities: npt.ArrayLike, y: npt.ArrayLike, count: int = 36
) -> npt.NDArray[np.int64]:
    """Indices of the wrong predictions, the most confident first.

    Parameters
    ----------
    probabilities : (n, classes) float array_like
    y : (n,) integer array_like
    count : int
        Longest answer.
    """
    p, labels = _pair(probabilities, y)
    guess = p.argmax(axis=1)
    wrong = np.flatnonzero(guess != labels)
    gap = p[wrong, guess[wrong]] - p[wrong, labels[wrong]]
    return wrong[np.argsort(-gap, kind="stable")][: check_int("count", count, 0, 1 << 30)]
