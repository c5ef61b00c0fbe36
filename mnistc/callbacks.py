"""Things done along the way of a training: stop early, save checkpoints, write logs.

A callback sees the training as a `mnistc.training.Run`. Its methods run between minibatches, in
the thread that called `fit`.
"""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from mnistc.layers import check_float, check_int

if TYPE_CHECKING:
    from mnistc.training import Run

Logs = dict[str, float]


class Callback:
    """Base of the callbacks; every method may be left out."""

    def on_train_begin(self, run: Run) -> None:
        """Before the first minibatch, after a checkpoint was resumed."""

    def on_chunk_end(self, run: Run) -> None:
        """After every fraction of a second of training."""

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        """After an epoch and its validation; `logs` may be added to, ``run.stop = True`` ends."""

    def on_interrupt(self, run: Run) -> None:
        """On Ctrl-C, before KeyboardInterrupt goes on to the caller."""

    def on_train_end(self, run: Run) -> None:
        """At the end of training, interrupted or not, when the network has its final weights."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep: numbers, strings and arrays by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class EarlyStopping(Callback):
    """Stop when a figure has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
        Name in the epoch's figures; the smallest is best, for an accuracy the largest.
    patience : int
        Epochs without improvement before the training stops.
    min_delta : float
        Smallest change that counts as an improvement.
    restore_best : bool
        Leave the network with the weights of the best epoch rather than those of the last.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 3,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience = check_int("patience", patience, 1, 1 << 30)
        self.min_delta = check_float("min_delta", min_delta, 0.0, math.inf)
        self.restore_best = restore_best
        self._reset()

    def _reset(self) -> None:
        self.best = math.inf
        self.best_epoch = 0
        self._snapshot: tuple[Any, Any] | None = None
        self._resumed = False

    def on_train_begin(self, run: Run) -> None:
        if not self._resumed:  # it knows of another training at most
            self._reset()
        self._resumed = False

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        if self.monitor not in logs:
            raise ValueError(
                f"monitor must be one of {', '.join(logs)}; got {self.monitor!r}"
                + (" (fit needs validation_data for it)" * self.monitor.startswith("val_"))
            )
        value = logs[self.monitor] * (-1 if self.monitor.endswith("accuracy") else 1)
        if value < self.best - self.min_delta:
            self.best, self.best_epoch = value, run.epoch
            self._snapshot = run.snapshot() if self.restore_best else None
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop = True

    def on_train_end(self, run: Run) -> None:
        if self._snapshot is not None:
            run.restore(self._snapshot)
            self._snapshot = None

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"best": self.best, "best_epoch": self.best_epoch}
        if self._snapshot is not None:
            state["parameters"], state["state"] = self._snapshot
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._reset()
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        if "parameters" in state:
            self._snapshot = (state["parameters"], state["state"])
        self._resumed = True


class Checkpoint(Callback):
    """Save all that a training needs to go on, so that it can be killed at any moment.

    The file is replaced in one step, so it is whole at all times. ``fit(..., resume=path)``
    goes on from it and ends with the same weights to the bit as a training never interrupted.

    Parameters
    ----------
    path : path
        A file that ends in ``.npz``.
    every_epochs : int
    every_seconds : float, optional
        Also save within an epoch, this often.
    """

    def __init__(
        self, path: str | Path, every_epochs: int = 1, every_seconds: float | None = None
    ) -> None:
        self.path = Path(path)
        if self.path.suffix != ".npz":
            raise ValueError(f"path of a checkpoint must end in .npz, got {str(path)!r}")
        self.every_epochs = check_int("every_epochs", every_epochs, 1, 1 << 30)
        if every_seconds is not None:
            every_seconds = check_float("every_seconds", every_seconds, 0.0, math.inf)
        self.every_seconds = every_seconds
        self._fingerprint: dict[str, Any] = {}
        self._saved = 0.0

    def _save(self, run: Run) -> None:
        from mnistc.checkpoint import write_checkpoint

        write_checkpoint(self.path, run, self._fingerprint)
        self._saved = time.monotonic()

    def on_train_begin(self, run: Run) -> None:
        from mnistc.checkpoint import fingerprint

        if not self.path.parent.is_dir():  # better now than after epochs of work
            raise FileNotFoundError(
                f"path of a checkpoint must be in a folder that exists, got {str(self.path)!r}"
            )
        # Examples may have been renewed for the epoch that a resumed training goes on with.
        self._fingerprint = run.fingerprint or fingerprint(run.plan, run.model)
        self._saved = time.monotonic()

    def on_chunk_end(self, run: Run) -> None:
        due = self.every_seconds
        if due is not None and time.monotonic() - self._saved >= due:
            self._save(run)

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        if run.epoch % self.every_epochs == 0 or run.epoch == run.epochs:
            self._save(run)

    def on_interrupt(self, run: Run) -> None:
        self._save(run)


class CSVLog(Callback):
    """Write one line of figures an epoch to a CSV file; a resumed training goes on with it.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None
        self._names: list[str] = []

    def on_train_begin(self, run: Run) -> None:
        self._file = self.path.open("w", newline="", encoding="utf-8")
        self._begin(self._file, run.history.epochs)  # of the training that is resumed

    def _begin(self, file: TextIO, epochs: list[Logs]) -> None:
        """Write the names of all figures, and the lines so far."""
        self._names = list(dict.fromkeys(name for epoch in epochs for name in epoch))
        file.seek(0)
        file.truncate()
        if self._names:
            csv.writer(file).writerow(self._names)
        for epoch in epochs:
            self._write(file, epoch)

    def _write(self, file: TextIO, logs: Logs) -> None:
        csv.writer(file).writerow([logs.get(name, "") for name in self._names])
        file.flush()

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        if self._file is None:
            return
        if all(name in self._names for name in logs):
            self._write(self._file, logs)
        else:  # some figures come late: from validation when resumed, or every tenth epoch
            self._begin(self._file, [*run.history.epochs[:-1], logs])

    def on_train_end(self, run: Run) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class LearningRateLog(Callback):
    """Keep the learning rate of every step under ``rates`` (a list of one array an epoch)."""

    def __init__(self) -> None:
        self.rates: list[Any] = []

    def on_train_begin(self, run: Run) -> None:
        self.rates = []

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        self.rates.append(run.learning_rates.copy())


class LambdaCallback(Callback):
    """Call a function with the figures of each epoch.

    Parameters
    ----------
    on_epoch_end : callable
        Gets the number of epochs done and a dict of figures; returns True to stop.
    """

    def __init__(self, on_epoch_end: Any) -> None:
        self._function = on_epoch_end

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        answer = self._function(run.epoch, dict(logs))
        if isinstance(answer, (bool, np.bool_)) and answer:  # comparisons may be NumPy's
            run.stop = True


def check_callbacks(callbacks: object) -> list[Callback]:
    """Return callbacks as a list; checkpoints go last, to save what the others did."""
    if callbacks is None:
        return []
    found = [callbacks] if isinstance(callbacks, Callback) else callbacks
    if not isinstance(found, (list, tuple)) or not all(isinstance(c, Callback) for c in found):
        raise TypeError(f"callbacks must be a list of mnistc.callbacks.Callback, got {callbacks!r}")
    return sorted(found, key=lambda callback: isinstance(callback, Checkpoint))


__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateLog",
]
