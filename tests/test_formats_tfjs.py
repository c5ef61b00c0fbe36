"""TensorFlow.js layers models: read, written, and loaded by the real library in Node."""

import json
import os
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mnist_files import mnist_test, needs_data, original
from sample_models import images, models, pooled_cnn, random_model, small_cnn, small_mlp

from mnistc import reference
from mnistc.formats import FormatError, ModelFile, export, load_any
from mnistc.formats.tfjs import read_tfjs
from mnistc.layers import (
    ACTIVATIONS,
    Activation,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
)

INTEROP = Path(__file__).with_name("interop")
SHARD = "group1-shard1of1.bin"


def written(model, folder, quantize=None):
    export(model, "tfjs", folder, quantize)
    return json.loads((folder / "model.json").read_text())


@needs_data
@pytest.mark.slow
def test_published_cnn_classifies_mnist():
    model = load_any(original("tfjs/model.json"))
    assert model.n_parameters == 34826
    assert [layer.type for layer in model.layers] == [
        "conv2d",
        "max_pool2d",
        "conv2d",
        "max_pool2d",
        "flatten",
        "dropout",
        "dense",
    ]
    x, y = mnist_test()
    assert (reference.predict(model, x, np.float32).argmax(axis=1) == y).mean() == 0.9929


@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_round_trip_is_to_the_bit(tmp_path, make):
    model = make().folded()
    written(model, tmp_path)
    read = load_any(tmp_path)
    x = images(model)
    assert np.array_equal(reference.predict(read, x), reference.predict(model, x))
    written(model, tmp_path / "half", "float16")
    half = reference.predict(load_any(tmp_path / "half"), x)
    np.testing.assert_allclose(half, reference.predict(model, x), atol=5e-3)


@given(model=models())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_network_round_trips(tmp_path, model):
    try:
        written(model, tmp_path)
    except ValueError as error:
        assert "after a layer that gives a vector" in str(error)
        return
    x = images(model)
    np.testing.assert_allclose(
        reference.predict(load_any(tmp_path), x), reference.predict(model, x), atol=1e-4, rtol=1e-4
    )


def test_int8_is_refused(tmp_path):
    with pytest.raises(ValueError, match="quantize must be None or 'float16' here, got 'int8'"):
        export(small_mlp(), "tfjs", tmp_path / "m", "int8")
    assert not (tmp_path / "m").exists()


def test_reader_by_its_own_name(tmp_path):
    export(small_mlp(), "tfjs", tmp_path)
    assert read_tfjs(tmp_path / "model.json").n_parameters == small_mlp().n_parameters
    with pytest.raises(FormatError, match="wanted a file, got a directory"):
        read_tfjs(tmp_path)


def test_path_may_be_the_json_itself(tmp_path):
    export(small_mlp(), "tfjs", tmp_path / "deep" / "net.json")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["net.bin", "net.json"]
    load_any(tmp_path / "deep" / "net.json")


TWO_NAMES = [("a", "b"), ("model", "a_b"), ("a b", "a_b"), ("zwölf", "zwolf")]


@pytest.mark.parametrize("names", TWO_NAMES)
def test_models_in_one_folder_keep_their_weights(tmp_path, names):
    made = [small_mlp(seed=1), small_mlp(seed=2)]
    for name, model in zip(names, made, strict=True):
        export(model, "tfjs", tmp_path / f"{name}.json")
    for name, model in zip(names, made, strict=True):
        read = load_any(tmp_path / f"{name}.json")
        assert all(np.array_equal(read.weights[key], model.weights[key]) for key in read.weights)


def node_modules():
    """Folder with @tensorflow/tfjs, or a skip that says how to get it."""
    folder = Path(os.environ.get("MNISTC_NODE_MODULES", INTEROP / "node_modules"))
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (folder / "@tensorflow" / "tfjs").is_dir():
        pytest.skip("no @tensorflow/tfjs: run npm ci in tests/interop")
    return folder


