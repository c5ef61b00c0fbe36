"""The model file: what is written is read back, to the bit or within the documented bound."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models import images, models, pooled_cnn, random_model, small_cnn, small_mlp

from mnistc import reference
from mnistc.formats import FormatError, ModelFile, files, read_model, verify, write_model
from mnistc.formats.reader import parse_model
from mnistc.formats.untrusted import shortest
from mnistc.formats.writer import format_model
from mnistc.layers import Dense

SCHEMA = Path(files.__file__).with_name("model.schema.json")


def same_weights(a, b):
    return list(a) == list(b) and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("encoding", ["base64", "decimal"])
@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_float32_round_trip_is_to_the_bit(tmp_path, make, encoding):
    model = make().folded()
    write_model(tmp_path / "m.json", model, encoding=encoding)
    read = read_model(tmp_path / "m.json")
    assert same_weights(read.weights, model.weights)
    assert read.layers == model.layers
    x = images(model)
    assert np.array_equal(reference.predict(read, x), reference.predict(model, x))


def test_metadata_round_trip(tmp_path):
    model = small_mlp(
        name="täst",
        labels=["a", "b", "c"],
        license="MIT",
        training={"dataset": "mnist", "epochs": 3, "seed": np.int64(7), "list": np.arange(2)},
        metrics={"test_accuracy": np.float32(0.5)},
        extra={"nested": {"deep": [1, 2.5, None, True, "x"]}},
    )
    write_model(tmp_path / "m.json", model)
    read = read_model(tmp_path / "m.json")
    for key in ("name", "labels", "license", "extra", "input_shape", "preprocessing"):
        assert getattr(read, key) == getattr(model, key)
    assert read.training == {"dataset": "mnist", "epochs": 3, "seed": 7, "list": [0, 1]}
    assert read.metrics == {"test_accuracy": 0.5}
    assert read.generator.startswith("mnistc ")


def test_defaults_for_digits():
    model = random_model([Dense(10, "softmax")])
    assert model.labels == list("0123456789")
    assert model.preprocessing["id"] == "strokes-v1"
    assert model.layers[0].name == "dense"
    assert model.n_parameters == 7850


@given(models(), st.sampled_from((None, "float16", "int8")), st.sampled_from(("base64", "decimal")))
@settings(max_examples=60, deadline=None)
def test_any_network_round_trips_within_the_bound(model, quantize, encoding):
    data = format_model(model, quantize, encoding)
    read = parse_model(data)
    folded = model.folded()
    assert read.layers == folded.layers
    document = json.loads(data)
    for key, array in folded.weights.items():
        error = np.abs(read.weights[key].astype(np.float64) - array)
        if quantize is None or array.ndim < 2:
            assert np.array_equal(read.weights[key], array)
        elif quantize == "float16":
            assert (error <= np.maximum(np.abs(array) / 2048, 2.0**-25)).all()
        else:
            scale = np.array(document["tensors"][key]["scale"])
            largest = np.abs(array).reshape(-1, array.shape[-1]).max(axis=0)
            assert (scale <= 1.001001 * np.maximum(largest / 127, 1e-37)).all()
            assert (error <= scale * 0.500001).all()
    verify(read, lambda x: reference.predict(read, x, np.float32))


@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_written_files_satisfy_the_published_schema(make):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for quantize in (None, "float16", "int8"):
        for encoding in ("base64", "decimal"):
            jsonschema.validate(json.loads(format_model(make(), quantize, encoding)), schema)


def test_int8_is_small():
    model = random_model([Dense(100, "relu"), Dense(10, "softmax")])
    assert len(format_model(model, "int8")) < 0.35 * len(format_model(model))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
@settings(deadline=None)
def test_shortest_numbers_survive_double_rounding(values):
    array = np.array(values, np.float32)
    text = json.dumps(shortest(array))
    assert np.array_equal(np.array(json.loads(text), np.float64).astype(np.float32), array)


def test_shortest_numbers_are_short():
    array = np.array([0.1, 1e-5, 1 / 3, -2.5, 16777216], np.float32)
    assert json.dumps(shortest(array)) == "[0.1, 1e-05, 0.33333334, -2.5, 16777216.0]"


def test_test_vectors_follow_the_stored_weights():
    model = parse_model(format_model(small_cnn()))
    assert model.test_vectors and "input" in model.test_vectors[0]
    quantized = parse_model(format_model(model, "int8"))
    assert quantized.test_vectors[0]["input"] == model.test_vectors[0]["input"]
    outputs = [m.test_vectors[0]["probabilities"] for m in (model, quantized)]
    assert outputs[0] != outputs[1]
    assert verify(quantized, lambda x: reference.predict(quantized, x)) < 1e-6


def test_digits_get_strokes_as_test_vectors():
    pytest.importorskip("mnistc._strokes")
    model = parse_model(format_model(random_model([Dense(10, "softmax")])))
    assert [set(v) for v in model.test_vectors] == [
        {"strokes", "probabilities", "atol"},
        {"strokes", "probabilities", "atol"},
        {"input", "probabilities", "atol"},
    ]
    assert verify(model, lambda x: reference.predict(model, x)) < 1e-6


def test_verify_finds_a_reader_that_is_wrong():
    model = parse_model(format_model(small_mlp()))
    with pytest.raises(FormatError, match=r"test_vectors\[0\]: output 1 is .* within 0.0001"):
        verify(model, lambda x: reference.predict(model, x) + np.array([0, 2e-4, 0]))
    with pytest.raises(FormatError, match="output 0 is nan"):
        verify(model, lambda x: reference.predict(model, x) * np.nan)
    with pytest.raises(FormatError, match="wanted 3 outputs, got 2"):
        verify(model, lambda x: reference.predict(model, x)[:, :2])
    assert verify(replace(model, test_vectors=[]), lambda x: None) == 0


def test_newer_minor_version_with_unknown_keys():
    document = json.loads(format_model(small_mlp())) | {"version": "1.7", "colour": "blue"}
    assert parse_model(json.dumps(document).encode()).name == "model"


@pytest.mark.parametrize("make", [small_mlp, small_cnn, pooled_cnn])
def test_whole_numbers_may_have_a_point(make):
    """JSON Schema's integers are so many, and its readers too: 3.0 is 3."""

    def pointed(value):
        if isinstance(value, dict):
            return {key: pointed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [pointed(item) for item in value]
        return float(value) if type(value) is int else value

    data = format_model(make(), "int8", "decimal")
    document = pointed(json.loads(data))
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    read, wanted = parse_model(json.dumps(document).encode()), parse_model(data)
    assert read.layers == wanted.layers and read.input_shape == wanted.input_shape
    assert all(np.array_equal(read.weights[key], wanted.weights[key]) for key in wanted.weights)


def test_names_of_tensors_are_free():
    document = json.loads(format_model(small_mlp()))
    document["tensors"]["W"] = document["tensors"].pop("dense.weight")
    document["layers"][0]["weight"] = "W"
    assert "dense.weight" in parse_model(json.dumps(document).encode()).weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {}}, "dense.weight is missing"),
        ({"labels": ["a"]}, "labels: wanted 3, one per output; got 1"),
        ({"input_shape": (2, 2, 2)}, r"dense.weight must have shape \(8, 8\), got \(20, 8\)"),
        ({"input_shape": (0, 2, 2)}, "input shape must be between"),
        ({"input_shape": 28}, "input shape must be height, width, channels"),
        ({"layers": []}, "layers: wanted 1 to 256"),
    ],
)
def test_model_that_does_not_fit_together(change, message):
    with pytest.raises(ValueError, match=message):
        replace(small_mlp(), **change)


