"""Several networks as one: what it answers, how large it is, and what cannot be joined."""

import numpy as np
import pytest

import mnistc
from mnistc import (
    Activation,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Sequential,
)

EVERYTHING = [
    Conv2D(6, 3, activation="relu"),
    MaxPool2D(2),
    Conv2D(10, (3, 5), "same"),
    BatchNorm(activation="relu"),
    DepthwiseConv2D(3, activation="tanh"),
    Conv2D(8, 3, "same", groups=2),
    Activation("sigmoid"),
    MaxPool2D(3, 2),
    Flatten(),
    BatchNorm(),
    Dropout(0.2),
    Dense(4, "softmax"),
]
AVERAGED = [Conv2D(5, 3, activation="relu"), GlobalAveragePool2D(), Dense(4, "softmax")]
PLAIN = [Conv2D(5, 3, activation="relu"), Dense(4, "softmax")]
SHAPE = (14, 15, 2)


def networks(layers, count):
    """Networks whose every array is different."""
    rng = np.random.default_rng(3)
    made = [Sequential(layers, SHAPE, seed) for seed in range(count)]
    for network in made:
        for key, array in network.weights.items():
            low = 0.2 if key.endswith("var") else -0.5
            network.weights[key] = rng.uniform(low, 0.5, array.shape)
    return made


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("layers", [EVERYTHING, AVERAGED, PLAIN], ids=["all", "averaged", "plain"])
def test_the_answer_is_the_geometric_mean(layers, count):
    single = networks(layers, count)
    x = np.random.default_rng(0).uniform(size=(9, *SHAPE)).astype(np.float32)
    wanted = np.exp(np.mean([np.log(network.predict(x)) for network in single], 0))
    wanted /= wanted.sum(1, keepdims=True)
    together = mnistc.ensemble(single)
    np.testing.assert_allclose(together.predict(x), wanted, atol=2e-6)
    assert together.n_parameters == sum(n.n_parameters for n in single) - 4 * (count - 1)


def test_it_is_a_network_like_any_other(tmp_path):
    single = networks(EVERYTHING, 3)
    single[0].metadata.update(name="three", labels=list("abcd"))
    together = mnistc.ensemble(iter(single))
    x = np.random.default_rng(0).uniform(size=(8, *SHAPE)).astype(np.float32)
    before = together.predict(x)
    path = tmp_path / "three.json"
    together.save(path)
    again = mnistc.load(path)
    assert again.metadata["name"] == "three"
    np.testing.assert_allclose(again.predict(x), before, atol=2e-6)
    single[0].weights["dense.bias"] = np.ones(4)
    assert (together.predict(x) == before).all()
    together.fit(x, np.arange(8) % 4, epochs=1, verbose=0)
    assert not (together.predict(x) == before).all()


def test_what_cannot_be_joined():
    with pytest.raises(ValueError, match="at least one network"):
        mnistc.ensemble([])
    other = Sequential([Conv2D(4, 3, activation="relu"), Dense(4, "softmax")], SHAPE)
    plain = Sequential(PLAIN, SHAPE)
    with pytest.raises(ValueError, match=r"networks\[1\] has other layers"):
        mnistc.ensemble([plain, other])
    with pytest.raises(ValueError, match=r"networks\[1\] has other layers"):
        mnistc.ensemble([plain, Sequential(PLAIN, (14, 15, 1))])
    for wrong in (plain, ["a.json", "b.json"], [plain, None]):
        with pytest.raises(TypeError, match="networks must be a list of Sequential, got"):
            mnistc.ensemble(wrong)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Dense(3), Dense(4)], r"first layer must be a Conv2D without groups, got Dense\(units=3"),
        ([Conv2D(4, 3, groups=2), Dense(4)], "first layer must be a Conv2D without groups"),
        ([Conv2D(4, 3), Dense(3), Dense(4)], "only the last layer may be dense"),
        ([Conv2D(4, 3, activation="softmax"), Dense(4)], "dense or a softmax, got Conv2D"),
        ([Conv2D(4, 3), GlobalAveragePool2D()], "last layer must be Dense, got GlobalAverage"),
        ([Conv2D(4, 3), Flatten(), Conv2D(4, 1), Dense(4)], "no convolution may follow Flatten"),
    ],
)
def test_layers_that_cannot_be_joined(layers, message):
    with pytest.raises(ValueError, match=message):
        mnistc.ensemble([Sequential(layers, SHAPE, seed) for seed in range(2)])
