"""Model files from strangers: each kind of damage is refused in one line that names the place."""

import contextlib
import json
import math
import os
import threading
import tracemalloc
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models import random_model, small_cnn, small_mlp

from mnistc import reference
from mnistc.formats import FormatError, ModelFile, load_any, read_model, untrusted
from mnistc.formats.files import read_capped
from mnistc.formats.reader import parse_model
from mnistc.formats.writer import format_model
from mnistc.layers import Dense

MLP = json.loads(format_model(small_mlp()))
MLP_I8 = json.loads(format_model(small_mlp(), "int8", "decimal"))
CNN = json.loads(format_model(small_cnn()))


def refused(document):
    """The message with which `document` (an object, text or bytes) is refused."""
    data = document if isinstance(document, (str, bytes)) else json.dumps(document)
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            parse_model(data, "m.json")
        assert tracemalloc.get_traced_memory()[1] < 20e6 + 100 * len(data)
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith("m.json: ")
    assert "\n" not in message
    assert len(message) < 300
    assert message.isascii()
    return message


def edited(document, *path, **changes):
    """Copy of `document` with the object at `path` changed; None removes a key."""
    document = deepcopy(document)
    place = document
    for step in path:
        place = place[step]
    for key, value in changes.items():
        if value is None:
            del place[key]
        else:
            place[key] = value
    return document


def test_the_samples_are_good():
    for document in (MLP, MLP_I8, CNN):
        parse_model(json.dumps(document).encode())


# The text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON at line 1, column 1"),
        (b"\x80\x81", "not UTF-8 at byte 0"),
        (b"{", "not JSON at line 1, column 2"),
        (b'{"format": NaN}', "NaN is not a JSON number"),
        (b'{"format": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"format": "a", "format": "b"}', "the key 'format' is given twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 5000, "integer"),
        (b"[" + b"0," * (1 << 22) + b"0]", "more than 4194304 values"),
        (b"[]", "not a model file"),
        (b"null", "not a model file"),
        (b'{"format": "other"}', "not a model file: wanted format 'mnistc-model'"),
    ],
)
def test_text(text, message):
    assert message in refused(text)


def test_truncated_at_every_place():
    text = json.dumps(MLP)
    for length in [*range(0, len(text), 97), len(text) - 1]:
        refused(text[:length])


def test_byte_order_mark_is_no_error():
    parse_model(b"\xef\xbb\xbf" + json.dumps(MLP).encode())


