"""npz, safetensors and ONNX; detection by content; missing extras."""

import io
import json
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_models import images, models, pooled_cnn, random_model, small_cnn, small_mlp

from mnistc import formats, reference
from mnistc.errors import MissingExtraError
from mnistc.formats import FORMATS, FormatError, export, load_any, shipped_names, write_model
from mnistc.layers import Conv2D, Dense, Flatten, GlobalAveragePool2D, MaxPool2D

FIXTURE = [HealthCheck.function_scoped_fixture]


@pytest.mark.parametrize("name", ["npz", "safetensors"])
@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_round_trip_is_to_the_bit(tmp_path, name, make):
    if name == "safetensors":
        pytest.importorskip("safetensors")
    model = make(license="MIT", extra={"a": 1}).folded()
    path = tmp_path / "file-without-a-telling-name"
    export(model, name, path)
    read = load_any(path)
    assert read.layers == model.layers
    assert (read.license, read.extra, read.labels) == ("MIT", {"a": 1}, model.labels)
    assert all(np.array_equal(read.weights[k], v) for k, v in model.weights.items())
    export(model, name, path, "float16")
    x = images(model)
    half = reference.predict(load_any(path), x)
    np.testing.assert_allclose(half, reference.predict(model, x), atol=5e-3)
    with pytest.raises(ValueError, match="quantize must be None or 'float16' here, got 'int8'"):
        export(model, name, path, "int8")


def test_npz_is_plain(tmp_path):
    model = small_mlp()
    export(model, "npz", tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        assert sorted(archive.files) == sorted([*model.weights, "mnistc"])
        assert np.array_equal(archive["dense.weight"], model.weights["dense.weight"])


def test_safetensors_is_plain(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    model = small_mlp()
    export(model, "safetensors", tmp_path / "m.safetensors")
    arrays = safetensors.load_file(tmp_path / "m.safetensors")
    assert np.array_equal(arrays["dense.weight"], model.weights["dense.weight"])


# ONNX


def in_onnxruntime(model, x, path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    export(model, "onnx", path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (image,), (output,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type) == ("image", "tensor(float)")
    assert image.shape == ["n", *model.input_shape]
    assert output.shape == ["n", len(model.labels)]
    return session.run(None, {"image": x.astype(np.float32)})[0]


@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_onnx_gives_the_same_outputs(tmp_path, make):
    model = make()
    x = images(model, 20)
    got = in_onnxruntime(model, x, tmp_path / "m.onnx")
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-5)


@given(model=models())
@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE)
def test_onnx_of_any_network(tmp_path, model):
    x = images(model, 3)
    got = in_onnxruntime(model, x, tmp_path / "m.onnx")
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-4, rtol=1e-4)


def test_onnx_of_a_convolution_after_a_vector(tmp_path):
    layers = [Flatten(), Conv2D(5, 1, activation="relu"), GlobalAveragePool2D(), Conv2D(3, 1)]
    model = random_model(layers, (3, 2, 1))
    x = images(model, 3)
    got = in_onnxruntime(model, x, tmp_path / "m.onnx")
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-5)


def test_onnx_is_not_quantised(tmp_path):
    with pytest.raises(ValueError, match="the format onnx is not quantised"):
        export(small_mlp(), "onnx", tmp_path / "m.onnx", "int8")


# Detection and names


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="format must be one of json, original-json, csv, npz"):
        export(small_mlp(), "pickle", tmp_path / "m")
    assert set(FORMATS) == {
        "json",
        "original-json",
        "csv",
        "npz",
        "safetensors",
        "onnx",
        "tfjs",
    }


def test_json_by_export(tmp_path):
    export(small_mlp(), "json", tmp_path / "m", "int8")
    assert json.loads((tmp_path / "m").read_text())["tensors"]["dense.weight"]["dtype"] == "i8"
    load_any(tmp_path / "m")


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "{}", '{"a": 1}', "", "hello", "\x00\x01"])
def test_neither_of_all(tmp_path, text):
    (tmp_path / "m").write_text(text)
    with pytest.raises(FormatError, match=r"^m: "):
        load_any(tmp_path / "m")


def test_shipped_names(tmp_path, monkeypatch):
    for name in shipped_names():
        assert load_any(name).input_shape == (28, 28, 1)
    write_model(tmp_path / "tiny.json", small_mlp(name="tiny"))
    monkeypatch.setattr(formats, "_shipped_paths", lambda: {"tiny": tmp_path / "tiny.json"})
    assert load_any("tiny").name == "tiny"
    with pytest.raises(FileNotFoundError, match="no shipped model 'large'; shipped are: tiny"):
        load_any("large")
    monkeypatch.chdir(tmp_path)
    write_model("tiny", small_mlp(name="a file goes before a name"))
    assert load_any("tiny").name == "a file goes before a name"


def test_weights_folder(monkeypatch, tmp_path):
    """In the package where it is installed, beside it in a source tree, or nowhere."""
    monkeypatch.setattr(formats, "__file__", str(tmp_path / "mnistc" / "formats" / "__init__.py"))
    assert shipped_names() == []
    (tmp_path / "weights").mkdir()
    write_model(tmp_path / "weights" / "beside.json", small_mlp())
    assert shipped_names() == ["beside"]
    (tmp_path / "mnistc" / "weights").mkdir(parents=True)
    write_model(tmp_path / "mnistc" / "weights" / "inside.json", small_mlp())
    assert shipped_names() == ["inside"]