def predict_in_node(model, x, tmp_path):
    modules = node_modules()
    written(model, tmp_path)
    np.ascontiguousarray(x, "<f4").tofile(tmp_path / "images")
    command = [
        "node",
        INTEROP / "predict_tfjs.cjs",
        tmp_path,
        tmp_path / "images",
        tmp_path / "out",
    ]
    environment = {**os.environ, "NODE_PATH": str(modules)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.fromfile(tmp_path / "out", "<f4").reshape(len(x), -1)


@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_real_library_gives_the_same_outputs(tmp_path, make):
    model = make()
    x = images(model, 20)
    got = predict_in_node(model, x, tmp_path)
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-5)


def test_real_library_knows_every_layer(tmp_path):
    layers = [
        BatchNorm(activation="tanh"),
        Conv2D(3, (1, 3), "same", "softmax"),
        MaxPool2D(3, 2),
        Activation("sigmoid"),
        BatchNorm(epsilon=0.1),
        GlobalAveragePool2D(),
        Flatten(),
        Dense(4, "relu"),
        BatchNorm(activation="sigmoid"),
        Dense(3, "softmax"),
    ]
    model = random_model(layers, (8, 9, 2))
    x = images(model, 20)
    got = predict_in_node(model, x, tmp_path)
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-5)


def test_a_vector_is_not_flattened(tmp_path):
    """As the real library would refuse it."""
    model = random_model([Flatten(), Flatten(), Dense(3, "softmax"), Flatten()], (4, 5, 1))
    kinds = [layer["class_name"] for layer in layers_of(written(model, tmp_path))]
    assert kinds == ["InputLayer", "Flatten", "Dense"]
    x = images(model)
    assert np.array_equal(reference.predict(load_any(tmp_path), x), reference.predict(model, x))


@needs_data
@pytest.mark.slow
def test_real_library_on_mnist(tmp_path):
    model = load_any(original("tfjs/model.json"))
    x = mnist_test()[0][:1000, ..., None] / np.float32(255)
    got = predict_in_node(model, x, tmp_path)
    np.testing.assert_allclose(got, reference.predict(model, x, np.float32), atol=1e-5)


# What other writers say differently


def edit(folder, change):
    """Apply `change` to the document of the model in `folder`."""
    document = json.loads((folder / "model.json").read_text())
    result = change(document)
    (folder / "model.json").write_text(json.dumps(document if result is None else result))


def layers_of(document):
    return document["modelTopology"]["config"]["layers"]


def test_spelling_of_the_keras_converter(tmp_path):
    model = small_cnn().folded()
    written(model, tmp_path)

    def change(document):
        document["modelTopology"] = {"model_config": document["modelTopology"]}
        layers = document["modelTopology"]["model_config"]["config"]["layers"]
        layers[1]["config"]["batch_input_shape"] = layers[0]["config"]["batch_input_shape"]
        del layers[0]
        for weight in document["weightsManifest"][0]["weights"]:
            weight["name"] = f"sequential/{weight['name']}:0"

    edit(tmp_path, change)
    x = images(model)
    read = reference.predict(load_any(tmp_path), x)
    assert np.array_equal(read, reference.predict(model, x))


def test_several_shards_and_groups(tmp_path):
    model = small_mlp()
    document = written(model, tmp_path)
    data = (tmp_path / SHARD).read_bytes()
    (tmp_path / "sub").mkdir()
    weights = document["weightsManifest"][0]["weights"]
    cut = sum(int(np.prod(w["shape"])) for w in weights[:2]) * 4
    (tmp_path / "a").write_bytes(data[:13])
    (tmp_path / "b").write_bytes(data[13:cut])
    (tmp_path / "sub" / "c").write_bytes(data[cut:])
    manifest = [
        {"paths": ["a", "b"], "weights": weights[:2]},
        {"paths": ["sub/c"], "weights": weights[2:]},
    ]
    edit(tmp_path, lambda document: document.update(weightsManifest=manifest))
    read = load_any(tmp_path)
    assert all(np.array_equal(read.weights[k], v) for k, v in model.weights.items())