def test_oversized_file(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    path.write_bytes(b" " * 1001)
    monkeypatch.setattr("mnistc.formats.files.read_capped.__defaults__", (1000,))
    with pytest.raises(FormatError, match=r"m.json: more than 1000 bytes, the most that is read"):
        read_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_endless_file(tmp_path):
    """A pipe has no size; reading stops at the limit."""
    os.mkfifo(tmp_path / "pipe")
    good = json.dumps(MLP).encode()
    for data, limit in ((good, 1 << 20), (b" " * 300_000, 200_000)):
        writer = threading.Thread(target=write_to_pipe, args=(tmp_path / "pipe", data))
        writer.start()
        try:
            got = read_capped(tmp_path / "pipe", limit)
        except FormatError as error:
            got = str(error)
        writer.join()
        assert got == (
            good if data is good else "pipe: more than 200000 bytes, the most that is read"
        )


def write_to_pipe(path, data):
    with contextlib.suppress(BrokenPipeError):
        path.write_bytes(data)


def test_directory_and_missing_file(tmp_path):
    with pytest.raises(FormatError, match="wanted a file, got a directory"):
        read_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_model(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="no file and no shipped model 'no-such-model'"):
        load_any("no-such-model")


# Format, version, metadata


@pytest.mark.parametrize("version", ["2.0", "0.9", "99999.0"])
def test_other_major_version(version):
    message = refused(edited(MLP, version=version))
    assert f"version {version} is not known here; wanted 1.x" in message


@pytest.mark.parametrize("version", [1, "1", "1.0.0", "one", "1.0\n", ["1.0"], "9" * 10_000])
def test_version_that_is_none(version):
    assert "version must be like '1.0'" in refused(edited(MLP, version=version))


@pytest.mark.parametrize("key", ["labels", "input", "layers", "tensors", "version"])
def test_missing_key(key):
    message = refused(edited(MLP, **{key: None}))
    assert key in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "'surprise' was unexpected"),
        ({"labels": ["a"]}, "labels: wanted 3, one per output; got 1"),
        ({"labels": [1, 2, 3]}, "labels[0]: 1 is not of type 'string'"),
        ({"labels": ["a", "b", "\x1b[2J"]}, "labels[2]"),
        ({"labels": ["a", "b", "\ud800"]}, "half a surrogate pair"),
        ({"name": "n" * 100_000}, "a string of 100000 characters, at most 65536"),
        ({"name": "n" * 2000}, "name: "),
        ({"license": 3}, "license: 3 is not of type 'string'"),
        ({"input": {"shape": [4, 5]}}, "input.shape"),
        ({"input": {"shape": [4, 5, 0]}}, "input.shape[2]: 0 is less than the minimum of 1"),
        ({"input": {"shape": [4, -5, 1]}}, "input.shape[1]: -5 is less than"),
        ({"input": {"shape": [4, 5.5, 1]}}, "input.shape[1]: 5.5 is not of type 'integer'"),
        ({"input": {"shape": [4, 5, 1], "range": [0, 255]}}, "input.range"),
        ({"input": {"shape": [4, 5, 1], "polarity": "paper-is-one"}}, "input.polarity"),
        ({"preprocessing": {"id": "strokes-v1", "pen_width": 0}}, "preprocessing.pen_width"),
        ({"preprocessing": {"pen_width": 2}}, "preprocessing: 'id' is a required property"),
        ({"metrics": [1]}, "metrics: [1] is not of type 'object'"),
        ({"training": {"loss": 1e999}}, "not JSON|Infinity is not a JSON number"),
        ({"extra": {"big": 10**30}}, "an integer beyond 2^53"),
        ({"extra": {"list": [0] * 200_000}}, "more than 100000 values of metadata"),
    ],
)
def test_metadata(changes, message):
    got = refused(edited(MLP, **changes))
    assert any(part in got for part in message.split("|"))


def test_number_beyond_a_double():
    text = json.dumps(edited(MLP, extra={"x": 0.5})).replace("0.5", "1e999")
    assert "beyond the range of a double" in refused(text)


def test_deep_metadata():
    deep = {}
    for _ in range(40):
        deep = {"a": deep}
    assert "nested more than 32 deep" in refused(edited(MLP, extra=deep))


# Layers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "transformer"}, "layers[0].type: 'transformer' is not one of"),
        ({"type": None}, "layers[0]: 'type' is a required property"),
        ({"type": "dropout"}, "layers[0].type: 'dropout' is not one of"),
        ({"units": None}, "layers[0]: 'units' is a required property"),
        ({"units": 10**12}, "layers[0].units: 1000000000000 is greater than the maximum"),
        ({"units": 10**9}, "layers[0]: units must be between 1 and 16777216"),
        ({"units": -1}, "layers[0].units: -1 is less than"),
        ({"units": True}, "layers[0].units: True is not of type 'integer'"),
        ({"units": 9}, "tensors.dense.weight: wanted shape [20, 9], got [20, 8]"),
        ({"activation": "swish"}, "layers[0].activation: 'swish' is not one of"),
        ({"name": "__proto__"}, "layers[0].name"),
        ({"name": "a.b"}, "layers[0].name"),
        ({"name": "dense_1"}, "layers must have different names, got 'dense_1' twice"),
        ({"weight": "missing"}, "tensors.missing: missing; layer 'dense' needs it"),
        ({"weight": "dense_1.weight"}, "tensors.dense_1.weight: wanted shape"),
        ({"weight": "dense.bias"}, "tensors.dense.bias: wanted shape [20, 8], got [8]"),
        ({"dilation": 2}, "'dilation' was unexpected"),
    ],
)
def test_dense_layer(changes, message):
    assert message in refused(edited(MLP, "layers", 0, **changes))


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"kernel_size": [2, 2]}, "layers[0].kernel_size[0]"),
        (0, {"kernel_size": [3]}, "layers[0].kernel_size"),
        (0, {"kernel_size": [33, 33]}, "layers[0].kernel_size[0]: 33 is greater than"),
        (0, {"kernel_size": [13, 13]}, "layers[0] (conv2d): Conv2D: a 13x13 kernel"),
        (0, {"padding": "reflect"}, "layers[0].padding: 'reflect' is not one of"),
        (0, {"filters": 10**9}, "layers[0]: filters must be between 1 and 65536"),
        (0, {"filters": 9998}, "tensors.conv2d.weight: wanted shape [3, 3, 2, 9998]"),
        (1, {"pool_size": 11}, "layers[1] (max_pool2d): MaxPool2D: a window of 11 does not fit"),
        (1, {"pool_size": 0}, "layers[1].pool_size: 0 is less than"),
        (1, {"strides": 10**6}, "layers[1].strides: 1000000 is greater than"),
        (2, {"epsilon": 0}, "layers[2].epsilon"),
        (2, {"activation": "softmax"}, "layers[2].activation"),
        (5, {"units": 3}, "layers[5]"),
    ],
)
def test_other_layers(index, changes, message):
    assert message in refused(edited(CNN, "layers", index, **changes))


