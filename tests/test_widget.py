"""The widget from Python's side: the files that are written, and agreement with the browser.

What needs Node or a browser is skipped, with the reason, where there is none.
"""

import base64
import errno
import gzip
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from http.server import ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import mnistc
from mnistc import FormatError, formats, strokes, widget
from mnistc.formats.model_file import ModelFile
from mnistc.layers import Activation, Conv2D, Dense, Flatten, GlobalAveragePool2D, MaxPool2D
from mnistc.widget import embed, site

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent / "widget"
DIST = ROOT / "mnistc" / "widget" / "dist"
NODE = shutil.which("node")
KB = 1000

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def random_model(name="random", layers=None, labels=(), seed=0):
    layers = layers or [
        Conv2D(6, 5, activation="relu"),
        MaxPool2D(4),
        Flatten(),
        Dense(10, "softmax"),
    ]
    net = mnistc.Sequential(layers, input_shape=(28, 28, 1), seed=seed)
    return ModelFile(
        layers=layers, weights=dict(net.weights), name=name, labels=list(labels), license="MIT"
    )


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.json"
    formats.write_model(path, random_model("small"), quantize="int8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_path):
    folder = tmp_path_factory.mktemp("site")
    widget.write_site(folder / "deep" / "er", [model_path])
    return folder / "deep" / "er"


def unescape(script):
    """The model file inside a register statement."""
    literal = re.search(r"mnistc\.register\('([^']*)','(.*)'\);\n$", script)
    text = literal[2].replace("\\x3c", "<").replace("\\'", "'").replace("\\\\", "\\")
    return literal[1], json.loads(text)


def test_the_files_of_a_site(folder, model_path):
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "mnistc.js", "mnistc.global.js", "core.js", "mnistc.d.ts", "core.d.ts", "index.html",
        "custom-elements.json", "mnistc.css", "package.json", "mnist_widget.js",
        "mnist_convolution_widget.js", "small.json", "small.js",
    }  # fmt: skip
    assert json.loads((folder / "small.json").read_text()) == json.loads(model_path.read_text())
    code = (DIST / "mnistc.global.js").read_text()
    script = (folder / "mnistc.global.js").read_text()
    assert script.startswith(code)
    assert script.isascii()
    assert "<" not in script[len(code) :]  # no </script>, whatever the model says


def test_an_embedded_model_is_the_file(folder, model_path):
    name, document = unescape((folder / "small.js").read_text())
    original = json.loads(model_path.read_text())
    assert name == "small"
    assert document["layers"] == original["layers"]
    for key, tensor in original["tensors"].items():
        dense = document["tensors"][key]
        if tensor["dtype"] != "i8":
            assert dense == tensor
            continue
        assert dense["encoding"] == "ascii"
        values = np.frombuffer(base64.b64decode(tensor["data"]), np.int8)
        assert dense["data"] == embed.encode_ascii(values.tolist())


def test_the_dense_text_of_int8_can_be_read_back():
    values = list(range(-128, 128)) * 2
    text = embed.encode_ascii(values)
    alphabet = embed.ALPHABET
    assert len(set(alphabet)) == 90
    assert not set(alphabet) & set("\"'\\<`")
    read, at = [], 0
    while at < len(text):
        code = alphabet.index(text[at])
        if code < 88:
            read.append(code - 44)
        else:
            far = alphabet.index(text[at + 1])
            read.append(-45 - far if code == 88 else 44 + far)
        at += 1 + (code > 87)
    assert read == values


def test_the_demo_page(folder):
    page = (folder / "index.html").read_text()
    assert "<!--" not in page
    digest = hashlib.sha384((folder / "mnistc.global.js").read_bytes()).digest()
    assert f"sha384-{base64.b64encode(digest).decode()}" in page
    for source in re.findall(r'(?:src|href)="([^"]+)"', html.unescape(page)):
        assert source.startswith("data:") or (folder / source).is_file(), source
    assert not re.search(r"https?://", page)