def test_layers_without_bias_and_gamma(tmp_path):
    model = random_model(
        [Conv2D(2, 3), MaxPool2D(), BatchNorm(activation="relu"), Flatten(), Dense(3)]
    )
    model.weights["conv2d.bias"][:] = 0
    model.weights["batch_norm.gamma"][:] = 1
    model.weights["batch_norm.beta"][:] = 0
    written(model, tmp_path)
    gone = ("conv2d/bias", "batch_norm/gamma", "batch_norm/beta")

    def change(document):
        group = document["weightsManifest"][0]
        parts, data, offset = [], (tmp_path / SHARD).read_bytes(), 0
        for weight in group["weights"]:
            size = 4 * int(np.prod(weight["shape"]))
            if weight["name"] not in gone:
                parts.append(data[offset : offset + size])
            offset += size
        (tmp_path / SHARD).write_bytes(b"".join(parts))
        group["weights"] = [w for w in group["weights"] if w["name"] not in gone]

    edit(tmp_path, change)
    x = images(model)
    assert np.array_equal(
        reference.predict(load_any(tmp_path), x), reference.predict(model.folded(), x)
    )


def test_quantised_by_the_converter(tmp_path):
    """uint8 with scale and min: value = integer * scale + min."""
    model = random_model([Dense(3)], (1, 1, 4))
    written(model, tmp_path)

    def change(document):
        for weight in document["weightsManifest"][0]["weights"]:
            weight["quantization"] = {"dtype": "uint8", "scale": 0.5, "min": -1}

    edit(tmp_path, change)
    (tmp_path / SHARD).write_bytes(bytes(range(15)))
    read = load_any(tmp_path)
    assert read.weights["dense.weight"].ravel().tolist() == [i / 2 - 1 for i in range(12)]


def test_relu_and_softmax_layers(tmp_path):
    model = random_model([Dense(4), Activation("relu"), Dense(3), Activation("softmax")], (1, 1, 5))
    written(model, tmp_path)

    def change(document):
        layers = layers_of(document)
        layers[3] = {"class_name": "ReLU", "config": {"name": "r", "max_value": None}}
        layers[5] = {"class_name": "Softmax", "config": {"name": "s", "axis": -1}}

    edit(tmp_path, change)
    assert [layer.activation_name for layer in load_any(tmp_path).layers[1:]] == [
        "linear",
        "relu",
        "linear",
        "softmax",
    ]


@pytest.mark.parametrize("shape", [[None, 28, 28], [None, 784]])
def test_inputs_without_channels(tmp_path, shape):
    model = random_model([Dense(3)])
    written(model, tmp_path)

    def change(document):
        layers_of(document)[0]["config"]["batch_input_shape"] = shape
        if len(shape) == 2:
            del layers_of(document)[1]  # no Flatten

    edit(tmp_path, change)
    assert load_any(tmp_path).input_shape == (28, 28, 1)


# Damage


def config(index, **changes):
    return lambda document: layers_of(document)[index]["config"].update(changes)


def weight(index, **changes):
    def change(document):
        document["weightsManifest"][0]["weights"][index].update(changes)

    return change


