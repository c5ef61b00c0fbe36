"""Statistics of batch normalisations taken anew from the images to predict."""

import numpy as np
import pytest

import mnistc
from mnistc import (
    Augment,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    MaxPool2D,
    Sequential,
    batch_norm,
)

LAYERS = [
    BatchNorm(),
    Conv2D(6, 3, activation="relu"),
    BatchNorm(activation="relu"),
    MaxPool2D(2),
    DepthwiseConv2D(3),
    Dropout(0.3),
    BatchNorm(),
    Flatten(),
    BatchNorm(activation="tanh"),
    Dense(4, "softmax"),
]
SHAPE = (12, 10, 2)


def network():
    """With weights and statistics that are all different."""
    rng, made = np.random.default_rng(1), Sequential(LAYERS, SHAPE)
    for key, array in made.weights.items():
        low = 0.2 if key.endswith(("var", "gamma")) else -0.5
        made.weights[key] = rng.uniform(low, 0.9, array.shape)
    return made


def images(n=60):
    return np.random.default_rng(2).integers(0, 256, (n, *SHAPE)).astype(np.uint8)


def arrays(net):
    return {name: array.copy() for name, array in net.weights.items()}


def test_every_normalisation_gives_a_mean_of_0_and_a_variance_of_1():
    net, x = network(), images()
    before = arrays(net)
    mnistc.update_batch_norm(net, x)
    after = arrays(net)
    for index, layer in enumerate(net.layers):
        if not isinstance(layer, BatchNorm):
            continue
        plain = BatchNorm(epsilon=layer.epsilon, name=layer.name)
        part = Sequential([*net.layers[:index], plain], SHAPE)
        part.weights = {name: after[name] for name in part.weights}
        channels = part.output_shape[2]
        part.weights[f"{layer.name}.gamma"] = np.ones(channels)
        part.weights[f"{layer.name}.beta"] = np.zeros(channels)
        values = part.predict(x).reshape(-1, channels).astype(np.float64)
        variance = after[f"{layer.name}.running_var"]
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.var(0), variance / (variance + layer.epsilon), rtol=1e-4)
    for name in before:
        assert (before[name] == after[name]).all() == ("running" not in name)


def test_neither_threads_nor_pieces_nor_the_kind_of_images_matter(monkeypatch):
    made = []
    for pieces, threads, x in [
        (1 << 22, 1, images()),
        (1 << 22, 2, images().reshape(60, -1)),
        (3000, 2, images() / np.float32(255)),
    ]:
        monkeypatch.setattr(batch_norm, "_CHUNK_VALUES", pieces)
        net = network()
        mnistc.update_batch_norm(net, x, threads)
        made.append(arrays(net))
    for name, array in made[0].items():
        assert array.tobytes() == made[1][name].tobytes()
        np.testing.assert_allclose(array, made[2][name], rtol=2e-6)


def test_a_network_without_normalisation_stays_as_it_is():
    net = Sequential([Dense(4, "softmax")], SHAPE)
    before = arrays(net)
    mnistc.update_batch_norm(net, images())
    assert all((before[name] == array).all() for name, array in net.weights.items())


@pytest.mark.parametrize("bad", [images()[:0], images()[:, :5], np.full((3, *SHAPE), np.nan)])
def test_bad_images_change_nothing(bad):
    net = network()
    before = arrays(net)
    with pytest.raises(ValueError, match="x "):
        mnistc.update_batch_norm(net, bad)
    assert all((before[name] == array).all() for name, array in net.weights.items())


def test_floats_beyond_0_to_1_count_where_they_are_let_through():
    net, x = network(), np.random.default_rng(2).normal(3, 2, (40, *SHAPE)).astype(np.float32)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mnistc.update_batch_norm(net, x)
    mnistc.update_batch_norm(net, x, check_range=False)
    first = next(key for key in net.weights if key.endswith("running_mean"))
    np.testing.assert_allclose(net.weights[first], x.mean((0, 1, 2)), rtol=1e-5)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"network must be a Sequential, got 'cnn\.json'"):
        mnistc.update_batch_norm("cnn.json", images())


def test_it_undoes_what_augmentation_did_to_the_statistics():
    net, x = network(), images()
    y = np.arange(60) % 4
    net.fit(x, y, epochs=2, augment=Augment(shift=4, noise=0.5), verbose=0)
    brighter = arrays(net)["batch_norm.running_var"]
    mnistc.update_batch_norm(net, x)
    assert (net.weights["batch_norm.running_var"] < brighter).all()
    np.testing.assert_allclose(
        net.weights["batch_norm.running_mean"], (x / 255).mean((0, 1, 2)), rtol=1e-5
    )
