"""Gradients, optimiser steps and losses of every kernel table against float64.

The yardstick is `reference_training`, which is itself held against central differences and against
PyTorch's autograd here. Errors are relative to the largest gradient and must stay below 1e-5.
"""

import functools
import os
from dataclasses import dataclass

import numpy as np
import pytest
import reference_training as reference
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mnistc import _core
from mnistc.layers import (
    ACTIVATIONS,
    Activation,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    named_layers,
)

SOFTMAX, SIGMOID, SQUARES = (
    "softmax_cross_entropy",
    "sigmoid_cross_entropy",
    "mean_squared_error",
)
LAST = {SOFTMAX: "softmax", SIGMOID: "sigmoid"}
BOUND = 1e-5
EXAMPLES = int(os.environ.get("MNISTC_TEST_EXAMPLES", "60"))  # more: a longer search
NEAR_A_KINK = 4e-6  # a float32 value of size 1 is that uncertain after some hundred operations


@dataclass(frozen=True)
class Case:
    layers: tuple
    shape: tuple
    n: int
    loss: str = SOFTMAX
    smoothing: float = 0.0
    weighted: bool = False
    sparse: bool = False


@dataclass
class Problem:
    """A case with numbers, and the gradient that float64 gives."""

    case: Case
    layers: list
    parameters: np.ndarray
    x: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    loss: float
    gradient: np.ndarray
    done: reference.Forward


def draw(case, seed):
    rng = np.random.default_rng(seed)
    layers = named_layers(case.layers)
    parameters, shape = [], case.shape
    for layer in layers:
        for name, size in layer.weight_shapes(shape).items():
            scale = (2 / np.prod(size[:-1])) ** 0.5 if len(size) > 1 else 0.5
            values = rng.normal(size=size) * scale + (name == "gamma")
            parameters.append(values.astype(np.float32).ravel())
        shape = layer.output_shape(shape)
    x = rng.normal(size=(case.n, int(np.prod(case.shape)))).astype(np.float32)
    if case.sparse:
        x *= rng.random(x.shape) < 0.2
    width = int(np.prod(shape))
    targets = rng.random((case.n, width)).astype(np.float32)
    if case.loss == SOFTMAX:
        targets = np.eye(width, dtype=np.float32)[rng.integers(0, width, case.n)]
    weights = rng.random(case.n).astype(np.float32) + 0.1 if case.weighted else None
    parameters = np.concatenate(parameters)
    options = {"weights": weights, "smoothing": case.smoothing}
    loss, gradient, done = reference.gradient(
        layers, case.shape, parameters, x, targets, case.loss, **options
    )
    return Problem(case, layers, parameters, x, targets, weights, loss, gradient, done)


@functools.cache
def problem(case):
    """Numbers that are not near a kink, which float32 could take the wrong way."""
    for seed in range(40):
        drawn = draw(case, seed)
        if drawn.done.margin > NEAR_A_KINK:
            return drawn
    raise AssertionError("no numbers away from the kinks were found")


def network(problem):
    net = _core.Network(problem.case.shape, [layer.config() for layer in problem.layers])
    net.parameters[:] = problem.parameters
    return net


def core_gradient(problem, **options):
    net = network(problem)
    case = problem.case
    trainer = _core.Trainer(
        net, batch_size=case.n, loss=case.loss, label_smoothing=case.smoothing, **options
    )
    loss, gradient = trainer.gradients(problem.x, problem.targets, problem.weights)
    return loss, gradient, net


def relative_error(got, wanted):
    size = np.abs(wanted).max()
    return np.abs(got - wanted).max() / size if size else np.abs(got).max()


def check(problem, bound=BOUND):
    loss, gradient, net = core_gradient(problem)
    assert loss == pytest.approx(problem.loss, rel=bound)
    assert relative_error(gradient, problem.gradient) < bound
    for i, (mean, variance) in enumerate(problem.done.norms):
        check_running_statistics(problem, net, i, mean, variance)


def check_running_statistics(problem, net, index, mean, variance):
    norms = [layer for layer in problem.layers if layer.type == "batch_norm"]
    at = sum(2 * len(m) for m, _ in problem.done.norms[:index])
    keep, n = norms[index].momentum, len(mean)
    np.testing.assert_allclose(net.state[at : at + n], (1 - keep) * mean, rtol=2e-5, atol=2e-6)
    wanted = keep + (1 - keep) * variance
    np.testing.assert_allclose(net.state[at + n : at + 2 * n], wanted, rtol=2e-5, atol=2e-6)


