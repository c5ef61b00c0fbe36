"""The original project's JSON and CSV files, in and out."""

import json
import shutil

import numpy as np
import pytest
from mnist_files import mnist_test, needs_data, original
from sample_models import images, random_model, small_cnn, small_mlp

from mnistc import reference
from mnistc.formats import FormatError, export, load_any
from mnistc.formats.original import read_original_json
from mnistc.layers import BatchNorm, Dense, Dropout, Flatten

GOOD = {"biases0": [1, 2], "weights0": [1, 2, 3, 4, 5, 6], "biases1": [0.5], "weights1": [7, 8]}


def accuracy(model):
    x, y = mnist_test()
    return (reference.predict(model, x, np.float32).argmax(axis=1) == y).mean()


@needs_data
@pytest.mark.parametrize(("name", "wanted"), [("weights_as_json.json", 0.9819), ("", 0.9705)])
def test_published_weights_classify_mnist(name, wanted):
    """The published JSON and CSV hold different networks; 98.19 % is the JSON's."""
    model = load_any(original(name))
    assert [layer.units for layer in model.layers] == [100, 30, 10]
    assert model.input_shape == (28, 28, 1)
    assert accuracy(model) == wanted


@needs_data
def test_published_weights_round_trip_to_the_bit(tmp_path):
    for name in ("weights_as_json.json", ""):
        model = load_any(original(name))
        export(model, "original-json", tmp_path / "m.json")
        export(model, "csv", tmp_path / "csv")
        for path in (tmp_path / "m.json", tmp_path / "csv"):
            read = load_any(path)
            assert all(np.array_equal(read.weights[k], v) for k, v in model.weights.items())
    published = json.loads(original("weights_as_json.json").read_text())
    export(load_any(original("weights_as_json.json")), "original-json", tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == published


def test_weights_are_row_major_out_in(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(GOOD))
    model = read_original_json(tmp_path / "m.json")
    assert model.input_shape == (1, 1, 3)
    assert model.weights["dense.weight"].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert {layer.activation for layer in model.layers} == {"sigmoid"}


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_any_depth(tmp_path, depth):
    layers = [Dense(7 - i, "sigmoid") for i in range(depth)]
    model = random_model(layers, (1, 1, 9))
    export(model, "original-json", tmp_path / "m.json")
    export(model, "csv", tmp_path / "m")
    x = images(model)
    for path in ("m.json", "m", "m/weights0.csv"):
        assert np.array_equal(
            reference.predict(load_any(tmp_path / path), x), reference.predict(model, x)
        )


def test_what_only_training_needs_is_folded(tmp_path):
    layers = [
        Flatten(),
        Dense(6),
        BatchNorm(activation="sigmoid"),
        Dropout(0.5),
        Dense(3, "sigmoid"),
    ]
    model = random_model(layers, (4, 5, 1))
    export(model, "original-json", tmp_path / "m.json")
    x = images(model)
    read = reference.predict(load_any(tmp_path / "m.json"), x)
    np.testing.assert_allclose(read, reference.predict(model, x), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (small_cnn(), "Dense layers with sigmoid only, got conv2d with relu"),
        (random_model([Dense(10, "softmax")]), "sigmoid only, got dense with softmax"),
    ],
)
@pytest.mark.parametrize("name", ["original-json", "csv"])
def test_other_networks_are_refused(tmp_path, name, model, message):
    with pytest.raises(ValueError, match=message):
        export(model, name, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["original-json", "csv"])
def test_no_quantisation(tmp_path, name):
    with pytest.raises(
        ValueError, match=f"the format {name} is not quantised, got quantize='int8'"
    ):
        export(small_mlp(), name, tmp_path / "m", "int8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights1": None}, "do not pair up: weights1"),
        ({"biases0": None}, "do not pair up"),
        ({"biases7": [1]}, "do not pair up"),
        ({"colour": [1]}, "wanted only biases0, weights0, ...; got 'colour'"),
        ({"biases0": []}, "biases0 or weights0 is empty"),
        ({"biases0": 3}, "biases0: wanted a list of numbers, got 3"),
        ({"biases0": ["1", "2"]}, "biases0: wanted a number at 0, got '1'"),
        ({"biases0": [1, 1e60]}, "biases0: not a finite float32 number at 1"),
        ({"weights0": [1, 2, 3, 4, 5]}, "weights0: wanted 2 x 2 numbers, got 5"),
        ({"weights1": [7, 8, 9]}, "weights1: wanted 1 x 2 numbers, got 3"),
        ({"biases0": [1] * 9}, "weights0: wanted 9 x 0 numbers, got 6"),
    ],
)
def test_bad_json(tmp_path, changes, message):
    document = {k: v for k, v in (GOOD | changes).items() if v is not None}
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(FormatError) as caught:
        load_any(tmp_path / "m.json")
    assert str(caught.value).startswith("m.json: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\nx\n", "biases0.csv, line 3: wanted a number, got 'x'"),
        ("1\n\n2\n", "biases0.csv, line 2: wanted a number, got ''"),
        ("1,2\n", "biases0.csv, line 1: wanted a number, got '1,2'"),
        ("1\n1_0\n", "biases0.csv, line 2: wanted a number, got '1_0'"),
        ("1\nnan\n", "biases0.csv, line 2: wanted a number, got 'nan'"),
        ("1\n1e60\n", "biases0.csv: not a finite float32 number at 1"),
        ("", "biases0 or weights0 is empty"),
        ("1\n2\n3\n4\n5\n", "weights0: wanted 5 x 1 numbers, got 6"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    for key, values in GOOD.items():
        (tmp_path / f"{key}.csv").write_text("".join(f"{v}\r\n" for v in values))
    load_any(tmp_path)
    (tmp_path / "biases0.csv").write_text(text)
    with pytest.raises(FormatError) as caught:
        load_any(tmp_path)
    assert message in str(caught.value)


def test_too_many_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("mnistc.formats.original.MAX_VALUES", 3)
    (tmp_path / "weights0.csv").write_text("1\n" * 5)
    with pytest.raises(FormatError, match=r"weights0\.csv: more than 3 numbers"):
        load_any(tmp_path)


def test_directory_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights0\.csv in"):
        load_any(tmp_path)


def test_half_a_model(tmp_path):
    for key, values in GOOD.items():
        (tmp_path / f"{key}.csv").write_text("\n".join(map(str, values)))
    shutil.move(tmp_path / "biases1.csv", tmp_path / "elsewhere.csv")
    with pytest.raises(FormatError, match="do not pair up: weights1"):
        load_any(tmp_path)
