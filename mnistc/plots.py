"""Pictures with matplotlib (extra ``plot``): learning curves, confusion matrix, mistakes.

Figures are made without pyplot: nothing global is touched and no window opens. In a notebook the
returned figure shows itself; elsewhere give `path`, or call its ``savefig``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.errors import MissingExtraError
from mnistc.metrics import worst_mistakes

if TYPE_CHECKING:
    from mnistc.history import History


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path | None) -> Any:
    if path is not None:
        figure.savefig(path)
    return figure


def learning_curves(history: History, path: str | Path | None = None) -> Any:
    """Loss and accuracy over the epochs, side by side.

    Parameters
    ----------
    history : History
    path : path, optional
        Also write the picture there.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not history.epochs:
        raise ValueError("history must have at least one epoch")
    figure = _figure(9, 3.5)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            # A training may have been resumed with validation data that it had not before.
            points = [(epoch["epoch"], epoch[key]) for epoch in history.epochs if key in epoch]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=label)
        if len(axes.lines) > 1:
            axes.legend()
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
    return _save(figure, path)


def confusion(
    matrix: npt.NDArray[Any], labels: Sequence[str] | None = None, path: str | Path | None = None
) -> Any:
    """A confusion matrix as coloured cells with counts; rows are the true classes.

    Parameters
    ----------
    matrix : (classes, classes) array
        From `mnistc.metrics.confusion_matrix`.
    labels : list of str, optional
    path : path, optional
    """
    counts = np.asarray(matrix)
    n = len(counts)
    names = [str(i) for i in range(n)] if labels is None else list(labels)
    figure = _figure(0.5 * n + 1.5, 0.5 * n + 1)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the root makes mistakes visible
    for row, column in np.ndindex(n, n):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.3 else "black"
            axes.text(
                column, row, f"{counts[row, column]}", ha="center", va="center", color=colour,
                fontsize=7,
            )  # fmt: skip
    axes.set_xticks(range(n), names)
    axes.set_yticks(range(n), names)
    axes.set(xlabel="predicted", ylabel="true")
    return _save(figure, path)


def gallery(
    images: npt.NDArray[Any],
    y: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    count: int = 36,
    labels: Sequence[str] | None = None,
    path: str | Path | None = None,
) -> Any:
    """The worst mistakes as pictures, with the true and the predicted class.

    Parameters
    ----------
    images : (n, h, w) or (n, h, w, 1) array
    y : (n,) integer array_like
    probabilities : (n, classes) float array_like
    count : int
        Most pictures shown.
    labels : list of str, optional
    path : path, optional
    """
    p, true = np.asarray(probabilities), np.asarray(y)
    worst = worst_mistakes(p, true, count)
    pixels = np.asarray(images)
    names = [str(i) for i in range(p.shape[1])] if labels is None else list(labels)
    columns = min(9, max(1, len(worst)))
    rows = max(1, -(-len(worst) // columns))
    figure = _figure(1.1 * columns, 1.35 * rows)
    cells = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in cells:
        axes.axis("off")
    for axes, index in zip(cells, worst, strict=False):
        guess = int(p[index].argmax())
        axes.imshow(pixels[index].squeeze(), cmap="gray_r")
        title = f"{names[true[index]]} as {names[guess]}, {p[index, guess]:.0%}"
        axes.set_title(title, fontsize=7)
    return _save(figure, path)