def head(loss, units=10):
    return Dense(units, LAST.get(loss, "linear"))


# ---- the reference itself ----

EVERY_LAYER = (
    Conv2D(3, (3, 5), "same", "tanh"),
    BatchNorm(activation="sigmoid"),
    MaxPool2D(2),
    DepthwiseConv2D(3, "same", "relu"),
    Conv2D(4, 1, activation="softmax"),
    MaxPool2D(3, 1),
    BatchNorm(),
    Activation("relu"),
    GlobalAveragePool2D(),
    Flatten(),
    Dense(5, "sigmoid"),
)


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, SQUARES])
def test_the_reference_against_central_differences(loss):
    p = problem(Case((*EVERY_LAYER, head(loss, 3)), (9, 8, 2), 3, loss, 0.1, weighted=True))
    step = 1e-6

    def at(parameters):
        return reference.gradient(
            p.layers, p.case.shape, parameters, p.x, p.targets, loss,
            weights=p.weights, smoothing=0.1,
        )[0]  # fmt: skip

    slopes = []
    for i in range(len(p.parameters)):
        moved = p.parameters.astype(np.float64)
        moved[i] += step
        above = at(moved)
        moved[i] -= 2 * step
        slopes.append((above - at(moved)) / (2 * step))
    assert relative_error(np.array(slopes), p.gradient) < 1e-7


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, SQUARES])
def test_the_reference_against_autograd(loss):
    torch_reference = pytest.importorskip("torch_reference", reason="PyTorch is not installed",
                                          exc_type=ImportError)  # fmt: skip
    p = problem(Case((*EVERY_LAYER, head(loss, 7)), (13, 11, 3), 5, loss, weighted=True))
    wanted, gradient = torch_reference.gradient(
        p.layers, p.case.shape, p.parameters, p.x, p.targets, loss, p.weights
    )
    assert p.loss == pytest.approx(wanted, rel=1e-12)
    assert relative_error(p.gradient, gradient) < 1e-10


# ---- every layer, loss and activation ----


@pytest.mark.parametrize("n", [1, 2, 7, 10, 128])
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, SQUARES])
def test_every_layer(table, loss, n):
    check(problem(Case((*EVERY_LAYER, head(loss)), (9, 8, 2), n, loss)))


@pytest.mark.parametrize("n", [1, 2, 7, 10, 128])
@pytest.mark.parametrize("widths", [(784, 100, 30, 10), (17, 33, 5), (1, 1, 1), (65, 31, 129, 3)])
def test_dense(table, widths, n):
    hidden = tuple(Dense(k, "sigmoid") for k in widths[1:-1])
    check(problem(Case((*hidden, Dense(widths[-1], "sigmoid")), (1, 1, widths[0]), n, SIGMOID)))


@pytest.mark.parametrize("n", [1, 3, 10, 97])
def test_images_that_are_mostly_paper(table, n):
    layers = (Dense(100, "relu"), Dense(30, "tanh"), Dense(10, "softmax"))
    check(problem(Case(layers, (28, 28, 1), n, sparse=True)))


@pytest.mark.parametrize("n", [1, 10, 50])
def test_wide_dense_layers(table, n):
    layers = (Dense(210, "tanh"), BatchNorm(activation="relu"), Dense(190, "sigmoid"),
              Dense(180, "relu"), Dense(11, "softmax"))  # fmt: skip
    check(problem(Case(layers, (13, 14, 1), n)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["dense", "conv", "depthwise", "pooled", "alone"])
def test_activations(table, kind, activation):
    layers = {
        "dense": (Dense(19, activation),),
        "conv": (Conv2D(9, 3, activation=activation),),
        "depthwise": (DepthwiseConv2D(3, activation=activation),),
        "pooled": (Conv2D(9, 3, "same", activation=activation), MaxPool2D(2)),
        "alone": (Conv2D(9, 1), Activation(activation)),
    }[kind]
    check(problem(Case((*layers, Dense(4)), (6, 7, 3), 5, SQUARES)))


@pytest.mark.parametrize("last", ACTIVATIONS)
def test_squares_of_every_last_activation(table, last):
    check(problem(Case((Dense(7, "tanh"), Dense(5, last)), (1, 1, 9), 6, SQUARES, 0.1, True)))


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID])
def test_smoothing_and_weights(table, loss):
    check(problem(Case((Dense(9, "relu"), head(loss)), (5, 5, 1), 11, loss, 0.2, True)))


