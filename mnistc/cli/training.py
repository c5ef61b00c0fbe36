"""``mnistc train``."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistc.callbacks import Callback, Checkpoint, CSVLog
from mnistc.cli.output import emit, fail, note, say
from mnistc.datasets import Dataset
from mnistc.model import Sequential
from mnistc.recipes import Recipe


@dataclass(frozen=True)
class TrainArguments:
    """Arguments of the command, checked."""

    recipe: Recipe
    dataset: str
    data_dir: Path | None
    epochs: int | None
    seed: int
    threads: int
    out: Path
    checkpoint: Path | None
    resume: Path | None
    log: Path | None
    precision: str
    as_json: bool

    def callbacks(self) -> list[Callback]:
        found: list[Callback] = []
        if self.log is not None:
            found.append(CSVLog(self.log))
        keep = self.checkpoint or self.resume
        if keep is not None:
            found.append(Checkpoint(keep))
        return found


def run_training(arguments: TrainArguments) -> None:
    """Load the data, train, measure, save and tell."""
    from mnistc import datasets

    _check_writable("--out", arguments.out)
    _check_writable("--checkpoint", arguments.checkpoint)
    train, test = datasets.load(arguments.dataset, arguments.data_dir)
    if train.notice:
        note(f"NOTE: {train.notice}")
    recipe = arguments.recipe
    if not arguments.as_json:
        note(f"training {recipe.name} on {train.name}: {len(train):,} images")
    network = recipe.network_for(train, arguments.seed)
    epochs = recipe.epochs if arguments.epochs is None else arguments.epochs
    try:
        result = recipe.train(
            train,
            epochs=epochs,
            seed=arguments.seed,
            n_threads=arguments.threads,
            callbacks=arguments.callbacks(),
            resume=arguments.resume,
            network=network,
            data_dir=arguments.data_dir,
            precision=arguments.precision,
        )
        scores = network.evaluate(test.images, test.labels, n_threads=arguments.threads)
    except KeyboardInterrupt:
        with _undisturbed():
            network.save(arguments.out)
            text = f"interrupted; the network as it was is in {arguments.out}"
            raise fail(text, arguments.as_json, model=str(arguments.out)) from None
    done = len(result.history.epochs)
    with _undisturbed():
        _save(network, arguments, train, scores, done)
    values = {
        **_facts(network, train, arguments.threads),
        **scores,
        "seconds": result.seconds,
        "seconds_per_epoch": result.seconds_per_epoch,
        "epochs": done,
        "images": len(train),
        "seed": arguments.seed,
        "recipe": recipe.name,
        "precision": arguments.precision,
        "model": str(arguments.out),
    }
    if train.notice:
        values["notice"] = train.notice
    if arguments.as_json:
        emit(values)
    else:
        _tell(values, len(test))


def _check_writable(option: str, path: Path | None) -> None:
    """Fail before the training rather than after it, or after its first epoch."""
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(21, f"{option} must be a file, this is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path.parent))
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PermissionError(13, "cannot write", str(path))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no further Ctrl-C, of someone who presses it twice, lose what is being saved."""
    if threading.current_thread() is not threading.main_thread():
        yield  # it never arrives here
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _facts(network: Sequential, data: Dataset, threads: int) -> dict[str, Any]:
    from mnistc import _core

    return {
        "dataset": data.name,
        "parameters": network.n_parameters,
        "kernels": network.core.kernels,
        "threads": threads or _core.default_threads(),
    }


def _save(
    network: Sequential,
    arguments: TrainArguments,
    data: Dataset,
    scores: dict[str, float],
    epochs: int,
) -> None:
    training = {
        "dataset": data.name,
        "dataset_sha256": dict(data.sha256),
        "recipe": arguments.recipe.name,
        "epochs": epochs,
        "seed": arguments.seed if arguments.seed <= 2**53 else str(arguments.seed),  # as JSON can
    }
    metrics = {"test_accuracy": scores["accuracy"], "test_loss": scores["loss"]}
    network.save(arguments.out, training=training, metrics=metrics)


def _tell(values: dict[str, Any], tested: int) -> None:
    say(
        f"{values['accuracy']:.2%} right on {tested:,} test images of {values['dataset']} after "
        f"{values['epochs']} epochs, {values['seconds']:.1f} s "
        f"({values['kernels']} kernels, threads: {values['threads']})"
    )
    say(f"model written to {values['model']}; look at it with")
    say(f"  mnistc evaluate {values['model']} --dataset {values['dataset']}")
    say(f"  mnistc predict {values['model']} photo-of-a-digit.png")
    say(f"  mnistc widget {values['model']} -o widget --serve")