def test_too_many_layers():
    document = edited(MLP, layers=MLP["layers"] * 200)
    assert "layers: at most 256, got 400" in refused(document)


def test_no_layers():
    assert "layers: [] should be non-empty" in refused(edited(MLP, layers=[]))


def test_last_layer_that_is_no_vector():
    document = edited(CNN, layers=CNN["layers"][:1])
    message = "layers: the last must give a vector of classes, got 10x8x4"
    assert message in refused(document)


# Tensors


def test_declared_size_beyond_any_memory():
    """10^9 x 10^9 values, declared by layer and tensor alike, cost nothing."""
    huge = {"shape": [10**9, 10**9], "dtype": "f32", "encoding": "base64", "data": ""}
    document = edited(MLP, "tensors", **{"dense.weight": huge})
    message = "tensors.dense.weight: wanted shape [20, 8], got [1000000000, 1000000000]"
    assert message in refused(document)
    document["layers"][0]["units"] = 1 << 24
    document["input"]["shape"] = [2000, 2000, 1]
    message = "layers[0] (dense): weight: 4000000x16777216 is more than 33554432 values"
    assert message in refused(document)


def test_declared_images_beyond_any_memory():
    document = edited(MLP, input={"shape": [10**9, 10**9, 1]})
    assert "input shape must be between 1 and 4194304, got 1000000000" in refused(document)
    document = edited(MLP, input={"shape": [2**20, 2**20, 1]})
    assert "input shape: 1048576x1048576x1 is more than" in refused(document)
    document = edited(CNN, input={"shape": [2000, 2000, 1]})
    document["layers"][0].update(filters=4096)
    assert "layers[0] (conv2d): output: 1998x1998x4096 is more than" in refused(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [8, 20]}, "tensors.dense.weight: wanted shape [20, 8], got [8, 20]"),
        ({"shape": [160]}, "wanted shape [20, 8], got [160]"),
        ({"shape": []}, "tensors.dense.weight.shape"),
        ({"shape": [20, 8, 0]}, "tensors.dense.weight.shape[2]"),
        ({"shape": [1] * 9}, "tensors.dense.weight.shape"),
        ({"shape": "20x8"}, "tensors.dense.weight.shape: '20x8' is not of type 'array'"),
        ({"dtype": "f64"}, "tensors.dense.weight.dtype: 'f64' is not one of"),
        ({"dtype": "f16"}, "wanted 320 bytes (428 characters of base64), got 856 characters"),
        ({"encoding": "hex"}, "tensors.dense.weight.encoding: 'hex' is not one of"),
        ({"encoding": "decimal"}, "tensors.dense.weight.data"),
        ({"data": None}, "tensors.dense.weight: 'data' is a required property"),
        ({"data": 3}, "tensors.dense.weight.data"),
        ({"data": [1, 2]}, "tensors.dense.weight.data: [] is not of type 'string'"),
        ({"data": ""}, "got 0 characters"),
        ({"data": "A" * 855}, "got 855 characters"),
        ({"data": "!" * 856}, "tensors.dense.weight: bad base64"),
        ({"data": "é" * 856}, "tensors.dense.weight: bad base64: not ASCII"),
        ({"data": "AAA=" * 214}, "tensors.dense.weight: bad base64"),
        ({"data": "AAAA" * 214}, "wanted 640 bytes, got 642"),
        ({"data": "//" * 427 + "8="}, "tensors.dense.weight: "),
        ({"scale": [1] * 8, "axis": 1}, "scale and axis belong to dtype i8, not f32"),
        ({"surprise": 1}, "'surprise' was unexpected"),
    ],
)
def test_tensor(changes, message):
    assert message in refused(edited(MLP, "tensors", "dense.weight", **changes))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensor_that_is_not_finite(value):
    import base64

    array = np.zeros(8, "<f4")
    array[3] = value
    data = base64.b64encode(array.tobytes()).decode()
    document = edited(MLP, "tensors", "dense.bias", data=data)
    assert "tensors.dense.bias: not a finite float32 number at 3" in refused(document)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([0] * 7, "wanted 8 numbers, got 7"),
        ([0] * 7 + ["0"], "wanted a number at 7, got '0'"),
        ([0] * 7 + [True], "wanted a number at 7, got True"),
        ([0] * 7 + [None], "wanted a number at 7, got None"),
        ([0] * 7 + [[0]], "wanted a number at 7, got [0]"),
        ([0] * 7 + [1e39], "not a finite float32 number at 7"),
        ([0] * 7 + [10**400], "an integer too large for float32"),
    ],
)
def test_decimal_tensor(data, message):
    entry = {"shape": [8], "dtype": "f32", "encoding": "decimal", "data": data}
    document = edited(MLP, "tensors", **{"dense.bias": entry})
    assert f"tensors.dense.bias: {message}" in refused(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": None}, "'scale' is a dependency of 'axis'"),
        ({"axis": None}, "'axis' is a dependency of 'scale'"),
        ({"scale": None, "axis": None}, "axis must be the last, 1; got None"),
        ({"axis": 0}, "axis must be the last, 1; got 0"),
        ({"scale": [1] * 7}, "scale: wanted 8 numbers, got 7"),
        ({"scale": [1] * 7 + [0]}, "scale: wanted positive numbers"),
        ({"scale": [1] * 7 + [-1]}, "scale: wanted positive numbers"),
        ({"scale": [1] * 7 + [1e60]}, "scale: not a finite float32 number at 7"),
        ({"scale": [3e38] * 8}, "not a finite float32 number"),
        ({"data": [0] * 159 + [129]}, "wanted integers from -128 to 127"),
        ({"data": [0] * 159 + [128]}, "wanted integers from -128 to 127"),
        ({"data": [0] * 159 + [0.5]}, "wanted integers from -128 to 127"),
    ],
)
def test_quantized_tensor(changes, message):
    assert message in refused(edited(MLP_I8, "tensors", "dense.weight", **changes))


