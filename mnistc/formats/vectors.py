"""Test vectors of a model file: inputs with the outputs that every reader must reproduce."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc import reference
from mnistc.errors import FormatError
from mnistc.formats.untrusted import F32, short, shortest, to_floats

if TYPE_CHECKING:
    from mnistc.formats.model_file import ModelFile

Predict = Callable[[F32], npt.NDArray[Any]]

ATOL = 1e-4
MAX_POINTS = 10_000
MAX_DEFAULT_VALUES = 10_000

# A seven with a bar, and a zero, as someone might draw them on a pad of side 1.
STROKES: list[list[list[list[float]]]] = [
    [[[0.25, 0.2], [0.75, 0.18], [0.5, 0.5], [0.4, 0.85]], [[0.35, 0.52], [0.65, 0.5]]],
    [[[0.5, 0.15], [0.3, 0.3], [0.28, 0.65], [0.5, 0.85], [0.7, 0.6], [0.68, 0.3], [0.5, 0.15]]],
]


def image_of(vector: dict[str, Any], model: ModelFile, where: str) -> F32:
    """Input image (height, width, channels) of one test vector."""
    if "strokes" in vector:
        from mnistc.strokes import rasterize

        pen = (model.preprocessing or {}).get("pen_width", 2.4)
        image: F32 = rasterize(vector["strokes"], pen_width=pen)
        return image.reshape(model.input_shape)
    return to_floats(vector["input"], f"{where}.input").reshape(model.input_shape)


def check(model: ModelFile) -> None:
    """Check the test vectors of a model just read; they have passed the schema's outline."""
    for index, vector in enumerate(model.test_vectors):
        where = f"test_vectors[{index}]"
        to_floats(vector["probabilities"], f"{where}.probabilities", len(model.labels))
        if "input" in vector:
            values = to_floats(vector["input"], f"{where}.input", int(np.prod(model.input_shape)))
            if not ((values >= 0) & (values <= 1)).all():
                raise FormatError(f"{where}.input: wanted numbers from 0 to 1")
        else:
            _check_strokes(vector["strokes"], f"{where}.strokes")
            if model.input_shape != (28, 28, 1):
                raise FormatError(f"{where}.strokes: strokes give an image of 28x28x1")


def _check_strokes(strokes: Any, where: str) -> None:
    points = 0
    for index, stroke in enumerate(strokes):
        if not isinstance(stroke, list):
            raise FormatError(f"{where}[{index}]: wanted a list of points, got {short(stroke)}")
        points += len(stroke)
        if points + index > MAX_POINTS:
            raise FormatError(f"{where}: more than {MAX_POINTS} points")
        for number, point in enumerate(stroke):
            to_floats(point, f"{where}[{index}][{number}]", 2)


def verify(model: ModelFile, predict: Predict) -> float:
    """Check a reader against the model's own test vectors.

    Parameters
    ----------
    predict : callable
        From images (n, height, width, channels) float32 to outputs (n, classes).

    Returns
    -------
    float
        Largest difference seen; 0 for a model without test vectors.

    Raises
    ------
    FormatError
        If an output is further off than its vector's ``atol``.
    """
    worst = 0.0
    for index, vector in enumerate(model.test_vectors):
        where = f"test_vectors[{index}]"
        image = image_of(vector, model, where)
        wanted = np.array(vector["probabilities"], np.float64)
        got = np.asarray(predict(image[None]), np.float64).reshape(-1)
        if got.shape != wanted.shape:
            raise FormatError(f"{where}: wanted {wanted.size} outputs, got {got.size}")
        error = np.abs(got - wanted)
        label = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
        if not error[label] <= vector["atol"]:
            raise FormatError(
                f"{where}: output {label} is {got[label]:.6g}, "
                f"wanted {wanted[label]:.6g} within {vector['atol']:g}"
            )
        worst = max(worst, float(error[label]))
    return worst


def refresh(model: ModelFile) -> list[dict[str, Any]]:
    """The model's test vectors, or a few new ones, with outputs computed from its weights."""
    result = []
    for index, vector in enumerate(model.test_vectors or _default(model)):
        image = image_of(vector, model, f"test_vectors[{index}]")
        outputs = reference.predict(model, image[None])[0]
        rounded = [round(float(p), 7) for p in outputs]
        key = "strokes" if "strokes" in vector else "input"
        atol = vector.get("atol", ATOL)
        result.append({key: vector[key], "probabilities": rounded, "atol": atol})
    return result


def _default(model: ModelFile) -> list[dict[str, Any]]:
    if np.prod(model.input_shape) > MAX_DEFAULT_VALUES:
        return []
    if model.input_shape == (28, 28, 1):
        try:
            import mnistc.strokes  # noqa: F401
        except ImportError:  # a source tree that has not been built
            pass
        else:
            return [{"strokes": strokes} for strokes in STROKES] + [{"input": _blob(model)}]
    return [{"input": _blob(model)}]


def _blob(model: ModelFile) -> list[float]:
    """An image with two smooth spots in it, different in every channel; two decimals."""
    height, width, channels = model.input_shape
    y, x, c = np.ogrid[:height, :width, :channels]
    scale = max(height, width) / 28
    spot = np.exp(-(((x / scale - 9 - c) / 4) ** 2 + ((y / scale - 10) / 3) ** 2))
    other = np.exp(-(((x / scale - 17) / 3) ** 2 + ((y / scale - 19 + c) / 4) ** 2))
    image = np.minimum(spot + other, 1).round(2).astype(np.float32)
    return [int(v) if v in (0, 1) else v for v in shortest(image)]