SHAPES = [
    # kernel, padding, image, channels in, filters, images
    (1, "valid", (1, 1), 1, 1, 1),
    (3, "same", (1, 1), 3, 2, 7),
    (3, "valid", (3, 3), 1, 65, 2),
    (5, "same", (2, 9), 2, 17, 3),
    (7, "valid", (7, 31), 3, 5, 2),
    (7, "same", (5, 4), 8, 9, 4),
    ((1, 5), "valid", (4, 13), 16, 3, 3),
    ((5, 1), "same", (11, 3), 15, 16, 2),
    (3, "valid", (28, 28), 1, 32, 10),
    (3, "valid", (13, 13), 32, 64, 4),
    (3, "same", (31, 29), 7, 13, 2),
    (3, "valid", (31, 29), 65, 33, 1),
    (3, "same", (5, 7), 33, 65, 130),
    (3, "same", (7, 6), 9, 70, 6),
]


def can_be_pooled(shape):
    kernel, padding, size, channels, filters, _ = shape
    return min(Conv2D(filters, kernel, padding).output_shape((*size, channels))[:2]) >= 2


@pytest.mark.parametrize(
    ("shape", "pool"), [(s, pool) for s in SHAPES for pool in {False, can_be_pooled(s)}], ids=str
)
def test_convolutions(table, shape, pool):
    kernel, padding, size, channels, filters, n = shape
    layer = Conv2D(filters, kernel, padding, "relu")
    # A layer before it, so that the input gradient counts; and one after.
    layers = (Conv2D(channels, 1, activation="tanh"), layer, *([MaxPool2D(2)] if pool else []))
    check(problem(Case((*layers, Dense(3, "softmax")), (*size, 2), n)))


GREY = [
    (5, "valid", (28, 28), 1, 6, 4),
    ((3, 5), "valid", (13, 31), 1, 4, 3),
    (1, "same", (5, 5), 1, 1, 2),
]


@pytest.mark.parametrize("shape", SHAPES[:9] + GREY, ids=str)
def test_first_convolutions(table, shape):
    kernel, padding, size, channels, filters, n = shape
    layers = [Conv2D(filters, kernel, padding, "relu")]
    if can_be_pooled(shape):
        layers.append(MaxPool2D(2))
    check(problem(Case((*layers, Dense(3, "softmax")), (*size, channels), n)))


PAPER = [(3, 32, "valid"), (5, 6, "valid"), (3, 5, "same"), (5, 40, "same"), (1, 3, "valid")]


