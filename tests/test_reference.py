"""The NumPy forward pass against definitions written out in loops, and folding against it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from sample_models import images, models, random_model

from mnistc import reference
from mnistc.formats.fold import fold
from mnistc.layers import (
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


def convolve_in_loops(x, weight, bias, same):
    height, width, inputs, outputs = weight.shape
    n, rows, columns, _ = x.shape
    top, left = (height // 2, width // 2) if same else (0, 0)
    if not same:
        rows, columns = rows - height + 1, columns - width + 1
    y = np.zeros((n, rows, columns, outputs))
    for image, i, j, out in itertools.product(
        range(n), range(rows), range(columns), range(outputs)
    ):
        total = float(bias[out])
        for a, b, c in itertools.product(range(height), range(width), range(inputs)):
            r, s = i + a - top, j + b - left
            if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
                total += float(x[image, r, s, c]) * float(weight[a, b, c, out])
        y[image, i, j, out] = total
    return y


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel", [1, 3, (1, 5), (5, 3)])
def test_convolution(kernel, padding):
    model = random_model([Conv2D(3, kernel, padding), GlobalAveragePool2D()], (6, 5, 2))
    x = images(model, 2)
    arrays = model.weights
    wanted = convolve_in_loops(x, arrays["conv2d.weight"], arrays["conv2d.bias"], padding == "same")
    got = reference.forward(model.layers, arrays, x, model.input_shape)
    np.testing.assert_allclose(got[0], wanted, atol=1e-12)
    np.testing.assert_allclose(got[1][:, 0, 0], wanted.mean(axis=(1, 2)), atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_depthwise_is_a_diagonal_convolution(padding):
    layers = [DepthwiseConv2D((3, 5), padding), GlobalAveragePool2D()]
    model = random_model(layers, (7, 6, 3))
    weight = model.weights["depthwise_conv2d.weight"]
    full = np.zeros((3, 5, 3, 3))
    for channel in range(3):
        full[:, :, channel, channel] = weight[:, :, channel]
    x = images(model, 2)
    wanted = convolve_in_loops(x, full, model.weights["depthwise_conv2d.bias"], padding == "same")
    got = reference.forward(model.layers, model.weights, x, model.input_shape)[0]
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_groups_are_a_convolution_with_zeros(padding):
    layers = [Conv2D(9, (3, 5), padding, groups=3), GlobalAveragePool2D()]
    model = random_model(layers, (7, 6, 6))
    weight = model.weights["conv2d.weight"]
    full = np.zeros((3, 5, 6, 9))
    for group in range(3):
        inputs, filters = slice(2 * group, 2 * group + 2), slice(3 * group, 3 * group + 3)
        full[:, :, inputs, filters] = weight[..., filters]
    x = images(model, 2)
    wanted = convolve_in_loops(x, full, model.weights["conv2d.bias"], padding == "same")
    got = reference.forward(model.layers, model.weights, x, model.input_shape)[0]
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (2, 3), (3, 1), (1, 2)])
def test_max_pool(size, stride):
    x = np.random.default_rng(0).normal(size=(2, 8, 7, 3))
    got = reference.max_pool(x, size, stride)
    assert got.shape == (2, (8 - size) // stride + 1, (7 - size) // stride + 1, 3)
    for i, j in itertools.product(range(got.shape[1]), range(got.shape[2])):
        window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
        assert np.array_equal(got[:, i, j], window.max(axis=(1, 2)))


def test_activations():
    x = np.array([-1000.0, -1, 0, 2, 1000])
    assert np.array_equal(reference.activate(x, "linear"), x)
    assert reference.activate(x, "relu").tolist() == [0, 0, 0, 2, 1000]
    np.testing.assert_allclose(
        reference.activate(x, "sigmoid"), [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1]
    )
    assert np.array_equal(reference.activate(x, "tanh"), np.tanh(x))
    assert reference.activate(x, "softmax").tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(
        reference.activate(np.log([1.0, 2, 5]), "softmax"), [0.125, 0.25, 0.625]
    )


def test_uint8_is_scaled():
    model = random_model([Dense(3)], (2, 2, 1))
    x = np.array([[0, 51, 102, 255]], np.uint8)
    scaled = reference.predict(model, x / 255)
    np.testing.assert_allclose(reference.predict(model, x), scaled, rtol=1e-15)
    assert reference.predict(model, x[:0]).shape == (0, 3)


def test_chunks_and_float32():
    model = random_model([Conv2D(2, 3), Flatten(), Dense(3)], (5, 5, 1))
    x = images(model, 7)
    whole = reference.predict(model, x)
    np.testing.assert_allclose(reference.predict(model, x, chunk=2), whole, rtol=1e-14)
    single = reference.predict(model, x, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, atol=1e-5)


def kinds(layers):
    return [layer.type for layer in layers]


def folds_to(layers, wanted, input_shape=(8, 8, 2), change=lambda weights: None):
    """Check the layers left after folding, and that the outputs are the same."""
    model = random_model(layers, input_shape)
    change(model.weights)
    folded = model.folded()
    assert kinds(folded.layers) == wanted
    x = images(model, 5)
    np.testing.assert_allclose(
        reference.predict(folded, x), reference.predict(model, x), rtol=1e-4, atol=1e-5
    )


END = [Flatten(), Dense(3)]
END_TYPES = ["flatten", "dense"]


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ([Conv2D(4, 3), BatchNorm(activation="relu"), *END], ["conv2d", *END_TYPES]),
        ([Conv2D(4, 3, "same"), Dropout(0.1), BatchNorm(), *END], ["conv2d", *END_TYPES]),
        ([DepthwiseConv2D(3), BatchNorm(activation="tanh"), *END],
         ["depthwise_conv2d", *END_TYPES]),
        ([Dense(4), BatchNorm(activation="sigmoid"), Dense(3)], ["dense", "dense"]),
        ([Conv2D(4, 3, activation="relu"), BatchNorm(), *END], ["conv2d", *END_TYPES]),
        ([BatchNorm(), Conv2D(4, 3), *END], ["conv2d", *END_TYPES]),
        ([BatchNorm(), Conv2D(4, 1, "same"), *END], ["conv2d", *END_TYPES]),
        ([BatchNorm(), DepthwiseConv2D(3), *END], ["depthwise_conv2d", *END_TYPES]),
        ([BatchNorm(), Dense(3)], ["dense"]),
        ([BatchNorm(), BatchNorm(), Dense(3)], ["dense"]),
        ([Flatten(), BatchNorm(), Dense(3)], END_TYPES),
        ([BatchNorm(), GlobalAveragePool2D(), Dense(3)], ["global_average_pool2d", "dense"]),
        ([BatchNorm(), Conv2D(4, 3, "same"), *END], ["batch_norm", "conv2d", *END_TYPES]),
        ([BatchNorm(activation="relu"), *END], ["batch_norm", *END_TYPES]),
        ([BatchNorm(), Activation("relu"), *END], ["batch_norm", "activation", *END_TYPES]),
        ([Conv2D(4, 3, activation="relu"), BatchNorm(activation="relu"), *END],
         ["conv2d", "batch_norm", *END_TYPES]),
        ([Dense(3), BatchNorm()], ["dense"]),
        ([Dense(3, "relu"), BatchNorm()], ["dense", "batch_norm"]),
    ],
)  # fmt: skip
def test_folding(layers, wanted):
    folds_to(layers, wanted)


def test_folding_through_max_pool_needs_positive_scales():
    layers = [Conv2D(4, 3, activation="relu"), BatchNorm(), MaxPool2D(2), *END]

    def positive(weights):
        np.abs(weights["batch_norm.gamma"], out=weights["batch_norm.gamma"])

    def negative(weights):
        weights["batch_norm.gamma"][1] = -1

    folds_to(layers, ["conv2d", "max_pool2d", *END_TYPES], change=positive)
    folds_to(layers, ["conv2d", "batch_norm", "max_pool2d", *END_TYPES], change=negative)


def test_folding_over_padding_needs_no_shift():
    def centred(weights):
        weights["batch_norm.beta"][:] = weights["batch_norm.running_mean"][:] = 0

    layers = [BatchNorm(), Conv2D(4, 3, "same"), *END]
    folds_to(layers, ["conv2d", *END_TYPES], change=centred)


@given(models())
@settings(max_examples=100, deadline=None)
def test_folding_changes_no_output(model):
    folded = model.folded()
    assert "dropout" not in kinds(folded.layers)
    x = images(model)
    np.testing.assert_allclose(
        reference.predict(folded, x), reference.predict(model, x), rtol=1e-3, atol=1e-4
    )


def test_folding_leaves_its_arguments_alone():
    model = random_model([Conv2D(4, 3), BatchNorm(), *END])
    before = {key: array.copy() for key, array in model.weights.items()}
    layers = list(model.layers)
    fold(model.layers, model.weights, model.input_shape)
    assert model.layers == layers
    assert all(np.array_equal(model.weights[key], array) for key, array in before.items())


def test_names():
    layers = named_layers([Dense(3), Dense(2, name="dense"), Flatten(), Dense(1)])
    assert [layer.name for layer in layers] == ["dense_1", "dense", "flatten", "dense_2"]
    with pytest.raises(ValueError, match="layers must have different names, got 'a' twice"):
        named_layers([Dense(3, name="a"), Flatten(name="a")])
