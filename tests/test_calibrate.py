"""Calibrated int8: on the grid, nearer in what the layers give, and clear about wrong images."""

from __future__ import annotations

import numpy as np
import pytest

import mnistc
from mnistc import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Sequential, reference
from mnistc.formats import read_model, write_model
from mnistc.formats.calibrate import calibrate
from mnistc.formats.tensors import channel_scales
from mnistc.layers import DepthwiseConv2D


@pytest.fixture(scope="module")
def images():
    """Smooth pictures: neighbouring pixels go together, as ink does."""
    noise = np.random.default_rng(1).normal(size=(400, 12, 12))
    for axis in (1, 2):
        noise = sum(np.roll(noise, shift, axis) for shift in range(4))
    return np.clip(noise * 20, 0, 255).astype(np.uint8)


def convolutional(seed: int = 0) -> Sequential:
    layers = [
        Conv2D(6, 3, padding="same"),
        BatchNorm(activation="relu"),
        MaxPool2D(2),
        DepthwiseConv2D(3, activation="relu"),
        Conv2D(8, 3, activation="relu"),
        Flatten(),
        Dense(5, "softmax"),
    ]
    return Sequential(layers, (12, 12, 1), seed)


@pytest.mark.parametrize(
    "network",
    [Sequential([Dense(20, "relu"), Dense(5, "softmax")], (12, 12, 1), 0), convolutional()],
    ids=["dense", "convolutional"],
)
def test_outputs_change_less_than_by_plain_rounding(network, images, tmp_path):
    wanted = reference.predict(network.model_file(), images)
    errors = []
    for calibration in (None, images[:200]):
        path = tmp_path / "m.json"
        network.save(path, quantize="int8", calibration=calibration)
        got = reference.predict(read_model(path), images)
        errors.append(float(np.abs(np.log(got) - np.log(wanted)).mean()))
    assert errors[1] < 0.8 * errors[0]


def test_file_holds_what_was_calibrated(images, tmp_path):
    network = convolutional()
    calibrated, scales = calibrate(network.model_file(), images)
    path = tmp_path / "m.json"
    write_model(path, network.model_file(), "int8", calibration=images)
    stored = read_model(path)
    assert set(scales) == {"conv2d.weight", "conv2d_1.weight", "dense.weight"}
    for key, scale in scales.items():
        codes = calibrated.weights[key] / scale
        np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
        assert np.abs(codes).max() < 127.5
        np.testing.assert_array_equal(stored.weights[key], calibrated.weights[key])
        np.testing.assert_array_equal(
            scale, channel_scales(network.model_file().folded().weights[key])
        )
    np.testing.assert_array_equal(stored.weights["conv2d.bias"], calibrated.weights["conv2d.bias"])


def test_blank_images_round_plainly(tmp_path):
    network = Sequential([Dense(5, "softmax")], (4, 4, 1), 0)
    network.save(tmp_path / "a.json", quantize="int8")
    network.save(tmp_path / "b.json", quantize="int8", calibration=np.zeros((3, 4, 4), np.uint8))
    a, b = (mnistc.load(tmp_path / name).weights for name in ("a.json", "b.json"))
    np.testing.assert_array_equal(a["dense.weight"], b["dense.weight"])


@pytest.mark.parametrize(
    ("quantize", "calibration", "message"),
    [
        ("float16", np.zeros((1, 12, 12)), "calibration is for quantize='int8', got .*'float16'"),
        (None, np.zeros((1, 12, 12)), "calibration is for quantize='int8', got .*None"),
        (
            "int8",
            np.zeros((0, 12, 12)),
            r"calibration must be images of 144 values, .*\(0, 12, 12\)",
        ),
        ("int8", np.zeros((2, 28, 28)), r"calibration must be images of 144 values, .*28\)"),
    ],
)
def test_wrong_calibration(quantize, calibration, message, tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(ValueError, match=message):
        convolutional().save(path, quantize=quantize, calibration=calibration)
    assert not path.exists()