@pytest.mark.parametrize("size, filters, padding", PAPER)
def test_windows_of_paper(table, size, filters, padding):
    """Grey images only pass them over: a second channel of zeros may change nothing."""
    rng = np.random.default_rng(size)
    n, side = 5, 19
    grey = rng.normal(size=(n, side, side, 1)).astype(np.float32)
    grey *= rng.random(grey.shape) < 0.03
    grey[0], grey[1, 4:9, 11:] = 0.0, 1.0
    classes = np.arange(n, dtype=np.int32)
    layers = [Conv2D(filters, size, padding, "relu"), MaxPool2D(2), Dense(n, "softmax")]
    nets, outputs, gradients = [], [], []
    for x in (grey, np.concatenate([grey, np.zeros_like(grey)], axis=3)):
        config = [layer.config() for layer in named_layers(layers)]
        net = _core.Network(x.shape[1:], config)
        net.initialize(4)
        taps = size * size * x.shape[3] * filters
        if nets:  # the same weights, whatever those of the zeros are
            kernel = net.parameters[:taps].reshape(-1, 2, filters)
            kernel[:, 0] = nets[0].parameters[: taps // 2].reshape(-1, filters)
            net.parameters[taps:] = nets[0].parameters[taps // 2 :]
        else:
            net.parameters[taps : taps + filters] = rng.normal(size=filters)  # the biases
        trainer = _core.Trainer(net, batch_size=n, loss=SOFTMAX)
        _, gradient = trainer.gradients(x.reshape(n, -1), classes, None)
        first = gradient[:taps].reshape(-1, x.shape[3], filters)[:, 0]
        gradients.append(np.concatenate([first.ravel(), gradient[taps:]]))
        outputs.append(net.predict(x.reshape(n, -1), 1))
        nets.append(net)
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    assert relative_error(gradients[0], gradients[1]) < BOUND


@pytest.mark.parametrize("shape", SHAPES[:8], ids=str)
def test_depthwise_convolutions(table, shape):
    kernel, padding, size, channels, _, n = shape
    layers = (Conv2D(channels, 1), DepthwiseConv2D(kernel, padding, "relu"), Conv2D(5, 1))
    check(problem(Case((*layers, Dense(3, "softmax")), (*size, 2), n)))


@pytest.mark.parametrize(("seen", "filters"), [(1, 1), (1, 3), (5, 1), (8, 16), (17, 33), (3, 65)])
@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_groups(table, seen, filters, groups, padding):
    layers = (
        Conv2D(groups * seen, 3),
        Conv2D(groups * filters, (3, 5), padding, "relu", groups=groups),
        MaxPool2D(2),
        Conv2D(groups, 1, groups=groups),
        Dense(3, "softmax"),
    )
    check(problem(Case(layers, (8, 9, 2), 5)))


@pytest.mark.parametrize(("size", "stride"), [(1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2)])
def test_pooling(table, size, stride):
    layers = (Conv2D(5, 3, activation="tanh"), MaxPool2D(size, stride), Dense(3, "softmax"))
    check(problem(Case(layers, (9, 12, 2), 6)))


@pytest.mark.parametrize("channels", [1, 3, 16, 65])
@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh"])
def test_batch_normalisation(table, channels, activation):
    layers = (BatchNorm(), Conv2D(channels, 3), BatchNorm(0.7, 1e-2, activation), MaxPool2D(2),
              Dense(7), BatchNorm(), Dense(3, "softmax"))  # fmt: skip
    check(problem(Case(layers, (8, 7, 2), 9)))


def test_a_filter_as_the_last_layer(table):
    check(problem(Case((Conv2D(4, 3, activation="relu"), Conv2D(2, 3)), (6, 7, 3), 5, SQUARES)))
    check(problem(Case((Conv2D(2, 3, activation="sigmoid"),), (5, 5, 1), 4, SIGMOID)))


# ---- networks by chance ----

POSITIVE = st.sampled_from((1, 2, 3, 5, 8, 9, 16, 17, 24, 33, 65))


@st.composite
def cases(draw):
    shape = (draw(st.integers(1, 31)), draw(st.integers(1, 29)), draw(st.sampled_from((1, 2, 3))))
    n = draw(st.sampled_from((1, 2, 3, 7, 9, 10, 16, 17, 31)))
    loss = draw(st.sampled_from((SOFTMAX, SIGMOID, SQUARES)))
    activation = st.sampled_from(ACTIVATIONS)
    kernel = st.sampled_from((1, 3, 5, 7, (1, 3), (5, 1)))
    padding = st.sampled_from(("valid", "same"))
    kinds = {
        "average": st.just(GlobalAveragePool2D()),
        "conv": st.builds(Conv2D, POSITIVE, kernel, padding, activation),
        "groups": st.builds(
            lambda filters, *rest: Conv2D(3 * filters, *rest, groups=3),
            POSITIVE,
            kernel,
            padding,
            activation,
        ),
        "dense": st.builds(Dense, POSITIVE, activation),
        "depthwise": st.builds(DepthwiseConv2D, kernel, padding, activation),
        "flatten": st.just(Flatten()),
        "function": st.builds(Activation, activation),
        "norm": st.builds(BatchNorm, activation=st.sampled_from(ACTIVATIONS[:-1])),
        "pool": st.builds(MaxPool2D, st.integers(1, 3), st.integers(1, 3)),
    }
    layers, now, cost = [], shape, 0
    for _ in range(draw(st.integers(0, 4))):
        layer = draw(st.sampled_from(sorted(kinds)).flatmap(kinds.__getitem__))
        try:
            after = layer.output_shape(now)
        except ValueError:
            continue
        cost += layer.multiply_adds(now) * n
        if cost > 4e6:
            continue
        layers.append(layer)
        now = after
    width = draw(st.integers(1, 12))
    layers.append(Dense(width, draw(activation) if loss == SQUARES else LAST[loss]))
    smoothing = draw(st.sampled_from((0.0, 0.1)))
    return Case(tuple(layers), shape, n, loss, smoothing, draw(st.booleans()), draw(st.booleans()))


def well_posed(p):
    """Whether rounding the parameters to float32 once more leaves the gradient where it is.

    It does not where outputs happen to meet their targets, or values to be normalised to be nearly
    alike, and little but rounding is left.
    """
    if any((mean**2 > 300 * variance).any() for mean, variance in p.done.norms):
        return False
    rng = np.random.default_rng(0)
    moved = p.parameters * (1 + 6e-8 * rng.choice((-1, 1), p.parameters.shape))
    gradient = reference.gradient(
        p.layers, p.case.shape, moved, p.x, p.targets, p.case.loss,
        weights=p.weights, smoothing=p.case.smoothing,
    )[1]  # fmt: skip
    return relative_error(gradient, p.gradient) < BOUND / 20


@given(cases(), st.integers(0, 3))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])  # fmt: skip
def test_networks_by_chance(case, seed):
    p = draw(case, seed)
    assume(p.done.margin > NEAR_A_KINK and well_posed(p))
    before = _core.kernels()
    try:
        for name in _core.available_kernels():
            _core.use_kernels(name)
            check(p)
    finally:
        _core.use_kernels(before)