def replaced(**changes):
    return lambda document: document.update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(format="graph-model"), "format: wanted 'layers-model', got 'graph-model'"),
        (replaced(modelTopology=3), "modelTopology: wanted dict, got 3"),
        (replaced(modelTopology={"class_name": "Model"}), "wanted a Sequential model, got 'Model'"),
        (replaced(modelTopology={"class_name": "Sequential"}), "wanted an object with 'layers'"),
        (replaced(weightsManifest={}), "weightsManifest: wanted a list"),
        (replaced(weightsManifest=[]), "'conv2d/kernel' is missing"),
        (replaced(weightsManifest=[3]), "wanted an object with 'weights', got 3"),
        (lambda d: layers_of(d).clear(), "layers: wanted 1 to 256, got 0"),
        (lambda d: layers_of(d).extend(layers_of(d) * 60), "layers: wanted 1 to 256"),
        (lambda d: layers_of(d)[1].update(class_name="LSTM"), "(LSTM 'conv2d'): not supported"),
        (lambda d: layers_of(d).insert(1, 7), "wanted an object with 'class_name', got 7"),
        (config(0, batch_input_shape=[None, None, None, 1]), "batch_input_shape: wanted"),
        (config(0, batch_input_shape=[None, 10**9, 10**9, 1]), "input shape must be between"),
        (config(1, filters="many"), "filters: wanted int, got 'many'"),
        (config(1, filters=10**9), "filters must be between"),
        (config(1, filters=5), "'conv2d/kernel': wanted (3, 3, 2, 5), got (3, 3, 2, 4)"),
        (config(1, kernel_size=[3, 3, 3]), "kernel_size: wanted two integers"),
        (config(1, kernel_size=[4, 4]), "kernel_size must be odd"),
        (config(1, strides=[2, 2]), "strides: wanted 1, got [2, 2]"),
        (config(1, dilation_rate=[2, 2]), "dilation_rate: wanted 1, got [2, 2]"),
        (config(1, groups=2), "'conv2d/kernel': wanted (3, 3, 1, 4), got (3, 3, 2, 4)"),
        (config(1, groups="2"), "groups must be an integer, got '2'"),
        (config(1, groups=3), "filters must be a multiple of groups, got 4 and 3"),
        (config(1, data_format="channels_first"), "data_format: wanted 'channels_last'"),
        (config(1, activation="gelu"), "activation must be one of"),
        (config(1, activation={"x": 1}), "activation must be one of"),
        (config(1, padding=["same"]), "padding must be one of"),
        (config(1, name=3), "name: wanted str, got 3"),
        (config(2, padding="same"), "padding: wanted 'valid', got 'same'"),
        (config(2, pool_size=[2, 3]), "wanted a square pool"),
        (config(3, axis=1), "axis: wanted -1, got 1"),
        (config(3, epsilon="x"), "epsilon must be a number"),
        (config(4, groups=2), "groups: wanted 1, got 2"),
        (config(4, depth_multiplier=2), "depth_multiplier: wanted 1, got 2"),
        (weight(0, dtype="int32"), "dtype must be float32, got 'int32'"),
        (weight(0, shape=[10**9, 10**9]), "is no shape of weights"),
        (weight(0, shape=[2**20, 2**20]), "more than 33554432 values"),
        (weight(0, shape=[3, 3, 2, -4]), "is no shape of weights"),
        (weight(0, shape=[3, 3, 2, 5]), "weight shards: wanted"),
        (weight(0, name="spare/kernel"), "'conv2d/kernel' is missing"),
        (weight(0, name="conv2d/bias"), "'conv2d/bias' is given twice"),
        (weight(0, name="x/conv2d/bias"), "two weights of the same layer and name"),
        (weight(0, quantization={"dtype": "int4"}), "quantization 'int4' is not known"),
        (weight(0, quantization={"dtype": "uint8"}), "scale: wanted a number, got None"),
        (
            lambda d: d["weightsManifest"][0]["weights"].append(
                {"name": "a/b", "shape": [0], "dtype": "float32"}
            ),
            "is no shape of weights",
        ),
    ],
)
def test_bad_model(tmp_path, change, message):
    written(small_cnn(), tmp_path)
    edit(tmp_path, lambda document: change(document) and None)
    with pytest.raises(FormatError) as caught:
        load_any(tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith("model.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "a/../../secret",
        "/etc/hostname",
        "..\\secret",
        "C:\\secret",
        "http://localhost/x",
        "file:///etc/hostname",
        "",
        "a//b",
        "nul\0l",
        3,
        None,
    ],
)
def test_shard_outside_the_directory(tmp_path, path):
    folder = tmp_path / "model"
    written(small_mlp(), folder)
    shutil.copy(folder / SHARD, tmp_path / "secret")

    def change(document):
        document["weightsManifest"][0]["paths"] = [path]

    edit(folder, change)
    with pytest.raises(FormatError, match=r"weightsManifest: .* (is no relative path|leads out)"):
        load_any(folder)