def test_missing_and_extra_tensors():
    message = refused(edited(MLP, "tensors", **{"dense.bias": None}))
    assert "tensors.dense.bias: missing; layer 'dense' needs it" in message
    extra = MLP["tensors"]["dense.bias"]
    message = refused(edited(MLP, "tensors", spare=extra))
    assert "tensors.spare: no layer uses it" in message
    message = refused(edited(MLP, "tensors", **{f"t{i}": extra for i in range(2000)}))
    assert "tensors: at most 1024" in message


def test_tensor_used_twice():
    layers = [Dense(5, "relu"), Dense(5)]
    document = json.loads(format_model(random_model(layers, (1, 1, 5))))
    message = refused(edited(document, "layers", 1, weight="dense.weight"))
    assert "tensors.dense.weight: used by two layers" in message


def test_negative_variance():
    from base64 import b64encode

    data = b64encode(np.array([1, 1, -1, 1], "<f4").tobytes()).decode()
    document = edited(CNN, "tensors", "batch_norm_1.running_var", data=data)
    assert "batch_norm_1.running_var must not be negative" in refused(document)


# Test vectors


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ({"probabilities": [0, 0, 1]}, "'atol' is a required property"),
        ({"probabilities": [0, 0, 1], "atol": 1e-4}, "test_vectors[0]"),
        ({"input": [0] * 20, "probabilities": [1], "atol": 1}, "wanted 3 numbers, got 1"),
        ({"input": [0] * 20, "probabilities": [0, 0, 1], "atol": 0}, "test_vectors[0].atol"),
        ({"input": [0] * 21, "probabilities": [0, 0, 1], "atol": 1}, "wanted 20 numbers, got 21"),
        ({"input": [2] * 20, "probabilities": [0, 0, 1], "atol": 1}, "wanted numbers from 0 to 1"),
        ({"input": "ink", "probabilities": [0, 0, 1], "atol": 1}, "test_vectors[0].input"),
        ({"strokes": [1], "probabilities": [0, 0, 1], "atol": 1}, "wanted a list of points"),
        ({"strokes": [[1]], "probabilities": [0, 0, 1], "atol": 1}, "strokes[0][0]: wanted a list"),
        ({"strokes": [[[1]]], "probabilities": [0, 0, 1], "atol": 1}, "wanted 2 numbers, got 1"),
        (
            {"strokes": [[[0, 0]] * 10_001], "probabilities": [0, 0, 1], "atol": 1},
            "more than 10000 points",
        ),
        (
            {"strokes": [[[0, 0]]], "probabilities": [0, 0, 1], "atol": 1},
            "strokes give an image of 28x28x1",
        ),
    ],
)
def test_vector(vector, message):
    assert message in refused(edited(MLP, test_vectors=[vector]))