@pytest.mark.parametrize(
    ("dataset", "wanted"),
    [
        ("mnist", "98.76% on the MNIST test set"),
        ("synthetic", "98.76% on the test part of synthetic"),
        ("/home/me/<b>.npz", "98.76% on the test part of &lt;b&gt;.npz"),
    ],
)
def test_the_demo_page_says_what_was_measured_on(tmp_path, dataset, wanted):
    model = random_model()
    model.training, model.metrics = {"dataset": dataset}, {"test_accuracy": 0.9876}
    widget.write_site(tmp_path, [model])
    assert f", {wanted}</p>" in (tmp_path / "index.html").read_text("utf-8")


def test_a_full_disk_leaves_the_old_site(tmp_path, monkeypatch):
    def full(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {path: path.read_bytes() for path in widget.write_site(tmp_path, ["cnn"])}
    monkeypatch.setattr(formats.files, "_flush", full)
    with pytest.raises(OSError, match="No space left"):
        widget.write_site(tmp_path, ["mlp"])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_widgets_own_files_are_no_site():
    with pytest.raises(ValueError, match="holds the widget's own files"):
        widget.write_site(site.DIST, ["cnn"])


def test_names_and_labels_cannot_break_out(tmp_path):
    evil = "</script><script>alert(1)</script>'\\\u2028"
    labels = [evil.replace("\u2028", "") + str(i) for i in range(10)]
    model = random_model("../<b>'\"evil", labels=labels)
    widget.write_site(tmp_path / "site", [model])
    for path in (tmp_path / "site").glob("*.js"):
        assert "</script>" not in path.read_text()
    page = (tmp_path / "site" / "index.html").read_text()
    assert "<b>" not in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["site"]
    _, document = unescape(
        (tmp_path / "site" / "mnistc.global.js").read_text().split("\n")[-2] + "\n"
    )
    assert document["labels"] == labels


def test_several_models_of_one_name(tmp_path):
    dense = [Dense(10, "softmax")]
    widget.write_site(
        tmp_path, [random_model("cnn"), random_model("cnn", dense), random_model("core")]
    )
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'<mnistc-digit model="([^"]+)"', page) == ["cnn", "cnn-2", "core-2"]
    assert 'src="cnn-2.js"' in page
    name, document = unescape((tmp_path / "mnist_widget.js").read_text().split("\n")[-2] + "\n")
    assert (name, document["layers"][0]["type"]) == ("mlp", "dense")
    convolution = (tmp_path / "mnist_convolution_widget.js").read_text()
    assert unescape(convolution.split("\n")[-2] + "\n")[1]["layers"][0]["type"] == "conv2d"