@pytest.mark.parametrize("name", ["safetensors", "onnx"])
def test_missing_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.numpy", None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'mnistc\[{name}\]'"):
        export(small_mlp(), name, tmp_path / "m")
    if name == "safetensors":
        (tmp_path / "m").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        with pytest.raises(MissingExtraError):
            load_any(tmp_path / "m")


# Damage


def npy(array, header=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0))
    data = buffer.getvalue()
    if header is None:
        return data
    body = data[10 + int.from_bytes(data[8:10], "little") :]
    text = (header + " " * (-(len(header) + 11) % 64) + "\n").encode()
    return data[:8] + len(text).to_bytes(2, "little") + text + body


def rezipped(tmp_path, **members):
    """The npz of a small network with members replaced, added or (None) removed."""
    export(small_mlp(), "npz", tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents |= {f"{key.replace('__', '.')}.npy": data for key, data in members.items()}
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            if data is not None:
                archive.writestr(name, data)
    return tmp_path / "m.npz"


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }"
NEGATIVE = "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -4), }"
FORTRAN = "{'descr': '<f4', 'fortran_order': True, 'shape': (8,), }"
EVIL = "__import__('os').abort()"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"mnistc": None}, "no array 'mnistc', so not written by this package"),
        ({"mnistc": npy(np.zeros(3, np.float32))}, "no array 'mnistc'"),
        ({"mnistc": npy(np.frombuffer(b"{}", np.uint8))}, "not a model file"),
        ({"dense__bias": None}, "weights: dense.bias is missing"),
        ({"spare": npy(np.zeros(3, np.float32))}, "no layer has 'spare'"),
        (
            {"dense__bias": npy(np.zeros(7, np.float32))},
            "dense.bias must have shape (8,), got (7,)",
        ),
        ({"dense__bias": npy(np.full(8, np.nan, np.float32))}, "dense.bias: not a finite"),
        ({"dense__bias": npy(np.zeros(8))}, "wanted float32, got <f8"),
        ({"dense__bias": npy(np.zeros(8, np.uint8))}, "'dense.bias': wanted float32, got uint8"),
        ({"dense__bias": npy(np.array([None] * 8))}, "wanted float32, got |O"),
        ({"dense__bias": npy(np.zeros(8, np.float32), HUGE)}, "does not fit 32 bytes"),
        ({"dense__bias": npy(np.zeros(8, np.float32), NEGATIVE)}, "does not fit 32 bytes"),
        ({"dense__bias": npy(np.zeros(8, np.float32), FORTRAN)}, "wanted float32"),
        ({"dense__bias": npy(np.zeros(8, np.float32), EVIL)}, "not a readable .npz"),
        ({"dense__bias": b"no npy at all"}, "not a readable .npz"),
        ({"dense__bias": b""}, "not a readable .npz"),
        ({"dense__bias": npy(np.zeros(8, np.float32))[:-4]}, "does not fit 28 bytes"),
        ({"bomb": b"\0" * (1 << 28)}, "unpacks to more than"),
        ({f"a{i}": b"" for i in range(2000)}, "more than 1024 arrays"),
    ],
)
def test_bad_npz(tmp_path, members, message):
    path = rezipped(tmp_path, **members)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            load_any(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert message in str(caught.value)
    assert str(caught.value).startswith("m.npz: ")
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=FIXTURE)
def test_random_damage_to_binary_files(tmp_path, data):
    name = data.draw(st.sampled_from(("npz", "safetensors")))
    if name == "safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / name
    if not path.exists():
        export(small_mlp(), name, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content) - 1))
        width = data.draw(st.integers(0, 4))
        content[start : start + width] = data.draw(st.binary(max_size=6))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        load_any(damaged)
    except FormatError as error:
        assert "\n" not in str(error)


def test_safetensors_of_others(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"a": np.zeros(3, np.float32)}, tmp_path / "m")
    with pytest.raises(FormatError, match="no metadata 'mnistc', so not written by this package"):
        load_any(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        load_any(Path(tmp_path) / "none.safetensors")


@pytest.mark.parametrize("name", ["npz", "safetensors"])
def test_what_is_written_can_be_read(tmp_path, name):
    if name == "safetensors":
        pytest.importorskip("safetensors")
    model = small_mlp()
    export(model, name, tmp_path / "half", "float16")
    half = load_any(tmp_path / "half")
    formats.verify(half, lambda x: reference.predict(half, x))  # vectors of the rounded weights
    model.metrics = {"accuracy": np.float32(0.5)}
    export(model, name, tmp_path / "numpy")
    assert load_any(tmp_path / "numpy").metrics == {"accuracy": 0.5}
    model.name = "two\nlines"
    with pytest.raises(ValueError):
        export(model, name, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_damaged_compression_is_named(tmp_path):
    content = bytearray(rezipped(tmp_path).read_bytes())
    content[60:80] = bytes(byte ^ 255 for byte in content[60:80])
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(FormatError, match="not a readable"):
        load_any(tmp_path / "m.npz")


@pytest.mark.parametrize("name", ["probabilities", "image", "output"])
def test_onnx_of_layers_with_the_names_of_its_values(tmp_path, name):
    layers = [MaxPool2D(2, name=name), Flatten(), Dense(3, "softmax")]
    model = random_model(layers, (4, 4, 1))
    x = images(model, 3)
    got = in_onnxruntime(model, x, tmp_path / "m.onnx")
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-5)
