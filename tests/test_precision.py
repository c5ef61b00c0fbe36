"""Training with products in bf16: against float64 with rounded operands, on every kernel table.

An operand near a tie between two values of bf16 may be rounded one way in float32 and the other in
float64; numbers are drawn until none is.
"""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import reference_training as reference
from small_data import bars

import mnistc
from mnistc import Adam, BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, Sequential, _core
from mnistc.datasets import synthetic
from mnistc.layers import Activation, DepthwiseConv2D, named_layers

LOSS = "softmax_cross_entropy"
NEAR_A_TIE, NEAR_A_KINK = 4e-7, 2e-6


@dataclass(frozen=True)
class Case:
    layers: tuple
    shape: tuple
    n: int


CASES = {
    "dense": Case((Dense(17, "tanh"), Dense(5, "softmax")), (1, 1, 23), 5),
    "wide": Case((Dense(330, "linear"), Dense(3, "softmax")), (1, 1, 110), 2),
    "pooled": Case(
        (Conv2D(5, 3), MaxPool2D(2), Activation("relu"), Flatten(), Dense(3, "softmax")),
        (6, 6, 2),
        3,
    ),
    "two pooled": Case(
        (
            Conv2D(3, 3, padding="same", activation="relu"),
            MaxPool2D(2),
            Conv2D(2, 3, padding="same"),
            MaxPool2D(2),
            Dense(3, "softmax"),
        ),
        (6, 4, 1),
        2,
    ),
    "winograd": Case(
        (Conv2D(17, 3, padding="same"), MaxPool2D(2), Activation("relu"), Dense(3, "softmax")),
        (5, 4, 19),
        2,
    ),
    "whole tiles": Case(
        (Conv2D(18, 3, padding="same"), MaxPool2D(2), Activation("relu"), Dense(3, "softmax")),
        (4, 6, 32),
        3,
    ),
    "unpooled": Case(
        (Conv2D(3, 3, padding="same", activation="relu"), Conv2D(2, 3), Dense(3, "softmax")),
        (5, 4, 1),
        2,
    ),
    "groups": Case(
        (Conv2D(4, 3, activation="relu"), Conv2D(6, 3, groups=2), Dense(3, "softmax")),
        (5, 6, 1),
        2,
    ),
    "norm": Case(
        (Conv2D(3, 3), BatchNorm(activation="relu"), DepthwiseConv2D(3), Dense(4, "softmax")),
        (5, 5, 1),
        3,
    ),
}


def coarse(values):
    """Such that sums of a few are exact."""
    return (np.round(values * 2**12) / 2**12).astype(np.float32)


@functools.cache
def problem(name, tiles):
    case = CASES[name]
    layers = named_layers(case.layers)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        parameters, shape = [], case.shape
        for layer in layers:
            for key, size in layer.weight_shapes(shape).items():
                scale = (2 / np.prod(size[:-1])) ** 0.5 if len(size) > 1 else 0.5
                values = rng.normal(size=size) * scale + (key == "gamma")
                parameters.append(coarse(values).ravel())
            shape = layer.output_shape(shape)
        flat = np.concatenate(parameters)
        x = coarse(rng.normal(size=(case.n, int(np.prod(case.shape)))))
        classes = rng.integers(0, shape[-1], case.n).astype(np.int32)
        low = reference.Rounding(tiles)
        loss, gradient, done = reference.gradient(
            layers, case.shape, flat, x, np.eye(shape[-1])[classes], LOSS, low=low
        )
        if low.margin > NEAR_A_TIE and done.margin > NEAR_A_KINK:
            return layers, flat, x, classes, loss, gradient
    raise AssertionError("no numbers away from the ties were found")


