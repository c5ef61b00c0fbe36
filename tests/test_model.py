"""`Sequential` without training: construction, weights, prediction, what it refuses."""

import copy
import pickle

import numpy as np
import pytest
from small_data import bars

import mnistc
from mnistc import Conv2D, Dense, Dropout, Flatten, Sequential
from mnistc.losses import loss_values


def network(**options):
    layers = [Dense(12, "relu"), Dense(10, "softmax")]
    return Sequential(layers, input_shape=(10, 10, 1), **options)


def test_names_shapes_and_counts():
    net = network()
    assert list(net.weights) == ["dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias"]
    assert net.weights["dense.weight"].shape == (100, 12)
    assert net.output_shape == (1, 1, 10)
    assert net.classes == 10
    assert net.n_parameters == 1200 + 12 + 120 + 10
    assert "1,342 parameters" in repr(net)


def test_summary(capsys):
    summary = network().summary()
    printed = capsys.readouterr().out
    assert printed.strip() == str(summary)
    assert summary.parameters == 1342
    assert summary.multiply_adds == 1200 + 120
    assert [row.output_shape for row in summary.layers] == [(1, 1, 12), (1, 1, 10)]
    assert "1,342" in printed
    network().summary(print_fn=None)
    assert capsys.readouterr().out == ""


def test_the_same_seed_gives_the_same_weights():
    assert np.array_equal(network(seed=3).core.parameters, network(seed=3).core.parameters)
    assert not np.array_equal(network(seed=3).core.parameters, network(seed=4).core.parameters)


def test_weights_are_views_and_can_be_set():
    net = network()
    bias = net.weights["dense.bias"]
    net.weights["dense.bias"] = np.arange(12)
    assert bias.tolist() == list(range(12))
    bias[0] = 7
    assert net.weights["dense.bias"][0] == 7
    other = network(seed=9)
    other.weights = net.weights
    x, _ = bars(5)
    assert np.array_equal(other.predict(x), net.predict(x))
    assert "dense.bias (12,)" in repr(net.weights)


def test_what_is_written_into_a_view_counts():
    x, _ = bars(5)
    net = network()
    first = net.predict(x)
    bias = net.weights["dense_1.bias"]
    net.predict(x)
    bias[3] = 50.0  # held over a prediction
    assert (net.predict(x).argmax(axis=1) == 3).all()
    part = bias[4:5]
    del bias
    net.predict(x)
    part[:] = 90.0
    assert (net.predict(x).argmax(axis=1) == 4).all()
    del part
    net.weights["dense_1.bias"] = np.zeros(10)
    assert np.array_equal(net.predict(x), first)


def test_weights_refuse_what_does_not_fit():
    net = network()
    before = net.core.parameters.copy()
    with pytest.raises(ValueError, match=r"'dense.bias' must have shape \(12,\), got \(3,\)"):
        net.weights["dense.bias"] = np.zeros(3)
    with pytest.raises(ValueError, match="finite"):
        net.weights["dense.bias"] = np.full(12, np.nan)
    for wrong in (["a"] * 12, [10**400] * 12, [[1], [1, 2]]):
        with pytest.raises(ValueError, match=r"weights 'dense\.bias' must be numbers"):
            net.weights["dense.bias"] = wrong
    with pytest.raises(KeyError, match=r"no weights 'dense\.gamma'"):
        net.weights["dense.gamma"] = np.zeros(12)
    with pytest.raises(TypeError):
        del net.weights["dense.bias"]
    with pytest.raises(ValueError, match=r"lack dense\.bias"):
        net.weights = {"dense.weight": np.zeros((100, 12))}
    with pytest.raises(ValueError, match="no place for more"):
        net.weights = {**net.weights, "more": np.zeros(1)}
    bad = {name: np.ones_like(view) for name, view in net.weights.items()}
    bad["dense_1.bias"] = np.ones(11)
    with pytest.raises(ValueError, match=r"dense_1\.bias"):
        net.weights = bad
    assert np.array_equal(net.core.parameters, before)  # all or nothing


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([], ValueError, "at least one layer"),
        (Dense(3), TypeError, "layers must be a list of layers, got Dense"),
        (None, TypeError, "layers must be a list of layers, got None"),
        ([Dense(3), "dense"], TypeError, "must be layers"),
        ([Dense(3, name="a"), Dense(3, name="a")], ValueError, "'a' twice"),
        ([Dense(3, name="fc.1")], ValueError, "name must be a letter and .* got 'fc.1'"),
        ([Dense(3, name="a b")], ValueError, "name must be a letter"),
        ([Dense(3, name="x" * 65)], ValueError, "name must be a letter"),
        ([mnistc.Conv2D(4, 11)], ValueError, "does not fit"),
    ],
)
def test_layers_that_make_no_network(layers, error, message):
    with pytest.raises(error, match=message):
        Sequential(layers, input_shape=(10, 10, 1))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [(5, (1, 1, 5)), ((5,), (1, 1, 5)), ((4, 5), (4, 5, 1)), ([4, 5, 3], (4, 5, 3))],
)
def test_input_shapes(shape, wanted):
    assert Sequential([Dense(2)], input_shape=shape).input_shape == wanted