def test_what_is_no_model_for_drawings_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        widget.write_site(tmp_path, [tmp_path / "none.json"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(FormatError):
        widget.write_site(tmp_path, [tmp_path / "bad.json"])
    net = mnistc.Sequential([Dense(10, "softmax")], input_shape=(8, 8, 1), seed=0)
    small = ModelFile(
        layers=[Dense(10, "softmax")], weights=dict(net.weights), input_shape=(8, 8, 1)
    )
    with pytest.raises(ValueError, match="28 x 28 x 1"):
        widget.write_site(tmp_path, [small])


def test_what_the_widget_would_refuse_is_refused_before(tmp_path):
    slow = [Conv2D(64, 7, padding="same"), Conv2D(64, 7, padding="same"), Dense(10, "softmax")]
    with pytest.raises(ValueError, match="multiply-adds"):
        widget.write_site(tmp_path, [random_model(layers=slow)])
    with pytest.raises(ValueError, match="quantize"):
        widget.write_site(tmp_path, [random_model(layers=[Dense(1000), Dense(10, "softmax")])])
    with pytest.raises(ValueError, match="labels"):
        widget.write_site(tmp_path, [random_model(labels=["x" * 50, *"123456789"])])
    with pytest.raises(ValueError, match="labels"):  # JavaScript counts them twice
        widget.write_site(tmp_path, [random_model(labels=["\U0001f58a" * 21, *"123456789"])])
    wide = [Conv2D(1950, 1), GlobalAveragePool2D(), Dense(10, "softmax")]
    with pytest.raises(ValueError, match="values from a layer, got 1,528,800"):
        widget.write_site(tmp_path, [random_model(layers=wide)])
    other = random_model()
    other.preprocessing = {"id": "strokes-v2"}
    with pytest.raises(ValueError, match="preprocessing strokes-v1, got 'strokes-v2'"):
        widget.write_site(tmp_path, [other])
    assert not list(tmp_path.iterdir())


@needs_node
def test_python_and_the_widget_count_the_same_work(tmp_path):
    for kind in ("relu", "tanh"):
        stacks = (
            [Conv2D(n, 3), MaxPool2D(3), Activation(kind), GlobalAveragePool2D(), Dense(10)]
            for n in range(1320, 1400)
        )
        models = (random_model(layers=stack) for stack in stacks)
        fits, too_much = next(p for p in pairwise(models) if site._work(p[1]) > site.MAX_WORK)
        assert site._work(fits) <= site.MAX_WORK
        for model, ok in ((fits, True), (too_much, False)):
            path = tmp_path / "model.json"
            formats.write_model(path, model, quantize="int8")
            given = tmp_path / "in.json"
            given.write_text(json.dumps({"model": path.read_text(), "drawings": []}))
            command = [NODE, HERE / "classify.mjs", given, tmp_path / "out.json"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (done.returncode == 0) == ok
            assert ok or "multiply-adds" in done.stderr


def test_the_site_is_a_package(folder):
    package = json.loads((folder / "package.json").read_text())
    elements = json.loads((folder / package["customElements"]).read_text())
    assert all((folder / module["path"]).is_file() for module in elements["modules"])
    paths = [package["main"], package["types"], package["customElements"], *package["sideEffects"]]
    for target in package["exports"].values():
        paths += target.values() if isinstance(target, dict) else [target]
    assert all((folder / path).is_file() for path in paths)
    files = {f"./{path.name}" for path in folder.iterdir()}
    assert files - {"./mnistc.d.ts", "./core.d.ts"} <= set(package["exports"])
    assert "files" not in package and "readme" not in elements  # all of them; it has none


def test_serve_answers_on_this_machine_only(folder, monkeypatch):
    started = threading.Event()
    servers = []

    class Server(ThreadingHTTPServer):
        def __init__(self, address, handler):
            super().__init__(address, handler)
            servers.append(self)
            started.set()

    monkeypatch.setattr(site, "ThreadingHTTPServer", Server)
    thread = threading.Thread(target=widget.serve, args=(folder, 0), daemon=True)
    thread.start()
    assert started.wait(10)
    host, port = servers[0].server_address[:2]
    assert host == "127.0.0.1"
    for name, kind in {"": "text/html", "mnistc.js": "text/javascript"}.items():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith(kind)
            assert answer.read()
    servers[0].shutdown()
    thread.join(10)
    assert not thread.is_alive()


def gzipped(path):
    return len(gzip.compress(path.read_bytes(), 9))


def test_size_budget_of_the_code():
    for name in ("core.js", "mnistc.js", "mnistc.global.js"):
        assert gzipped(DIST / name) <= 12 * KB, name


@pytest.mark.parametrize(("name", "budget"), [("cnn", 45 * KB), ("mlp", 90 * KB)])
def test_size_budget_of_one_tag(tmp_path, name, budget):
    if name not in formats.shipped_names():
        pytest.skip(f"{name} is not among the shipped models")
    widget.write_site(tmp_path, [name])
    assert gzipped(tmp_path / "mnistc.global.js") <= budget


def test_the_manifest_names_what_there_is():
    manifest = json.loads((DIST / "custom-elements.json").read_text())
    declarations = manifest["modules"][0]["declarations"]
    code = (DIST / "mnistc.js").read_text()
    css = (DIST / "mnistc.css").read_text()
    assert all(each["tagName"] in code for each in declarations)
    digit = declarations[0]
    for kind in ("members", "attributes", "events"):
        for each in digit[kind]:
            assert each["name"].removeprefix("mnistc-") in code, each["name"]
    assert all(re.search(rf'["\s]{part["name"]}["\s]', code) for part in digit["cssParts"])
    assert all(each["name"] in css for each in digit["cssProperties"])


def classify(tmp_path, drawings, model=None, images=()):
    """Pixels and probabilities as core.js computes them in Node."""
    given, result = tmp_path / "in.json", tmp_path / "out.json"
    given.write_text(
        json.dumps({"model": model, "drawings": drawings, "images": [list(i) for i in images]})
    )
    subprocess.run([NODE, HERE / "classify.mjs", given, result], check=True, timeout=300)
    return json.loads(result.read_text())


def some_drawings(n):
    """Pen strokes of people where MNISTC_DATA has them, else synthetic ones."""
    if os.environ.get("MNISTC_DATA"):
        from mnistc.datasets import pendigits

        try:
            drawings = pendigits.load_strokes(os.environ["MNISTC_DATA"]).strokes
        except FileNotFoundError:
            pass
        else:
            step = max(len(drawings) // n, 1)
            return [[np.asarray(s).tolist() for s in d] for d in drawings[::step][:n]]
    rng = np.random.default_rng(0)
    return [
        [np.cumsum(rng.normal(size=(rng.integers(1, 40), 2)), 0).tolist() for _ in range(k)]
        for k in rng.integers(1, 4, size=n)
    ]


@needs_node
def test_pixels_equal_those_of_the_c_rasteriser(tmp_path):
    drawings = some_drawings(2000)
    seen = classify(tmp_path, drawings)["drawings"]
    pixels = np.array([each["pixels"] for each in seen]).reshape(-1, 28, 28)
    np.testing.assert_allclose(pixels, strokes.rasterize_many(drawings), atol=1e-5)


@needs_node
@pytest.mark.parametrize("name", ["cnn", "mlp", "random"])
def test_probabilities_equal_those_of_the_c_core(tmp_path, model_path, name):
    if name == "random":
        path = model_path
    elif name in formats.shipped_names():
        path = formats._shipped_paths()[name]
    else:
        pytest.skip(f"{name} is not among the shipped models")
    drawings = some_drawings(2000 if name != "random" else 100)
    seen = classify(tmp_path, drawings, path.read_text())["drawings"]
    got = np.array([each["probabilities"] for each in seen])
    images = strokes.rasterize_many(
        drawings, json.loads(path.read_text())["preprocessing"]["pen_width"]
    )
    wanted = mnistc.load(path).predict(images)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.999


@needs_node
def test_test_vectors_of_the_shipped_models(tmp_path):
    for name in formats.shipped_names():
        text = formats._shipped_paths()[name].read_text()
        document = json.loads(text)
        if document["input"]["shape"] != [28, 28, 1]:
            continue
        for vector in document.get("test_vectors", []):
            drawings = [vector["strokes"]] if "strokes" in vector else []
            images = [vector["input"]] if "input" in vector else []
            seen = classify(tmp_path, drawings, text, images)
            got = seen["drawings"][0]["probabilities"] if drawings else seen["images"][0]
            np.testing.assert_allclose(got, vector["probabilities"], atol=vector["atol"])


@needs_node
def test_the_tests_of_the_core_in_node():
    if not (ROOT / "mnistc" / "widget" / "node_modules").is_dir():
        pytest.skip("npm ci was not run in mnistc/widget")
    command = [NODE, "--test", "tests/widget/node/"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.slow
@needs_node
def test_the_tests_in_browsers():
    if not os.environ.get("MNISTC_BROWSERS"):
        pytest.skip("MNISTC_BROWSERS is not set: tests/widget/run.sh runs them")
    env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([HERE / "run.sh"], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
