"""The commands. Each one reads arguments, calls the package and says what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import mnistc
from mnistc.cli.data import DataDir, Json, data_app
from mnistc.cli.output import emit, failures, note, say, usage
from mnistc.cli.training import TrainArguments, run_training

app = typer.Typer(
    name="mnistc",
    help="Train a digit recogniser on an ordinary CPU in seconds, and put it on a web page.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

Model = Annotated[
    str,
    typer.Argument(
        help="A model file, the original's JSON, a TensorFlow.js model.json, or a shipped name.",
        show_default=False,
    ),
]
DatasetName = Annotated[
    str, typer.Option(help="auto, mnist, fashion_mnist, pendigits, synthetic, or a path.")
]
Threads = Annotated[int, typer.Option(help="0: all that the process may use.", min=0, max=256)]


def _version(value: bool) -> None:
    if value:
        say(f"mnistc {mnistc.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def train(
    recipe: Annotated[str, typer.Option(help="See `mnistc info` for all.")] = "quick",
    dataset: DatasetName = "auto",
    epochs: Annotated[
        int | None,
        typer.Option(help="In place of the recipe's own number.", min=1, max=1_000_000),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=(1 << 63) - 1)] = 0,
    threads: Threads = 0,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("mnistc-model.json"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Keep a checkpoint (.npz) there after each epoch and on Ctrl-C."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on from that checkpoint, and keep it.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="CSV file for the figures of epochs.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, or bf16: faster with the kernels avx512bf16 and amx.")
    ] = "float32",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Train a network by a recipe and write a model file."""
    from mnistc import recipes

    if recipe not in recipes.REGISTRY:
        raise usage("--recipe", f"{recipe!r} is not one of {', '.join(recipes.names())}.")
    if precision not in ("float32", "bf16"):
        raise usage("--precision", f"{precision!r} is not one of float32, bf16.")
    for option, path in (("--checkpoint", checkpoint), ("--resume", resume)):
        if path is not None and path.suffix != ".npz":
            raise usage(option, f"{str(path)!r} must end in .npz.")
    with failures(as_json):
        run_training(
            TrainArguments(
                recipe=recipes.get(recipe),
                dataset=dataset,
                data_dir=data_dir,
                epochs=epochs,
                seed=seed,
                threads=threads,
                out=out,
                checkpoint=checkpoint,
                resume=resume,
                log=log,
                precision=precision,
                as_json=as_json,
            )
        )


@app.command()
def evaluate(
    model: Model,
    dataset: DatasetName = "auto",
    threads: Threads = 0,
    gallery: Annotated[
        Path | None, typer.Option(help="Picture to write of the worst mistakes.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure a model on the test part of a dataset."""
    from mnistc.cli.evaluation import run_evaluation

    with failures(as_json):
        run_evaluation(model, dataset, data_dir, threads, gallery, as_json)


@app.command()
def predict(
    model: Model,
    images: Annotated[
        list[Path], typer.Argument(help="PNG or JPEG files, of any size.", metavar="IMAGE...")
    ],
    as_json: Json = False,
) -> None:
    """Recognise the digit on each image, black on white or white on black."""
    from mnistc.cli.evaluation import run_prediction

    with failures(as_json):
        run_prediction(model, images, as_json)


FORMATS = ("json", "original-json", "csv", "npz", "safetensors", "onnx", "tfjs")
QUANTIZATIONS = ("int8", "float16")


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, or folder.")],
    file_format: Annotated[str, typer.Option("--format", help=", ".join(FORMATS) + ".")] = "json",
    quantize: Annotated[
        str | None, typer.Option(help="Store the weights as int8 or float16.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model in another format."""
    if file_format not in FORMATS:
        raise usage("--format", f"{file_format!r} is not one of {', '.join(FORMATS)}.")
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise usage("--quantize", f"{quantize!r} is not one of {', '.join(QUANTIZATIONS)}.")
    with failures(as_json):
        from mnistc import formats

        loaded = formats.load_any(model)
        formats.export(loaded, file_format, out, quantize)
        if as_json:
            emit(
                {
                    "model": model,
                    "out": str(out),
                    "format": file_format,
                    "quantize": quantize,
                    "parameters": loaded.n_parameters,
                }
            )
        else:
            say(f"wrote {out}")


@app.command()
def widget(
    model: Annotated[
        str | None,
        typer.Argument(help="Model for the widget; the shipped ones unless told."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("widget"),
    serve: Annotated[bool, typer.Option("--serve", help="Show it at a local address.")] = False,
    port: Annotated[int, typer.Option(help="Of --serve; 0: a free one.", min=0, max=65535)] = 8000,
    as_json: Json = False,
) -> None:
    """Write the web widget with a model in it: one script tag for any page."""
    with failures(as_json):
        from mnistc import widget as site

        files = site.write_site(out, models=None if model is None else [model])

        def tell() -> None:
            if as_json:
                emit({"out": str(out), "files": list(map(str, files)), "model": model})
            else:
                say(f"wrote {out}: open {out / 'index.html'} or copy the files to your site")

        def ready(port: int) -> None:  # only now nothing can fail any more
            tell()
            note(f"http://localhost:{port}/ (Ctrl-C ends)")

        if serve:
            site.serve(out, port, ready)
        else:
            tell()


@app.command()
def info(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show versions, kernels, threads, recipes and models."""
    with failures(as_json):
        values = _information(data_dir)
        if as_json:
            emit(values)
            return
        for name, value in values.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            if name not in ("recipes", "cpu"):
                say(f"{name:10} {text}")
        features = [name for name, there in values["cpu"].items() if there]
        say(f"{'cpu':10} {', '.join(features) or 'no special features'}")
        say("recipes")
        for recipe in values["recipes"]:
            say(f"  {recipe['name']:14} {recipe['description']}")


def _information(data_dir: Path | None) -> dict[str, Any]:
    import platform

    import numpy as np

    from mnistc import _core, datasets, formats, recipes

    return {
        "version": mnistc.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "kernels": _core.kernels(),
        "bf16": {"avx512bf16": "pairs", "amx": "tiles"}.get(_core.kernels(), "float32 loops"),
        "available": _core.available_kernels(),
        "threads": _core.default_threads(),
        "data": str(datasets.data_folder(data_dir)),
        "models": list(formats.shipped_names()),
        "cpu": _core.cpu_features(),
        "recipes": [
            {"name": r.name, "description": r.description, "expected": r.expected}
            for r in recipes.REGISTRY.values()
        ],
    }