# ---- dropout ----


def test_dropout(table):
    """Each image's mask is told from the gradient of the layer behind; the rest must follow."""
    case = Case((Dense(40, "tanh"), Dropout(0.3), Dense(4)), (5, 5, 1), 6, SQUARES)
    layers = named_layers(case.layers)
    rng = np.random.default_rng(0)
    p = Problem(case, layers, None, rng.random((6, 25)).astype(np.float32),
                rng.random((6, 4)).astype(np.float32), None, 0.0, None, None)  # fmt: skip
    p.parameters = rng.normal(size=25 * 40 + 40 + 40 * 4 + 4).astype(np.float32) / 5
    masks = []
    for i in range(6):
        p.weights = np.eye(6, dtype=np.float32)[i]
        _, gradient, _ = core_gradient(p, seed=3)
        masks.append(gradient[-164:-4].reshape(40, 4)[:, 0] != 0)
    kept = np.array(masks)
    assert 0.6 < kept.mean() < 0.8
    assert len({mask.tobytes() for mask in masks}) == 6
    p.weights = None
    loss, gradient, net = core_gradient(p, seed=3)
    wanted, slope, _ = reference.gradient(
        layers, case.shape, p.parameters, p.x, p.targets, SQUARES, masks=[kept]
    )
    assert loss == pytest.approx(wanted, rel=BOUND)
    assert relative_error(gradient, slope) < BOUND
    other = core_gradient(p, seed=4)[1]
    assert not np.array_equal(other, gradient)
    without = reference.forward(layers, case.shape, p.parameters, p.x, [np.full((6, 40), 0.7)])
    np.testing.assert_allclose(net.predict(p.x), without.logits, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_share_that_dropout_drops(table, rate):
    net = _core.Network((1, 1, 4000), [Dropout(rate).config(), Dense(1).config()])
    net.parameters[:] = 1
    trainer = _core.Trainer(net, batch_size=1, loss=SQUARES, optimizer="sgd")
    x = np.ones((1, 4000), np.float32)
    _, gradient = trainer.gradients(x, np.zeros((1, 1), np.float32))
    kept = gradient[:4000] != 0
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / 4000) ** 0.5 + 1e-9
    np.testing.assert_allclose(gradient[:4000][kept], gradient[-1] / (1 - rate), rtol=1e-5)


# ---- optimisers ----

