"""``mnistc evaluate`` and ``mnistc predict``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistc.cli.output import emit, note, say
from mnistc.reference import activate

if TYPE_CHECKING:
    from mnistc.model import Sequential


def run_evaluation(
    model: str,
    dataset: str,
    data_dir: Path | None,
    threads: int,
    gallery: Path | None,
    as_json: bool,
) -> None:
    """Measure a model on the test part of a dataset and tell."""
    import mnistc
    from mnistc import _core, datasets, metrics

    network = mnistc.load(model)
    test = datasets.load(dataset, data_dir)[1]
    if test.notice:
        note(f"NOTE: {test.notice}")
    if len(test.class_names) > network.classes:
        raise ValueError(
            f"dataset {test.name} has {len(test.class_names)} classes, the model {network.classes}"
        )
    began = time.perf_counter()
    scores = network.evaluate(test.images, test.labels, n_threads=threads)
    seconds = time.perf_counter() - began
    outputs = _probabilities(network, test.images, threads)
    matrix = metrics.confusion_matrix(test.labels, outputs.argmax(axis=1), network.classes)
    by_class = metrics.per_class_accuracy(matrix)
    labels = network.metadata.get("labels") or [str(i) for i in range(network.classes)]
    if gallery is not None:
        from mnistc import plots

        plots.gallery(test.images, test.labels, outputs, labels=labels, path=gallery)
    values: dict[str, Any] = {
        **scores,
        "calibration_error": metrics.expected_calibration_error(outputs, test.labels),
        "per_class_accuracy": {
            label: None if np.isnan(share) else float(share)
            for label, share in zip(labels, by_class, strict=True)
        },
        "confusion_matrix": matrix.tolist(),
        "seconds": seconds,
        "images": len(test),
        "parameters": network.n_parameters,
        "kernels": network.core.kernels,
        "threads": threads or _core.default_threads(),
        "dataset": test.name,
        "model": model,
    }
    if test.notice:
        values["notice"] = test.notice
    if as_json:
        emit(values)
        return
    say(
        f"{scores['accuracy']:.2%} right on {len(test):,} test images of {test.name}, "
        f"loss {scores['loss']:.4f}, calibration error {values['calibration_error']:.4f}"
    )
    _tell_classes(matrix, by_class, labels)
    if gallery is not None:
        say(f"worst mistakes: {gallery}")


def _probabilities(network: Sequential, images: NDArray[Any], threads: int = 0) -> NDArray[Any]:
    """What the network gives; of one that ends in logits, as its loss takes them."""
    outputs = network.predict(images, threads)
    return activate(outputs, "softmax") if network.last_activation == "linear" else outputs


def _tell_classes(matrix: Any, by_class: Any, labels: list[str]) -> None:
    width = max(len(label) for label in labels)
    for index, label in enumerate(labels):
        if np.isnan(by_class[index]):
            continue
        wrong = matrix[index].copy()
        wrong[index] = 0
        order = [int(i) for i in np.argsort(-wrong, kind="stable")[:3] if wrong[i]]
        taken = ", ".join(f"{labels[i]} ({wrong[i]})" for i in order)
        say(
            f"  {label:{width}}  {by_class[index]:7.2%}" + (f"  taken for {taken}" if taken else "")
        )


def run_prediction(model: str, images: list[Path], as_json: bool) -> None:
    """Recognise image files and tell."""
    import mnistc
    from mnistc import strokes

    network = mnistc.load(model)
    if network.input_shape != (28, 28, 1):
        raise ValueError(f"predict needs a model of 28 x 28 images, got {network.input_shape}")
    labels = network.metadata.get("labels") or [str(i) for i in range(network.classes)]
    pixels = np.stack([strokes.from_bitmap(strokes.load_image(path)) for path in images])
    predictions = [
        {
            "image": str(path),
            "label": labels[int(row.argmax())],
            "prediction": int(row.argmax()),
            "confidence": float(row.max()),
            "probabilities": [float(p) for p in row],
        }
        for path, row in zip(images, _probabilities(network, pixels), strict=True)
    ]
    if as_json:
        emit({"model": model, "predictions": predictions})
        return
    for found in predictions:
        say(f"{found['image']}: {found['label']} ({found['confidence']:.1%})")