def test_shard_behind_a_link(tmp_path):
    folder = tmp_path / "model"
    written(small_mlp(), folder)
    shutil.move(folder / SHARD, tmp_path / "secret")
    (folder / SHARD).symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="leads out of the model's directory"):
        load_any(folder)


def test_missing_short_and_long_shards(tmp_path):
    written(small_mlp(), tmp_path)
    data = (tmp_path / SHARD).read_bytes()
    (tmp_path / SHARD).write_bytes(data[:-1])
    with pytest.raises(FormatError, match="weight shards: wanted 780 bytes, got 779"):
        load_any(tmp_path)
    (tmp_path / SHARD).write_bytes(data + b"x")
    with pytest.raises(FormatError, match="more than 780 bytes"):
        load_any(tmp_path)
    (tmp_path / SHARD).write_bytes(data[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(FormatError, match="'dense_1/bias': not a finite float32 number at 2"):
        load_any(tmp_path)
    (tmp_path / SHARD).unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_any(tmp_path)


def test_more_weights_than_is_read(tmp_path):
    written(small_mlp(), tmp_path)
    big = {"name": "a/b", "shape": [2**25], "dtype": "float32"}
    edit(tmp_path, replaced(weightsManifest=[{"paths": [SHARD] * 9, "weights": [big] * 2}]))
    with pytest.raises(FormatError, match="more weights or shards than is read"):
        load_any(tmp_path)


def test_dense_on_an_image_is_not_ours(tmp_path):
    """Keras' Dense works on the last axis; taking it for ours would be silently wrong."""
    written(random_model([Dense(3)], (4, 5, 1)), tmp_path)
    edit(tmp_path, lambda document: layers_of(document).pop(1) and None)
    with pytest.raises(FormatError, match="Dense on an image of 4x5: wanted Flatten before"):
        load_any(tmp_path)


def every_place(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from every_place(child, (*path, key))


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_edits(tmp_path, data):
    if not (tmp_path / "good.json").exists():
        written(small_cnn(), tmp_path)
        shutil.copy(tmp_path / "model.json", tmp_path / "good.json")
    document = deepcopy(json.loads((tmp_path / "good.json").read_text()))
    path = data.draw(st.sampled_from([p for p in every_place(document) if p]))
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    junk = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
    parent[path[-1]] = data.draw(junk)
    (tmp_path / "model.json").write_text(json.dumps(document))
    try:
        assert isinstance(load_any(tmp_path), ModelFile)
    except (FormatError, FileNotFoundError) as error:
        assert "\n" not in str(error)


def test_activations_have_the_same_names(tmp_path):
    for name in ACTIVATIONS:
        written(random_model([Dense(3, name)], (1, 1, 4)), tmp_path / name)
        assert load_any(tmp_path / name).layers[-1].activation == name


@pytest.mark.parametrize("layers", [[Conv2D(3, 5), Dense(4, "softmax")], [Conv2D(4, 5)]])
def test_one_pixel_becomes_a_vector(tmp_path, layers):
    """Keras' Dense works on the last axis of an image, and a result is a vector."""
    document = written(random_model(layers, (5, 5, 2)), tmp_path)
    kinds = [layer["class_name"] for layer in layers_of(document)]
    assert kinds.index("Flatten") == 2


def test_groups_that_are_too_large_without_them(tmp_path):
    layers = [Conv2D(8192, 1), Conv2D(8192, 1, groups=1024), GlobalAveragePool2D(), Dense(2)]
    with pytest.raises(ValueError, match="a kernel without its 1024 is too large"):
        written(random_model(layers, (1, 1, 1)), tmp_path)
    assert not any(tmp_path.iterdir())