STEPS = {
    "sgd": {"optimizer": "sgd"},
    "l2": {"optimizer": "sgd", "weight_decay": 0.05},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"optimizer": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "epsilon": 1e-4},
    "adam-l2": {"optimizer": "adam", "beta_1": 0.8, "beta_2": 0.99, "weight_decay": 0.1},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.3, "epsilon": 1e-6},
    "clipped": {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 0.05},
    "clipped-adam": {"optimizer": "adam", "clip_norm": 0.01, "epsilon": 1e-3},
    "not-clipped": {"optimizer": "sgd", "clip_norm": 1e6},
}
SMALL = (Conv2D(9, 3, activation="relu"), MaxPool2D(2), BatchNorm(), Dense(33, "tanh"),
         Dense(5, "softmax"))  # fmt: skip


def decay_mask(layers, shape):
    marks = []
    for layer in layers:
        for name, size in layer.weight_shapes(shape).items():
            marks.append(np.full(int(np.prod(size)), name == "weight"))
        shape = layer.output_shape(shape)
    return np.concatenate(marks)


@pytest.mark.parametrize("options", STEPS.values(), ids=STEPS)
def test_optimizer_steps(table, options):
    """Float64 steps from the core's own gradients: what an optimiser does with them, alone."""
    case = Case(SMALL, (9, 8, 2), 12)
    p = problem(case)
    net = network(p)
    options = dict(options)
    name = options.pop("optimizer")
    trainer = _core.Trainer(net, batch_size=12, loss=SOFTMAX, optimizer=name, ema_decay=0.99,
                            **options)  # fmt: skip
    order = np.arange(12, dtype=np.int64)
    state, average = {}, net.parameters.astype(np.float64)
    decays = decay_mask(p.layers, case.shape)
    for step, rate in enumerate((0.1, 0.05, 0.2, 0.01), 1):
        kept = net.state.copy()  # the statistics are part of how a normalisation rounds
        probe = _core.Trainer(net, batch_size=12, loss=SOFTMAX, optimizer=name)
        gradient = probe.gradients(p.x, p.targets)[1].astype(np.float64)
        net.state[:] = kept
        before = net.parameters.astype(np.float64)
        wanted = reference.update(name, state, before, gradient, rate, decays=decays, **options)
        trainer.run(p.x, p.targets, None, order, np.array([rate], np.float32), 0)
        assert trainer.step == step
        moved = np.abs(wanted - before).max()
        rounding = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
        assert (np.abs(net.parameters - wanted) <= BOUND * moved + rounding).all()
        decay = min(0.99, (1 + step) / (10 + step))
        average += (1 - decay) * (net.parameters - average)
        np.testing.assert_allclose(trainer.ema, average, rtol=1e-5, atol=1e-6)


DESCENTS = {
    "sigmoids": (Dense(100, "sigmoid"), Dense(30, "sigmoid"), Dense(10, "sigmoid")),
    "relu": (Flatten(), Dense(33, "relu"), Dense(9, "tanh"), Dense(5, "softmax")),
    "two": (Dense(1, "tanh"), Dense(3, "softmax")),
    "linear": (Dense(17), Dense(65), Dense(2)),
    "wide": (Dense(201, "tanh"), Dense(40, "sigmoid"), Dense(35, "relu"), Dense(3)),
    "softmax": (Dense(17, "softmax"), Dense(9, "softmax"), Dense(2)),
}


@pytest.mark.parametrize("n", [1, 2, 7, 10, 61, 128])
@pytest.mark.parametrize("name", DESCENTS)
def test_descent_of_dense_networks(table, name, n):
    """Plain SGD, with decay, over minibatches and a smaller last one: the fast path."""
    layers = DESCENTS[name]
    loss = {"softmax": SOFTMAX, "sigmoid": SIGMOID}.get(layers[-1].activation, SQUARES)
    total = 3 * n + n // 2
    p = draw(Case(layers, (9, 7, 1), total, loss, 0.1, True, True), 5)
    x = (np.abs(p.x) * 60).clip(0, 255).astype(np.uint8)
    check_descent(p, x, n, np.array([0.05, 0.02, 0.04, 0.01], np.float32), weight_decay=0.01)


def test_a_long_descent_with_much_decay(table):
    p = draw(Case(DESCENTS["relu"], (4, 4, 1), 600, SOFTMAX, sparse=True), 0)
    x = (np.abs(p.x) * 60).clip(0, 255).astype(np.uint8)
    check_descent(p, x, 1, np.full(600, 0.02, np.float32), weight_decay=0.5)