@pytest.mark.parametrize("shape", ["28", (1, 2, 3, 4), (), (2.5, 3), None])
def test_input_shapes_that_are_none(shape):
    with pytest.raises(TypeError, match="input_shape"):
        Sequential([Dense(2)], input_shape=shape)


def test_negative_and_absurd_sizes():
    with pytest.raises(ValueError, match="input_shape"):
        Sequential([Dense(2)], input_shape=(-1, 5, 1))
    with pytest.raises(ValueError, match="seed"):
        network(seed=-1)
    with pytest.raises((ValueError, MemoryError)):
        Sequential([Dense(1 << 24)], input_shape=(1 << 24,))


def test_every_kind_of_image_gives_the_same():
    x, _ = bars(7)
    net = network()
    wanted = net.predict(x)
    assert wanted.shape == (7, 10)
    assert wanted.dtype == np.float32
    assert np.allclose(wanted.sum(axis=1), 1, atol=1e-5)
    spaced = np.zeros((7, 10, 20), dtype=np.uint8)
    spaced[:, :, ::2] = x
    frozen = x.copy()
    frozen.setflags(write=False)
    for same in (x[..., None], x.reshape(7, 100), spaced[:, :, ::2], frozen, np.asfortranarray(x)):
        assert np.array_equal(net.predict(same), wanted)
    for dtype in (np.float32, np.float64):
        assert np.allclose(net.predict(x.astype(dtype) / 255), wanted, atol=1e-5)
    assert np.allclose(net.predict((x / 255).tolist()), wanted, atol=1e-5)
    assert np.allclose(net.predict(x[2:3]), wanted[2:3], atol=1e-5)
    floats = (x > 99).astype(np.float32)  # swapped bytes of 0 and 1 are small numbers, too
    wanted = net.predict(floats)
    assert np.array_equal(net.predict(floats.astype(">f4")), wanted)
    odd = np.zeros(floats.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(floats.shape)
    odd[:] = floats
    assert not odd.flags.aligned
    assert np.array_equal(net.predict(odd), wanted)


@pytest.mark.parametrize("threads", [-1, 257, 1 << 40])
def test_numbers_of_threads_that_are_refused(threads):
    x, y = bars(7)
    net = network()
    with pytest.raises(ValueError, match="n_threads must be between 0 and 256"):
        net.predict(x, threads)
    with pytest.raises(ValueError, match="n_threads must be between 0 and 256"):
        net.evaluate(x, y, n_threads=threads)
    with pytest.raises(TypeError, match="n_threads"):
        net.predict(x, "2")


def test_many_images_in_parts(monkeypatch):
    x, y = bars(50)
    net = network()
    wanted = net.predict(x)
    monkeypatch.setattr("mnistc.model._CHUNK", 8)
    assert np.allclose(net.predict(x), wanted, atol=1e-6)
    assert net.evaluate(x, y)["accuracy"] == np.mean(wanted.argmax(axis=1) == y)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((3, 9, 10), np.uint8), ValueError, r"shape \(n, 10, 10\), .*got \(3, 9, 10\)"),
        (np.zeros((10, 10), np.uint8), ValueError, r"write x\[None\]"),
        (np.zeros((0, 10, 10), np.uint8), ValueError, "at least one image"),
        (np.uint8(3), ValueError, "must have shape"),
        (np.zeros((2, 10, 10), np.int64), TypeError, "got int64: for pixels of 0 to 255 write"),
        (np.zeros((2, 10, 10), bool), TypeError, "got bool"),
        (np.zeros((2, 10, 10), complex), TypeError, "got complex"),
        (np.full((2, 10, 10), "a"), TypeError, "must be uint8"),
        (np.full((2, 10, 10), None), TypeError, "got object"),
        ([[1, 2], [3]], ValueError, "must be an array"),
        (np.full((2, 10, 10), 255.0), ValueError, "got 255 to 255: divide by 255"),
        (np.full((2, 10, 10), 1.5, np.float32), ValueError, "between 0 and 1"),
        (np.full((2, 10, 10), -0.5), ValueError, "between 0 and 1"),
        (np.full((2, 10, 10), np.nan), ValueError, "NaN or infinite"),
        (np.full((2, 10, 10), np.inf, np.float32), ValueError, "NaN or infinite"),
        (np.full((2, 10, 10), -np.inf), ValueError, "NaN or infinite"),
    ],
)
def test_images_that_are_refused(x, error, message):
    net = network()
    with pytest.raises(error, match=message) as caught:
        net.predict(x)
    assert "\n" not in str(caught.value)
    with pytest.raises(error, match=message):
        net.fit(x, [0, 1], verbose=0)


