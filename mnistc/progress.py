"""The progress bar of a training: on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistc.training import Run


class Progress:
    """Shows rate, loss, accuracy and time left.

    Parameters
    ----------
    verbose : int
        0 is silent, 1 shows a bar on a terminal and nothing elsewhere, 2 writes a line an epoch.
    """

    def __init__(self, verbose: int) -> None:
        self._lines = verbose >= 2
        self._bar: Any = None
        self._task: Any = None
        self._show = verbose == 1 and sys.stderr is not None and sys.stderr.isatty()
        self._began = 0.0
        self._first = 0

    def __enter__(self) -> Progress:
        if self._show:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[figures]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                auto_refresh=False,  # no thread beside the core's
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, run: Run) -> None:
        """Start the clock of an epoch."""
        self._began, self._first = time.perf_counter(), run.steps_done
        if self._bar is not None and self._task is None:
            total = (run.epochs - run.epoch) * run.plan.steps_per_epoch
            self._task = self._bar.add_task("training", total=total, figures="")
            self._offset = run.epoch * run.plan.steps_per_epoch

    def update(self, run: Run) -> None:
        """Show where the epoch is."""
        if self._bar is None:
            return
        steps, plan = run.steps_done, run.plan
        images = max(1, min(steps * plan.batch_size, len(plan.x)))
        seconds = max(time.perf_counter() - self._began, 1e-6)
        rate = (steps - self._first) * plan.batch_size / seconds
        self._bar.update(
            self._task,
            completed=run.epoch * plan.steps_per_epoch + steps - self._offset,
            description=f"epoch {run.epoch + 1}/{run.epochs}",
            figures=f"loss {run.loss_sum / images:.4f}  accuracy {run.right / images:.2%}  "
            f"{rate:,.0f} images/s",
            refresh=True,
        )

    def end(self, run: Run, logs: dict[str, float]) -> None:
        """Leave one line of figures for the epoch that is done."""
        parts = [f"epoch {run.epoch}/{run.epochs}"]
        for name, value in logs.items():
            if name.endswith("accuracy"):
                parts.append(f"{name} {value:.2%}")
            elif name.endswith("loss"):
                parts.append(f"{name} {value:.4f}")
        parts.append(f"{logs['seconds']:.2f} s")
        if self._bar is not None:
            self._bar.console.print("  ".join(parts), highlight=False)
        elif self._lines and sys.stderr is not None:
            print("  ".join(parts), file=sys.stderr, flush=True)