def check_descent(p, x, n, rates, weight_decay, bound=2e-5):
    case, net = p.case, network(p)
    trainer = _core.Trainer(net, batch_size=n, loss=case.loss, optimizer="sgd",
                            label_smoothing=case.smoothing, weight_decay=weight_decay)  # fmt: skip
    order = np.random.default_rng(0).permutation(len(x))
    batches = [order[i : i + n] for i in range(0, len(x), n)]
    rates = rates[: len(batches)]
    got, _, _ = trainer.run(x, p.targets, p.weights, order, rates, 0)
    w, decays = p.parameters.astype(np.float64), decay_mask(p.layers, case.shape)
    state, total = {}, 0.0
    for batch, rate in zip(batches, rates, strict=True):
        weights = None if p.weights is None else p.weights[batch]
        loss, gradient, _ = reference.gradient(
            p.layers, case.shape, w, x[batch] / 255, p.targets[batch], case.loss,
            weights=weights, smoothing=case.smoothing,
        )  # fmt: skip
        w = reference.update("sgd", state, w, gradient, float(rate), decays=decays,
                             weight_decay=weight_decay)  # fmt: skip
        total += loss * len(batch)
    assert got == pytest.approx(total, rel=bound)
    # Each image's share is added to the weights in float32: that many roundings, as a random walk.
    rounding = np.spacing(np.float32(np.abs(w).max())) * len(x) ** 0.5
    assert np.abs(net.parameters - w).max() < bound * np.abs(w - p.parameters).max() + rounding


# ---- a whole training beside PyTorch's ----

CURVES = {
    "sgd": ("sgd", {}, 0.1),
    "momentum": ("sgd", {"momentum": 0.9}, 0.02),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}, 0.02),
    "adam": ("adam", {"epsilon": 1e-7}, 1e-3),
    "adamw": ("adamw", {"epsilon": 1e-7, "weight_decay": 0.05}, 1e-3),
}


def torch_losses(p, name, options, rate, batches):
    """Losses of the steps of PyTorch's own optimiser in float64."""
    import torch
    import torch_reference

    torch.set_num_threads(1)
    arrays = [
        torch.tensor(array, dtype=torch.float64, requires_grad=True)
        for layer in reference.arrays_of(p.layers, p.case.shape, p.parameters.copy())
        for array in layer
    ]
    decay = options.get("weight_decay", 0.0)
    groups = [
        {"params": [a for a in arrays if a.ndim > 1], "weight_decay": decay},
        {"params": [a for a in arrays if a.ndim == 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        momentum, nesterov = options.get("momentum", 0.0), options.get("nesterov", False)
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        optimizer = kind(groups, lr=rate, eps=options["epsilon"])
    losses = []
    for batch in batches:
        flat = torch.cat([array.reshape(-1) for array in arrays])
        x = torch.tensor(p.x[batch], dtype=torch.float64)
        targets = torch.tensor(p.targets[batch], dtype=torch.float64)
        logits = torch_reference.forward(p.layers, p.case.shape, flat, x, raw=True)
        loss = torch_reference.loss_rows(p.case.loss, logits, p.layers, targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@functools.cache
def curve(name):
    optimizer, options, rate = CURVES[name]
    layers = (Conv2D(8, 3, activation="relu"), MaxPool2D(2), Conv2D(12, 3, activation="relu"),
              MaxPool2D(2), Flatten(), Dense(20, "tanh"), Dense(10, "softmax"))  # fmt: skip
    p = draw(Case(layers, (14, 14, 1), 320), 0)
    p.x = np.abs(p.x) / 4
    rng = np.random.default_rng(1)
    order = np.concatenate([rng.permutation(320) for _ in range(10)])
    batches = order.reshape(100, 32)
    return p, batches, torch_losses(p, optimizer, options, rate, batches)


@pytest.mark.parametrize("name", CURVES)
def test_the_loss_follows_pytorch(table, name):
    pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    optimizer, options, rate = CURVES[name]
    p, batches, wanted = curve(name)
    net = network(p)
    trainer = _core.Trainer(net, batch_size=32, loss=SOFTMAX, optimizer=optimizer, **options)
    rates = np.array([rate], np.float32)
    got = [
        trainer.run(p.x, p.targets, None, np.ascontiguousarray(batch), rates, 0)[0] / 32
        for batch in batches
    ]
    assert wanted[-1] < 0.9 * wanted[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