def test_one_bad_pixel_among_good_ones():
    x, _ = bars(3)
    for value in (np.nan, 1.5, -1.0, np.inf):
        for place in ((0, 0, 0), (1, 4, 3), (2, 9, 9)):
            bad = x.astype(np.float32) / 255
            bad[place] = value
            with pytest.raises(ValueError, match="x "):
                network().predict(bad)


@pytest.mark.parametrize("layers", [[Dense(3)], [Conv2D(2, 3), Flatten(), Dense(3)]], ids=str)
def test_one_bad_pixel_among_thousands_of_images(layers):
    x = np.zeros((9000, 10, 10), np.float32)
    x[:, 4] = 0.5
    net = Sequential(layers, (10, 10, 1), seed=0)
    wanted = net.predict(x)
    assert np.array_equal(net.predict(x, check_range=False), wanted)
    for place in (0, 8999):
        x[place, 9, 9] = -0.0
        assert np.allclose(net.predict(x), wanted, atol=1e-6)
        x[place, 9, 9] = 1.5
        with pytest.raises(ValueError, match="between 0 and 1"):
            net.predict(x)
        assert net.predict(x, check_range=False).shape == wanted.shape
        x[place, 9, 9] = np.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            net.predict(x, check_range=False)
        x[place, 9, 9] = 0.0


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1], ValueError, "one target for each of the 3 images, got 2"),
        ([0, 1, 10], ValueError, "classes of 0 to 9, got 10"),
        ([0, -1, 2], ValueError, "classes of 0 to 9, got -1"),
        ([0.0, 1.0, 2.0], TypeError, "integer classes"),
        (["a", "b", "c"], TypeError, "integer classes"),
        (np.zeros((3, 9)), ValueError, r"shape \(n,\) or \(n, 10\)"),
        (np.zeros((3, 10)), ValueError, "sum of 1"),
        (np.full((3, 10), np.nan), ValueError, "NaN"),
        (np.full((3, 10), 2.0), ValueError, "between 0 and 1"),
        ([[1], [2, 3], [4]], ValueError, "y must be an array"),
    ],
)
def test_labels_that_are_refused(y, error, message):
    x, _ = bars(3)
    for method in (network().evaluate, network().fit):
        with pytest.raises(error, match=message):
            method(x, y)


def test_one_hot_and_column_labels_are_as_good():
    x, y = bars(30)
    net = network()
    wanted = net.evaluate(x, y)
    assert net.evaluate(x, np.eye(10)[y]) == pytest.approx(wanted)
    assert net.evaluate(x, np.eye(10, dtype=int)[y]) == pytest.approx(wanted)
    assert net.evaluate(x, y[:, None]) == wanted
    assert net.evaluate(x, y.tolist()) == wanted


def test_evaluate_weighs():
    x, y = bars(30)
    net = network()
    weight = np.zeros(30)
    weight[:10] = 2
    wanted = net.evaluate(x[:10], y[:10])
    assert net.evaluate(x, y, sample_weight=weight) == pytest.approx(wanted)


