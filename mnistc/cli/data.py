"""``mnistc data fetch`` and ``mnistc data list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnistc.cli.output import emit, failures, say, usage

data_app = typer.Typer(
    help="Download datasets, and see which are at hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the datasets; else MNISTC_DATA, else the user's cache.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@data_app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="mnist, fashion_mnist, pendigits; mnist unless told."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Download datasets, unless they are at hand."""
    from mnistc import datasets

    known = [name for name in datasets.NAMES if name != "synthetic"]
    wanted = names or ["mnist"]
    for name in wanted:
        if name not in known:
            raise usage("NAMES", f"{name!r} is not one of {', '.join(known)}.")
    with failures(as_json):
        found = {name: [str(path) for path in datasets.fetch(name, data_dir)] for name in wanted}
        if as_json:
            emit({"datasets": found, "data": str(datasets.data_folder(data_dir))})
            return
        for name, paths in found.items():
            say(f"{name}: {Path(paths[0]).parent}")


@data_app.command(name="list")
def list_datasets(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show the datasets and whether they are at hand."""
    from mnistc import datasets

    with failures(as_json):
        folder = datasets.data_folder(data_dir)
        found = {
            name: True if name == "synthetic" else datasets.find(name, folder) is not None
            for name in datasets.NAMES
        }
        if as_json:
            emit({"data": str(folder), "datasets": found})
            return
        say(f"folder: {folder}")
        for name, there in found.items():
            state = "built in" if name == "synthetic" else "at hand" if there else "not here"
            say(f"  {name:14} {state}")
