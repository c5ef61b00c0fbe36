"""Writes the widget's files: scripts with models embedded, model files, a demo page."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mnistc.errors import FormatError
from mnistc.formats import _shipped_paths, load_any, read_model, shipped_names
from mnistc.formats.files import PathLike, write_atomic
from mnistc.formats.model_file import ModelFile
from mnistc.formats.writer import format_model
from mnistc.summary import summarize
from mnistc.widget.embed import claim_statement, embedded_text, register_statement

DIST = Path(__file__).parent / "dist"
DEFAULT_MODELS = ("cnn", "mlp")
_SCRIPT = "mnistc.global.js"
# As in src/model.ts.
MAX_FILE = 1 << 21
MAX_MARKS = 120_000
MAX_LAYERS = 100
MAX_SIZE = 1_500_000
MAX_WORK = 19_000_000
_ELEMENTS = "custom-elements.json"
# The original's scripts and elements: a fully connected network, and a convolutional one.
_DROP_INS = {
    "mlp": ("mnist_widget.js", "mnist-checker-widget"),
    "cnn": ("mnist_convolution_widget.js", "mnist-convolution-checker-widget"),
}


@dataclass
class _Embedded:
    """A model of the site: its name there, what it is, its file's JSON, and that in a script."""

    name: str
    model: ModelFile
    document: dict[str, Any]
    text: str

    @property
    def statement(self) -> str:
        return register_statement(self.name, self.text)

    @property
    def is_convolutional(self) -> bool:
        return any(layer["type"] == "conv2d" for layer in self.document["layers"])


def write_site(
    directory: PathLike, models: Sequence[PathLike | ModelFile] | None = None
) -> list[Path]:
    """Write everything that a web page needs of the widget, and a demo page that shows it.

    Parameters
    ----------
    directory : path
        Made where it does not exist; files of the same names are replaced.
    models : sequence of path, shipped name or ModelFile, optional
        The shipped CNN and MLP unless told. The first one is embedded in ``mnistc.global.js``;
        weights keep the precision of their file, so an int8 file makes the smallest script.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    FileNotFoundError
        If a model does not exist.
    ValueError
        If a model does not read drawings of 28 x 28 pixels (``FormatError``: is no model at all),
        or the directory is the one that the package itself takes the widget from.
    """
    if models is None:
        models = [name for name in DEFAULT_MODELS if name in shipped_names()]
        if not models:
            raise FileNotFoundError("no shipped models: name a model file")
    embedded = _embed(models)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.samefile(DIST):
        raise ValueError(f"directory: {folder} holds the widget's own files, wanted another one")
    code = (DIST / _SCRIPT).read_text("ascii")
    texts = {f"{each.name}.json": _json(each.document) for each in embedded}
    texts |= {f"{each.name}.js": each.statement for each in embedded}
    texts[_SCRIPT] = code + embedded[0].statement
    for role, model in _drop_ins(embedded).items():
        file, element = _DROP_INS[role]
        texts[file] = code + claim_statement(element, role) + register_statement(role, model.text)
    page = (DIST / "index.html").read_text("utf-8")
    texts["index.html"] = _demo_page(page, embedded, texts[_SCRIPT])
    elements = json.loads((DIST / _ELEMENTS).read_text("utf-8").replace("dist/", ""))
    del elements["readme"]  # stays with the sources
    texts[_ELEMENTS] = json.dumps(elements, indent=2) + "\n"
    sources = [path for path in sorted(DIST.iterdir()) if path.is_file()]
    files = {path.name: path.read_bytes() for path in sources if path.name not in texts}
    texts["package.json"] = _package([*files, *texts])
    files |= {name: text.encode() for name, text in texts.items()}
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [folder / name for name in files]


