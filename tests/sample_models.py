"""Small networks with random weights, for the tests of file formats."""

import numpy as np
from hypothesis import strategies as st

from mnistc.formats import ModelFile
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
    array_shapes,
    named_layers,
)


def random_model(layers, input_shape=(28, 28, 1), seed=0, **metadata):
    """A model with normal weights and running statistics that look trained."""
    rng = np.random.default_rng(seed)
    layers = named_layers(layers)
    weights = {}
    for key, shape in array_shapes(layers, input_shape).items():
        if key.endswith(".running_var"):
            values = rng.uniform(0.3, 3, shape)
        else:
            values = rng.normal(size=shape) * (2 / max(1, np.prod(shape[:-1]))) ** 0.5
        weights[key] = values.astype(np.float32)
    return ModelFile(layers, weights, input_shape, **metadata)


def small_mlp(**metadata):
    return random_model([Dense(8, "sigmoid"), Dense(3, "sigmoid")], (4, 5, 1), **metadata)


def small_cnn(**metadata):
    """Every layer type, with a batch norm that can be folded and one that cannot."""
    layers = [
        Conv2D(4, 3, "valid"),
        BatchNorm(activation="relu"),
        MaxPool2D(2),
        BatchNorm(),
        DepthwiseConv2D(3, "same", "tanh"),
        Conv2D(6, 1, activation="relu", groups=2),
        Activation("tanh"),
        Flatten(),
        Dropout(0.5),
        Dense(10, "softmax"),
    ]
    return random_model(layers, (12, 10, 2), **metadata)


def pooled_cnn(**metadata):
    layers = [Conv2D(6, 5, "same", "relu"), MaxPool2D(3, 2), GlobalAveragePool2D(), Dense(4)]
    return random_model(layers, (9, 11, 1), **metadata)


def images(model, n=4, seed=1):
    """Images (n, h, w, c) float32 in 0..1 that fit `model`."""
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(n, *model.input_shape)).astype(np.float32)


@st.composite
def models(draw, activations=ACTIVATIONS):
    """Any network that the layers allow, up to some five layers deep."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 3)))
    inputs, layers = shape, []
    activation = st.sampled_from(activations)
    padding = st.sampled_from(("valid", "same"))
    kernel = st.sampled_from((1, 3, 5, (1, 3), (3, 1)))
    for _ in range(draw(st.integers(0, 4))):
        options = {
            "conv": st.builds(Conv2D, st.integers(1, 5), kernel, padding, activation),
            "groups": st.builds(
                lambda half, *rest: Conv2D(2 * half, *rest, groups=2),
                st.integers(1, 3),
                kernel,
                padding,
                activation,
            ),
            "depthwise": st.builds(DepthwiseConv2D, kernel, padding, activation),
            "pool": st.builds(MaxPool2D, st.integers(1, 3), st.integers(1, 3)),
            "average": st.just(GlobalAveragePool2D()),
            "norm": st.builds(
                BatchNorm, activation=st.sampled_from(("linear", "relu", "sigmoid", "tanh"))
            ),
            "dropout": st.just(Dropout(0.25)),
            "flatten": st.just(Flatten()),
            "activation": st.builds(Activation, activation),
            "dense": st.builds(Dense, st.integers(1, 6), activation),
        }
        layer = draw(st.sampled_from(sorted(options)).flatmap(options.__getitem__))
        try:
            shape = layer.output_shape(shape)
        except ValueError:
            continue
        layers.append(layer)
    layers.append(draw(st.builds(Dense, st.integers(1, 10), activation)))
    return random_model(layers, inputs, seed=draw(st.integers(0, 1000)))
