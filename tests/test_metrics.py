"""Metrics and pictures."""

import numpy as np
import pytest

from mnistc import metrics, plots
from mnistc.history import History


def test_confusion_matrix_and_class_accuracy():
    matrix = metrics.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0], 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    shares = metrics.per_class_accuracy(matrix)
    assert shares[:3] == pytest.approx([0.5, 1.0, 2 / 3])
    assert np.isnan(shares[3])


def test_calibration_error():
    p = np.array([[0.8, 0.2]] * 10)
    y = np.array([0] * 8 + [1] * 2)
    assert metrics.expected_calibration_error(p, y) == pytest.approx(0.0, abs=1e-12)
    assert metrics.expected_calibration_error(p, 1 - y) == pytest.approx(0.6)
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert metrics.expected_calibration_error(certain, [0, 1]) == pytest.approx(0.5)


def test_worst_mistakes_first():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.99, 0.01], [0.2, 0.8]])
    assert metrics.worst_mistakes(p, [1, 1, 1, 1]).tolist() == [2, 0, 1]
    assert metrics.worst_mistakes(p, [1, 1, 1, 1], 1).tolist() == [2]
    assert metrics.worst_mistakes(p, [0, 0, 0, 1]).tolist() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.confusion_matrix([0, 1], [0], 2),
        lambda: metrics.confusion_matrix([0, 2], [0, 1], 2),
        lambda: metrics.confusion_matrix([0.5], [0], 2),
        lambda: metrics.confusion_matrix([], [], 2),
        lambda: metrics.worst_mistakes([[1, 0]], [0]),
        lambda: metrics.worst_mistakes([[1.0, 0.0]], [0, 1]),
        lambda: metrics.expected_calibration_error([[1.0, 0.0]], [0], bins=0),
    ],
)
def test_refused(call):
    with pytest.raises(ValueError):
        call()


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    epochs = [{"epoch": i, "loss": 1 / i, "accuracy": 1 - 1 / i} for i in (1, 2, 3)]
    History(epochs).plot(tmp_path / "curves.png")
    validated = [{**e, "val_loss": 1.0, "val_accuracy": 0.5} for e in epochs]
    assert len(History(validated).plot().axes) == 2
    resumed = History([epochs[0], *validated[1:]]).plot().axes[0].lines
    assert [list(line.get_xdata()) for line in resumed] == [[1, 2, 3], [2, 3]]
    with pytest.raises(ValueError, match="at least one epoch"):
        History().plot()
    plots.confusion(np.eye(3, dtype=int) * 5, labels=["a", "b", "c"], path=tmp_path / "m.png")
    images = np.zeros((4, 28, 28, 1), np.uint8)
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.99, 0.01], [0.2, 0.8]])
    plots.gallery(images, [1, 1, 1, 1], p, path=tmp_path / "g.png")
    plots.gallery(images, [0, 0, 0, 1], p, labels=["a", "b"])  # no mistakes at all
    for name in ("curves", "m", "g"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"mnistc\[plot\]"):
        History([{"epoch": 1, "loss": 1.0, "accuracy": 0.0}]).plot()