def test_too_many_vectors():
    vectors = MLP["test_vectors"] * 101
    assert "test_vectors: at most 100, got 101" in refused(edited(MLP, test_vectors=vectors))


# Random damage

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.sampled_from([10**9, 2**31, 2**63, -1, 0, 1e308, 1e-320, 10**400]),
    st.text(max_size=8),
    st.lists(st.integers(-3, 10**10), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


def places(value, path=()):
    """Every path inside a JSON value."""
    yield path
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else list(enumerate(value))[:12]
        for key, child in items:
            yield from places(child, (*path, key))


@st.composite
def mutated(draw):
    """A valid document with one to three places changed, removed or doubled."""
    document = deepcopy(draw(st.sampled_from((MLP, MLP_I8, CNN))))
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in places(document) if path]
        path = draw(st.sampled_from(paths))
        parent = document
        for step in path[:-1]:
            parent = parent[step]
        action = draw(st.sampled_from(("replace", "remove", "copy", "cut")))
        if action == "remove":
            del parent[path[-1]]
        elif action == "replace":
            parent[path[-1]] = draw(JUNK)
        elif action == "cut" and isinstance(parent[path[-1]], (str, list)):
            parent[path[-1]] = parent[path[-1]][: draw(st.integers(0, 9))]
        else:
            value = document
            for step in draw(st.sampled_from(paths)):
                value = value[step]
            parent[path[-1]] = deepcopy(value)
        if not isinstance(document, dict) or not document:
            break
    return document


def survives(data):
    """A FormatError or a model that works, and never much memory."""
    tracemalloc.start()
    try:
        model = parse_model(data, "m.json")
    except FormatError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
    else:
        assert isinstance(model, ModelFile)
        x = np.zeros((1, *model.input_shape), np.float32)
        if math.prod(model.input_shape) < 10_000:
            assert reference.predict(model, x).shape == (1, len(model.labels))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100e6


@given(mutated())
@settings(max_examples=150, deadline=None)
def test_random_edits_of_the_document(document):
    survives(json.dumps(document).encode("utf-8", "surrogatepass"))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_random_edits_of_the_text(data):
    text = bytearray(json.dumps(data.draw(st.sampled_from((MLP_I8, CNN)))).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(text) - 1))
        width = data.draw(st.integers(0, 20))
        text[start : start + width] = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from((b"9" * 40, b"[[[[", b'"', b"1e9")))
        )
    survives(bytes(text))


def test_messages_are_cut_to_size():
    assert untrusted.short("x" * 10_000).endswith("...")
    assert untrusted.short(10**5000) == "a huge integer"
    assert untrusted.short([0] * 100) == "a list of 100 values"
    assert untrusted.short("\n\x1b\u2028") == r"'\n\x1b\u2028'"


def test_doubled_key_among_many_is_found_at_once(monkeypatch):
    keys = ",".join(f'"a{i}":0' for i in range(60_000))
    assert "the key 'a59999' is given twice" in refused(f'{{{keys},"a59999":0}}'.encode())