@pytest.mark.parametrize("name", CASES)
def test_gradients(name, table):
    layers, parameters, x, classes, wanted_loss, wanted = problem(name, table == "amx")
    got = {}
    for precision in ("float32", "bf16"):
        net = _core.Network(CASES[name].shape, [layer.config() for layer in layers])
        net.parameters[:] = parameters
        options = {"loss": LOSS, "optimizer": "sgd", "precision": precision}
        trainer = _core.Trainer(net, batch_size=len(x), scratch_fill=0xFF, **options)
        got[precision] = trainer.gradients(x, classes)
    loss, gradient = got["bf16"]
    size = np.abs(wanted).max()
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert np.abs(gradient - wanted).max() < 1e-5 * size
    assert np.abs(got["float32"][1] - wanted).max() > 2e-4 * size  # the rounding is seen


def small_network(seed=0):
    return Sequential(
        [
            Conv2D(6, 3, activation="relu"),
            MaxPool2D(2),
            Conv2D(7, 3, padding="same"),
            BatchNorm(activation="relu"),
            Conv2D(8, 3, activation="relu"),
            Flatten(),
            Dropout(0.3),
            Dense(40, "relu"),
            Dense(10, "softmax"),
        ],
        input_shape=(10, 10, 1),
        seed=seed,
    )


def test_threads_change_nothing(table):
    x, y = bars(150)
    results = []
    for threads in (1, 2, 3, 5):
        net = small_network()
        net.fit(x, y, batch_size=47, precision="bf16", n_threads=threads, verbose=0)
        results.append(net.core.parameters.tobytes())
    assert len(set(results)) == 1


def test_prediction_stays_float32():
    x, y = bars(60)
    net = small_network()
    net.fit(x, y, batch_size=20, precision="bf16", verbose=0)
    again = Sequential(net.layers, input_shape=(10, 10, 1))
    again.weights = dict(net.weights)
    assert np.array_equal(net.predict(x), again.predict(x))


def test_small_dense_networks_round_too():
    """Those have a path of their own, in float32 only."""
    x, y = bars(200)
    losses = {}
    for precision in ("float32", "bf16"):
        net = Sequential([Dense(20, "sigmoid"), Dense(10, "softmax")], input_shape=(10, 10, 1))
        history = net.fit(
            x, y, batch_size=10, optimizer="sgd", precision=precision, seed=1, verbose=0
        )
        losses[precision] = history["loss"][-1]
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=1e-3)


def test_wrong_precision():
    x, y = bars(20)
    for wrong in ("bfloat16", "half", "", None, 16):
        with pytest.raises((ValueError, TypeError), match="precision"):
            small_network().fit(x, y, precision=wrong, verbose=0)


def test_checkpoint_keeps_the_precision(tmp_path):
    x, y = bars(60)
    path = tmp_path / "run.npz"
    options = {"batch_size": 20, "verbose": 0}
    checkpoint = mnistc.callbacks.Checkpoint(path)
    small_network().fit(x, y, 1, callbacks=[checkpoint], precision="bf16", **options)
    with pytest.raises(ValueError, match="precision 'bf16'"):
        small_network().fit(x, y, 2, resume=path, **options)
    resumed, whole = small_network(), small_network()
    resumed.fit(x, y, 2, resume=path, precision="bf16", **options)
    whole.fit(x, y, 2, precision="bf16", **options)
    assert np.array_equal(resumed.core.parameters, whole.core.parameters)


def test_accuracy_is_that_of_float32():
    images, labels = synthetic.generate(3000, seed=0)
    test_images, test_labels = synthetic.generate(1000, seed=0, part=1)
    accuracy = {}
    for precision in ("float32", "bf16"):
        net = Sequential(
            [Conv2D(8, 3, activation="relu"), MaxPool2D(2), Flatten(), Dense(10, "softmax")],
            input_shape=(28, 28, 1),
        )
        options = {"batch_size": 64, "optimizer": Adam(0.003), "precision": precision}
        net.fit(images, labels, 2, verbose=0, **options)
        accuracy[precision] = net.evaluate(test_images, test_labels)["accuracy"]
    assert accuracy["float32"] > 0.8
    assert abs(accuracy["bf16"] - accuracy["float32"]) < 0.01
