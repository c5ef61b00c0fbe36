"""The command line: exit codes, one JSON object, never a traceback."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_data import bars

import mnistc
from mnistc import Dense, Sequential
from mnistc.cli import main

OFFLINE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


def run(*arguments, code=0):
    """Run a command; returns standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit) as exit,
    ):
        patch.setattr(sys, "argv", ["mnistc", *map(str, arguments)])
        main()
    assert (exit.value.code or 0) == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def run_apart(*arguments, **environment):
    """Run ``python -m mnistc`` as users do."""
    return subprocess.run(
        [sys.executable, "-m", "mnistc", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def run_json(*arguments, code=0):
    """The one object that ``--json`` prints, which must be all there is."""
    out, _ = run(*arguments, "--json", code=code)
    values = json.loads(out)
    assert isinstance(values, dict)
    assert out.count("\n") == 1
    return values


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A dataset file of 28 x 28 images that can be learnt in a moment."""
    images, labels = bars(600)
    large = np.zeros((600, 28, 28), np.uint8)
    large[:, 4:24, 4:24] = images.repeat(2, axis=1).repeat(2, axis=2)
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x_train=large[:500], y_train=labels[:500], x_test=large[500:],
             y_test=labels[500:])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.json"
    Sequential([Dense(10, "softmax")]).save(path, name="tiny")
    return path


def test_train(digits, tmp_path):
    out = tmp_path / "net.json"
    log = tmp_path / "log.csv"
    values = run_json("train", "--dataset", digits, "--epochs", 3, "--out", out, "--log", log)
    assert values["accuracy"] > 0.5
    assert values["epochs"] == 3
    assert values["seconds"] > values["seconds_per_epoch"] > 0
    assert values["model"] == str(out)
    assert values["recipe"] == "quick"
    assert values["threads"] >= 1
    assert values["kernels"]
    assert values["parameters"] == mnistc.load(out).n_parameters
    assert values["images"] == 500
    assert len(log.read_text().splitlines()) == 4
    network = mnistc.load(out)
    assert network.metadata["training"]["recipe"] == "quick"
    assert network.metadata["metrics"]["test_accuracy"] == values["accuracy"]
    measured = run_json("evaluate", out, "--dataset", digits)
    assert measured["accuracy"] == values["accuracy"]
    assert measured["parameters"] == values["parameters"]
    assert np.sum(measured["confusion_matrix"]) == 100


def test_the_same_seed_trains_the_same(digits, tmp_path):
    files = []
    for name, threads in (("a", 1), ("b", 2)):
        files.append(tmp_path / name)
        options = ("--epochs", 2, "--seed", 3, "--threads", threads)
        run("train", "--dataset", digits, *options, "--out", files[-1])
    one, two = (mnistc.load(file).core.parameters for file in files)
    assert one.tobytes() == two.tobytes()


def test_the_largest_seed(digits, tmp_path):
    seed, out = (1 << 63) - 1, tmp_path / "net.json"
    values = run_json("train", "--dataset", digits, "--epochs", 1, "--seed", seed, "--out", out)
    assert values["seed"] == seed
    assert int(mnistc.load(out).metadata["training"]["seed"]) == seed


def test_train_tells_how_to_go_on(digits, tmp_path):
    out, err = run("train", "--dataset", digits, "--epochs", 1, "--out", tmp_path / "net.json")
    for command in ("evaluate", "predict", "widget"):
        assert f"mnistc {command}" in out
    assert "loss" not in err  # no progress where there is no terminal


def test_train_without_network_or_data_uses_the_built_in_set(tmp_path):
    out = tmp_path / "net.json"
    arguments = ("train", "--epochs", 1, "--data-dir", tmp_path, "--out", out, "--json")
    done = run_apart(*arguments, **OFFLINE)
    assert done.returncode == 0
    values = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert values["dataset"] == "synthetic"
    assert values["notice"] in done.stderr
    assert "synthetic" in values["notice"]
    assert mnistc.load(out).metadata["training"]["dataset"] == "synthetic"


def test_mistakes_make_no_traceback(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    for arguments, code in (
        (("evaluate", tmp_path / "broken.json", "--dataset", "synthetic"), 1),
        (("train", "--recipe", "cake"), 2),
    ):
        done = run_apart(*arguments)
        assert done.returncode == code
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert "broken.json" in done.stderr or "cake" in done.stderr


def test_checkpoint_and_resume(digits, tmp_path):
    options = ("train", "--dataset", digits, "--epochs", 3)
    kept = tmp_path / "run.npz"
    run(*options, "--out", tmp_path / "a.json", "--checkpoint", kept)
    run(*options, "--out", tmp_path / "b.json", "--resume", kept)
    one, two = (mnistc.load(tmp_path / name).core.parameters for name in ("a.json", "b.json"))
    assert one.tobytes() == two.tobytes()


def test_ctrl_c_saves(digits, tmp_path):
    out, kept = tmp_path / "net.json", tmp_path / "run.npz"
    command = [sys.executable, "-m", "mnistc", "train", "--dataset", digits, "--epochs", 10**6,
               "--out", out, "--checkpoint", kept, "--json"]  # fmt: skip
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not kept.exists():
                time.sleep(0.01)
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "interrupted" in json.loads(stdout)["error"]
    assert mnistc.load(out).n_parameters > 0


def interrupted(*_arguments, **_options):
    raise KeyboardInterrupt


def saved_under_fire(network, *arguments, save=Sequential.save, **options):
    """`Sequential.save` while Ctrl-C is pressed."""
    signal.raise_signal(signal.SIGINT)
    save(network, *arguments, **options)


@pytest.mark.parametrize("step", ["fit", "evaluate", "nothing"])
def test_more_ctrl_c_loses_nothing(digits, tmp_path, monkeypatch, step):
    """Pressed twice, or while the trained network is measured or saved."""
    out = tmp_path / "net.json"
    monkeypatch.setattr(Sequential, step, interrupted, raising=False)
    monkeypatch.setattr(Sequential, "save", saved_under_fire)
    handler = signal.getsignal(signal.SIGINT)
    values = run_json("train", "--dataset", digits, "--epochs", 1, "--out", out,
                      code=0 if step == "nothing" else 1)  # fmt: skip
    assert values["model"] == str(out)
    assert mnistc.load(out).n_parameters > 0
    assert signal.getsignal(signal.SIGINT) == handler


def test_evaluate_in_words(digits, model, tmp_path):
    out, _ = run("evaluate", model, "--dataset", digits)
    assert "right on 100 test images of" in out
    assert "taken for" in out
    pytest.importorskip("matplotlib")
    out, _ = run("evaluate", model, "--dataset", digits, "--gallery", tmp_path / "worst.png")
    assert (tmp_path / "worst.png").exists()


def test_predict(model, tmp_path):
    pixels = np.full((40, 60), 255, np.uint8)
    pixels[5:35, 28:32] = 0
    dark, light = tmp_path / "one.png", tmp_path / "one-white.jpg"
    Image.fromarray(pixels).save(dark)
    Image.fromarray(255 - pixels).save(light)
    values = run_json("predict", model, dark, light)
    first, second = values["predictions"]
    assert first["image"] == str(dark)
    assert first["label"] == str(first["prediction"])
    assert first["confidence"] == max(first["probabilities"])
    assert len(first["probabilities"]) == 10
    assert second["probabilities"] == pytest.approx(first["probabilities"], abs=0.05)
    out, _ = run("predict", model, dark)
    assert out.startswith(f"{dark}: ")


def test_logits_are_told_as_probabilities(tmp_path):
    drawn = np.zeros((28, 28), np.uint8)
    drawn[4:24, 12:16] = 255
    Image.fromarray(255 - drawn).save(tmp_path / "one.png")
    found = []
    for activation in ("linear", "softmax"):
        net = mnistc.Sequential([mnistc.Dense(10, activation)], seed=1)
        net.weights["dense.weight"] = 3 * net.weights["dense.weight"]
        net.save(tmp_path / "net.json")
        (told,) = run_json("predict", tmp_path / "net.json", tmp_path / "one.png")["predictions"]
        measured = run_json("evaluate", tmp_path / "net.json", "--dataset", "synthetic")
        found.append([*told["probabilities"], measured["calibration_error"], measured["loss"]])
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert sum(found[0][:10]) == pytest.approx(1, abs=1e-6)


def test_export(model, tmp_path):
    values = run_json("export", model, "--format", "json", "--quantize", "int8", "-o",
                      tmp_path / "small.json")  # fmt: skip
    assert values["quantize"] == "int8"
    assert mnistc.load(tmp_path / "small.json").n_parameters == values["parameters"]
    out, _ = run("export", model, "--format", "npz", "-o", tmp_path / "net.npz")
    assert "net.npz" in out
    run("export", model, "--format", "tfjs", "-o", tmp_path / "tfjs")
    assert (tmp_path / "tfjs" / "model.json").exists()


def test_widget(model, tmp_path):
    pytest.importorskip("mnistc.widget")
    values = run_json("widget", model, "-o", tmp_path / "site")
    assert (tmp_path / "site" / "mnistc.js").exists()
    assert (tmp_path / "site" / "index.html").exists()
    assert values["out"] == str(tmp_path / "site")


def test_widget_serves(model, tmp_path, monkeypatch):
    site = pytest.importorskip("mnistc.widget.site")
    monkeypatch.setattr(site.ThreadingHTTPServer, "serve_forever", interrupted)
    command = ("widget", model, "-o", tmp_path / "site", "--serve", "--port")
    out, err = run(*command, 0)
    assert "wrote" in out
    assert int(err.removeprefix("http://localhost:").split("/")[0]) > 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        values = run_json(*command, other.getsockname()[1], code=1)  # one object, not two
    assert "in use" in values["error"]


def test_info():
    values = run_json("info")
    assert values["version"] == mnistc.__version__
    assert values["kernels"] in values["available"]
    assert values["threads"] >= 1
    assert {"quick", "original-mlp", "keras-cnn"} <= {r["name"] for r in values["recipes"]}
    out, _ = run("info")
    assert "original-mlp" in out
    assert run("--version")[0] == f"mnistc {mnistc.__version__}\n"


def test_data(tmp_path):
    values = run_json("data", "list", "--data-dir", tmp_path)
    assert values["datasets"] == {
        "mnist": False, "fashion_mnist": False, "pendigits": False, "synthetic": True,
    }  # fmt: skip
    out, _ = run("data", "list", "--data-dir", tmp_path)
    assert "built in" in out


@pytest.mark.skipif("MNISTC_DATA" not in os.environ, reason="needs MNIST in MNISTC_DATA")
def test_data_at_hand():
    assert run_json("data", "list")["datasets"]["mnist"] is True
    assert len(run_json("data", "fetch", "mnist")["datasets"]["mnist"]) == 4
    assert "mnist: " in run("data", "fetch")[0]


@pytest.mark.skipif("MNISTC_DATA" not in os.environ, reason="needs MNIST in MNISTC_DATA")
@pytest.mark.parametrize(
    ("file", "accuracy"), [("weights_as_json.json", 0.9819), ("tfjs/model.json", 0.9929)]
)
def test_the_originals_networks_on_mnist(file, accuracy):
    path = f"{os.environ['MNISTC_DATA']}/original/{file}"
    assert run_json("evaluate", path, "--dataset", "mnist")["accuracy"] == accuracy


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--recipe", "cake"),
        ("train", "--epochs", "0"),
        ("train", "--epochs", "many"),
        ("train", "--seed", "-1"),
        ("train", "--threads", "-2"),
        ("evaluate", "cnn", "--threads", "257"),
        ("train", "--precision", "half"),
        ("train", "--checkpoint", "run.pt"),
        ("train", "--nothing"),
        ("evaluate",),
        ("predict", "model.json"),
        ("export", "model.json", "--format", "xml", "-o", "x"),
        ("export", "model.json", "--quantize", "int3", "-o", "x"),
        ("export", "model.json"),
        ("data", "fetch", "imagenet"),
        ("bake",),
    ],
)
def test_wrong_usage_is_2(arguments):
    out, err = run(*arguments, code=2)
    assert out == ""
    assert "Usage" in err


def test_failures_are_1(model, digits, tmp_path, monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "not-an-image.png").write_bytes(b"GIF89a but not quite")
    for arguments, word in (
        (("evaluate", tmp_path / "none.json"), "none.json"),
        (("evaluate", tmp_path / "broken.json", "--dataset", digits), "broken.json"),
        (("evaluate", "no-such-model"), "no-such-model"),
        (("evaluate", model, "--dataset", "no-such-set"), "no-such-set"),
        (("evaluate", model, "--dataset", tmp_path / "none.npz"), "none.npz"),
        (("predict", model, tmp_path / "none.png"), "none.png"),
        (("predict", model, tmp_path / "not-an-image.png"), "not-an-image.png"),
        (("train", "--out", tmp_path), "folder"),
        (("train", "--out", tmp_path / "no" / "net.json"), "no such folder"),
        (("train", "--checkpoint", tmp_path / "no" / "run.npz"), "no such folder"),
        (("train", "--dataset", digits, "--resume", tmp_path / "none.npz"), "none.npz"),
        (("export", model, "--format", "onnx", "--quantize", "int8", "-o", "x"), "quantised"),
    ):
        out, err = run(*arguments, code=1)
        assert out == ""
        assert err.splitlines()[-1].startswith("error: ")
        assert word in err
        values = run_json(*arguments, code=1)
        assert word in values["error"]


def test_kernels_that_are_not_there(model, monkeypatch):
    monkeypatch.setenv("MNISTC_KERNELS", "mmx")
    for arguments in (["evaluate", str(model)], ["info", "--json"]):
        command = [sys.executable, "-m", "mnistc", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: kernel table 'mmx' is not available")
        assert bool(done.stdout) == ("--json" in arguments)


def test_json_has_no_nan(digits, model, monkeypatch):
    scores = {"loss": float("nan"), "accuracy": float("-inf")}
    monkeypatch.setattr(Sequential, "evaluate", lambda *_arguments, **_options: scores)
    out, _ = run("evaluate", model, "--dataset", digits, "--json")
    assert "NaN" not in out and "Infinity" not in out
    values = json.loads(out)
    assert values["loss"] is None and values["accuracy"] is None and values["images"] == 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk(arguments, unbuffered):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "mnistc", *arguments]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=env
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_reader_that_leaves(model):
    """Standard output closed early, as by ``head``, is no traceback."""
    command = [sys.executable, "-m", "mnistc", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    assert b"Traceback" not in err
    assert process.returncode == 1