def test_losses_agree_with_their_definitions():
    random = np.random.default_rng(0)
    logits = random.normal(size=(20, 5)).astype(np.float32)
    y = random.integers(0, 5, 20).astype(np.int32)
    rows = np.eye(5, dtype=np.float32)[y]
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = -np.log(softmax[np.arange(20), y])
    for outputs, activation in ((softmax, "softmax"), (logits, "linear")):
        for targets in (y, rows):
            values = loss_values("softmax_cross_entropy", outputs, targets, activation)
            assert np.allclose(values, wanted, atol=1e-5)
    sigmoid = 1 / (1 + np.exp(-logits))
    wanted = -(rows * np.log(sigmoid) + (1 - rows) * np.log(1 - sigmoid)).sum(axis=1)
    for outputs, activation in ((sigmoid, "sigmoid"), (logits, "linear")):
        values = loss_values("sigmoid_cross_entropy", outputs, y, activation)
        assert np.allclose(values, wanted, atol=1e-5)
    certain = np.array([[1.0, 0.0]], np.float32)
    for loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        assert np.isfinite(loss_values(loss, certain, np.array([1]), "softmax")).all()


def test_the_loss_must_fit_the_last_layer():
    net = network()
    assert net.loss == "softmax_cross_entropy"
    assert Sequential([Dense(3, "sigmoid")], 4).loss == "sigmoid_cross_entropy"
    assert Sequential([Dense(3)], 4).loss == "softmax_cross_entropy"
    assert Sequential([Dense(3, "tanh")], 4).loss == "mean_squared_error"
    x, y = bars(4)
    with pytest.raises(ValueError, match="needs a last layer with activation 'sigmoid'"):
        net.fit(x, y, loss="sigmoid_cross_entropy")
    with pytest.raises(ValueError, match="loss must be one of"):
        net.fit(x, y, loss="hinge")


def test_copies_are_independent():
    x, _ = bars(4)
    net = network()
    wanted = net.predict(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(other.predict(x), wanted)
        other.weights["dense.bias"][:] = 5
        assert np.array_equal(net.predict(x), wanted)


class Digits(Sequential):
    """What a subclass adds goes along."""

    def __init__(self, units):
        super().__init__([Dense(units), Dense(10)], (10, 10, 1))
        self.units = units


@pytest.mark.parametrize(
    "same", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_copies_of_a_subclass(same):
    net = Digits(7)
    net.loss, net.state = "mean_squared_error", "idle"
    other = same(net)
    assert type(other) is Digits
    assert (other.units, other.loss, other.state) == (7, "mean_squared_error", "idle")
    assert other.core is not net.core
    assert np.array_equal(other.core.parameters, net.core.parameters)
    other.fit(*bars(), verbose=0)


def test_save_and_load(tmp_path):
    x, _ = bars(20)
    net = Sequential([Dense(12, "relu"), Dropout(0.5), Dense(10, "softmax")], (10, 10, 1), seed=5)
    net.save(tmp_path / "net.json", name="bars", labels=[f"row {i}" for i in range(10)])
    other = mnistc.load(tmp_path / "net.json")
    assert np.array_equal(other.predict(x), net.predict(x))
    assert other.metadata["name"] == "bars"
    assert other.metadata["labels"][3] == "row 3"
    other.save(tmp_path / "again.json")  # what was known of a model is not lost
    assert mnistc.load(tmp_path / "again.json").metadata["name"] == "bars"
    for quantize, bound in (("float16", 2e-3), ("int8", 3e-2)):
        net.save(tmp_path / "small.json", quantize=quantize)
        small = mnistc.load(tmp_path / "small.json")
        assert np.abs(small.predict(x) - net.predict(x)).max() < bound


def test_save_refuses(tmp_path):
    net = network()
    with pytest.raises(ValueError, match="quantize"):
        net.save(tmp_path / "net.json", quantize="int4")
    with pytest.raises(OSError, match=r"net\.json"):
        net.save(tmp_path / "nowhere" / "net.json")
    net.save(tmp_path / "net.json")
    before = (tmp_path / "net.json").read_bytes()
    net.weights["dense.bias"][0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        net.save(tmp_path / "net.json")
    assert (tmp_path / "net.json").read_bytes() == before
    with pytest.raises(FileNotFoundError):
        mnistc.load(tmp_path / "other.json")


def test_lazy_submodules_and_unknown_names():
    assert mnistc.metrics.confusion_matrix([0], [0], 1).tolist() == [[1]]
    assert "recipes" in dir(mnistc)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mnistc.nothing