def test_weights_that_cannot_be_written(tmp_path):
    model = small_mlp()
    for value in (np.nan, np.inf):
        broken = {k: v.copy() for k, v in model.weights.items()}
        broken["dense.weight"][1, 2] = value
        with pytest.raises(ValueError, match=r"dense\.weight: not a finite float32 number at 10"):
            replace(model, weights=broken)
    large = {k: v * np.float32(1e6) for k, v in model.weights.items()}
    with pytest.raises(ValueError, match=r"dense.weight holds .*, too large for float16"):
        write_model(tmp_path / "m.json", replace(model, weights=large), "float16")
    extra = model.weights | {"what": np.zeros(1)}
    with pytest.raises(ValueError, match="no layer has 'what'"):
        replace(model, weights=extra)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"metrics": {"loss": float("nan")}}, "not JSON compliant"),
        ({"extra": {"thing": object()}}, "metadata must be JSON-ready, got a object"),
        ({"name": "two\nlines"}, "name"),
        ({"labels": ["a", "b", "\ud800"]}, "surrogate"),
    ],
)
def test_metadata_that_cannot_be_written(metadata, message):
    with pytest.raises(ValueError, match=message):
        format_model(small_mlp(**metadata))


def test_unknown_quantisation_and_encoding():
    with pytest.raises(ValueError, match="quantize must be None, 'float16' or 'int8'; got 'i4'"):
        format_model(small_mlp(), "i4")
    with pytest.raises(ValueError, match="encoding must be one of"):
        format_model(small_mlp(), encoding="hex")


def test_folding_needs_no_trained_batch_norm_to_be_written():
    model = small_cnn()
    assert [layer.type for layer in parse_model(format_model(model)).layers].count(
        "batch_norm"
    ) == 1


# Writing, whole or not at all


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "m.json"
    write_model(path, small_mlp(name="old"))
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "write":
        monkeypatch.setattr(files, "_flush", full)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device; the file .* is unchanged"):
        write_model(path, small_mlp(name="new"))
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_file_size_limit_leaves_the_old_file(tmp_path):
    """A real failure of write(), in a process of its own."""
    (tmp_path / "m.json").write_text("old")
    script = (
        "import resource; from mnistc.formats.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomic('m.json', b'x' * 5000)\n"
        "except OSError as error: print(error)\n"
    )
    root = str(Path(files.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "could not write: File too large; the file that was there is unchanged" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    assert (tmp_path / "m.json").read_text() == "old"


def test_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path / "m.json", small_mlp())
    assert not list(tmp_path.iterdir())


def test_write_into_a_missing_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="could not write: No such file or directory"):
        write_model(tmp_path / "no" / "m.json", small_mlp())


def test_write_over_a_directory(tmp_path):
    with pytest.raises(IsADirectoryError, match="wanted a file, got a directory"):
        write_model(tmp_path, small_mlp())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_and_links(tmp_path):
    mask = os.umask(0o027)
    try:
        write_model(tmp_path / "real.json", small_mlp())
    finally:
        os.umask(mask)
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link.json").symlink_to("real.json")
    write_model(tmp_path / "link.json", small_mlp(name="through the link"))
    assert (tmp_path / "link.json").is_symlink()
    assert read_model(tmp_path / "real.json").name == "through the link"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no /dev/null")
def test_write_to_a_device():
    write_model("/dev/null", small_mlp())
    assert not Path("/dev/null").is_file()


def test_model_file_is_reexported():
    assert ModelFile.__module__ == "mnistc.formats.model_file"