def serve(
    directory: PathLike, port: int = 8000, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Serve a folder at http://localhost:port/ until interrupted; nobody else can reach it.

    Parameters
    ----------
    directory : path
    port : int
        0 takes one that is free.
    ready : callable
        Called with the port as soon as it is taken.

    Raises
    ------
    OSError
        If the port is in use.
    """
    handler = functools.partial(_Handler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        try:
            ready(server.server_port)
            server.serve_forever()
        except KeyboardInterrupt:
            return


class _Handler(SimpleHTTPRequestHandler):
    # Not what the system's registry says: a module with a wrong type does not run.
    extensions_map = {  # noqa: RUF012 (it is an instance variable to the type checker)
        "": "application/octet-stream",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".json": "application/json",
    }

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _embed(models: Sequence[PathLike | ModelFile]) -> list[_Embedded]:
    embedded: list[_Embedded] = []
    for source in models:
        model = source if isinstance(source, ModelFile) else load_any(source)
        _check(model)
        document = _document(source, model)
        own, text = _json(document), embedded_text(document)
        marks = sum(map(own.count, '[{",'))
        length = max(len(own), len(text))
        if length > MAX_FILE or marks >= MAX_MARKS:
            raise ValueError(
                f"model: the widget reads up to {MAX_FILE:,} characters and {MAX_MARKS:,} names "
                f"and numbers, got {length:,} and {marks:,}; export it with --quantize int8"
            )
        plain = re.sub(r"[^\w-]+", "-", model.name, flags=re.ASCII).strip("-")[:40] or "model"
        taken = {each.name for each in embedded} | {"package", "custom-elements", "core", "demo"}
        taken |= {"mnistc", "index", *(file.removesuffix(".js") for file, _ in _DROP_INS.values())}
        name = next(n for n in _numbered(plain) if n not in taken)
        embedded.append(_Embedded(name, model, document, text))
    return embedded


def _check(model: ModelFile) -> None:
    """Refuse what the widget would refuse: see src/model.ts."""
    if tuple(model.input_shape) != (28, 28, 1):
        shape = " x ".join(map(str, model.input_shape))
        raise ValueError(f"model: the widget wants an input of 28 x 28 x 1, got {shape}")
    used = (model.preprocessing or {}).get("id", "strokes-v1")
    if used != "strokes-v1":
        raise ValueError(f"model: the widget wants the preprocessing strokes-v1, got {used!r}")
    if len(model.labels) > 100 or any(map(_is_long, model.labels)):
        raise ValueError("model: the widget wants up to 100 labels of up to 40 characters")
    if len(model.layers) > MAX_LAYERS or model.n_parameters > MAX_SIZE:
        raise ValueError(
            f"model: the widget wants up to {MAX_LAYERS} layers and {MAX_SIZE:,} weights, "
            f"got {len(model.layers)} and {model.n_parameters:,}"
        )
    rows = summarize(model.layers, model.input_shape).layers
    values = max(math.prod(row.output_shape) for row in rows)
    if values > MAX_SIZE:
        raise ValueError(
            f"model: the widget wants up to {MAX_SIZE:,} values from a layer, got {values:,}"
        )
    work = _work(model)
    if work > MAX_WORK:
        raise ValueError(
            f"model: the widget computes up to {MAX_WORK:,} multiply-adds a drawing, got {work:,}"
        )


def _is_long(label: str) -> bool:
    """Whether JavaScript counts more than 40 characters."""
    return len(label.encode("utf-16-le")) > 80


def _work(model: ModelFile) -> int:
    """Multiply-adds of a drawing, or what takes as long."""
    total, shape = 0, model.input_shape
    for layer in model.layers:
        output = layer.output_shape(shape)
        weight = next(iter(layer.weight_shapes(shape).values()), None)
        taps = math.prod(weight) // output[-1] if weight else getattr(layer, "pool_size", 1) ** 2
        quick = getattr(layer, "activation", "linear") in ("linear", "relu")
        total += math.prod(output) * (taps + (8 if quick else 12)) + math.prod(shape)
        shape = output
    return total


def _package(names: Iterable[str]) -> str:
    """The package's description for npm, of a folder of these files, without sources."""
    text = (Path(__file__).parent / "package.json").read_text("utf-8")
    package = json.loads(text.replace("./dist/", "./").replace("dist/", ""))
    for key in ("scripts", "devDependencies", "files"):
        del package[key]
    for name in names:  # also the models
        package["exports"].setdefault(f"./{name}", f"./{name}")
    return json.dumps(package, indent=2) + "\n"


def _numbered(name: str) -> list[str]:
    return [name, *(f"{name}-{i}" for i in range(2, 100))]


def _document(source: PathLike | ModelFile, model: ModelFile) -> dict[str, Any]:
    """The model's own file as it is, if it is one; else what would be written."""
    path = source
    if not isinstance(path, ModelFile):
        path = Path(path) if Path(path).is_file() else _shipped_paths().get(str(path), Path(path))
        if path.suffix == ".json":
            try:
                read_model(path)
            except FormatError:
                pass  # another format, which load_any has read
            else:
                return _parse(path.read_bytes())
    return _parse(format_model(model))


def _parse(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(data)
    return document


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def _drop_ins(embedded: list[_Embedded]) -> dict[str, _Embedded]:
    """A model for each of the original's two widgets: the site's own, or else a shipped one."""
    found: dict[str, _Embedded] = {}
    for each in embedded:
        found.setdefault("cnn" if each.is_convolutional else "mlp", each)
    for role in _DROP_INS:
        if role not in found:
            found[role] = _embed([role])[0] if role in shipped_names() else embedded[0]
    return found


def _demo_page(page: str, embedded: list[_Embedded], script: str) -> str:
    """The demo's template with the models in it."""
    digest = base64.b64encode(hashlib.sha384(script.encode()).digest()).decode()
    scripts = "".join(f'<script src="{each.name}.js"></script>\n' for each in embedded[1:])
    columns = "".join(map(_column, embedded))
    values = {"scripts": scripts, "models": columns, "integrity": f"sha384-{digest}"}
    return re.sub(r"<!--(\w+)-->", lambda match: values[match[1]], page)


def _column(each: _Embedded) -> str:
    facts = [f"{each.model.n_parameters:,} parameters"]
    accuracy = each.model.metrics.get("test_accuracy")
    if isinstance(accuracy, (int, float)):
        dataset = Path(str(each.model.training.get("dataset", "its data"))).name
        of = "the MNIST test set" if dataset == "mnist" else f"the test part of {dataset}"
        facts.append(f"{accuracy:.2%} on {of}")
    kind = "Convolutional network" if each.is_convolutional else "Fully connected network"
    return (
        f"<section>\n<h2>{kind}</h2>\n<p>{html.escape(', '.join(facts))}</p>\n"
        f'<mnistc-digit model="{each.name}"></mnistc-digit>\n</section>\n'
    )
