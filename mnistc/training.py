"""The loop of `Sequential.fit`: epochs, chunks of minibatches, validation, callbacks, Ctrl-C.

The C core runs a chunk of minibatches at a time, long enough to cost nothing and short enough
(about 0.15 s) that progress is live and Ctrl-C is answered at once. How a training is cut into
chunks changes nothing of its result.
"""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from mnistc import _core
from mnistc.callbacks import Callback
from mnistc.history import History
from mnistc.optimizers import Optimizer
from mnistc.progress import Progress
from mnistc.schedules import Schedule

if TYPE_CHECKING:
    from mnistc.model import Sequential

_CHUNK_SECONDS = 0.15
_PATIENCE_SECONDS = 10.0

Array = npt.NDArray[Any]
Snapshot = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the result of a training, besides the network and its kernels.

    Arrays are as `mnistc.arrays` returns them; the rest is checked by `Sequential.fit`.
    """

    x: Array
    targets: Array
    sample_weight: npt.NDArray[np.float32] | None
    validation: tuple[Array, Array, npt.NDArray[np.float32] | None] | None
    epochs: int
    initial_epoch: int
    batch_size: int
    optimizer: Optimizer
    schedule: Schedule
    loss: str
    label_smoothing: float
    ema: float
    augment: dict[str, float] | None
    shuffle: bool
    seed: int
    precision: str
    n_threads: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def trainer(self, network: _core.Network) -> _core.Trainer:
        return _core.Trainer(
            network,
            batch_size=self.batch_size,
            loss=self.loss,
            label_smoothing=self.label_smoothing,
            ema_decay=self.ema,
            seed=self.seed,
            augment=self.augment,
            precision=self.precision,
            **self.optimizer.core_options(),
        )

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Images of an epoch in the order of training, shape (n,)."""
        if not self.shuffle:
            return np.arange(len(self.x), dtype=np.int64)
        return _core.permutation(len(self.x), self.seed, epoch)

    def learning_rates(self, epoch: int) -> npt.NDArray[np.float32]:
        """Learning rate of every step of an epoch."""
        per_epoch = self.steps_per_epoch
        return self.schedule.rates(
            self.optimizer.learning_rate,
            epoch * per_epoch,
            per_epoch,
            self.epochs * per_epoch,
            per_epoch,
        )


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    model : Sequential
    plan : Plan
    history : History
    epoch : int
        Epochs done; the epoch under way has this number, counted from 0.
    stop : bool
        Set it to end the training after this epoch.
    resumed : bool
        Whether the training began from a checkpoint.
    learning_rates : (steps,) float32 array
        Of the steps of this epoch.
    """

    model: Sequential
    plan: Plan
    trainer: _core.Trainer
    callbacks: list[Callback]
    history: History = field(default_factory=History)
    epoch: int = 0
    first_step: int = 0  # the trainer's step at the start of this epoch
    loss_sum: float = 0.0
    right: int = 0
    seconds: float = 0.0  # spent on this epoch
    stop: bool = False
    resumed: bool = False
    fingerprint: dict[str, Any] | None = None  # that of the checkpoint begun from
    learning_rates: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(0, dtype=np.float32)
    )

    @property
    def epochs(self) -> int:
        return self.plan.epochs

    @property
    def steps_done(self) -> int:
        """Steps of this epoch done; counted by the core, so it is right at any interruption."""
        return self.trainer.step - self.first_step

    def snapshot(self) -> Snapshot:
        """Copies of the weights and running statistics that the network would be left with."""
        network, trainer = self.model.core, self.trainer
        if trainer.ema is None:
            return network.parameters.copy(), network.state.copy()
        state = network.state if trainer.ema_state is None else trainer.ema_state
        return trainer.ema.copy(), state.copy()

    def restore(self, snapshot: Snapshot) -> None:
        """Give the network these weights."""
        self.model.core.parameters[:], self.model.core.state[:] = snapshot

    def forget_averages(self) -> None:
        """Make the averaged weights those that the network has now."""
        if self.trainer.ema is not None:
            self.trainer.ema[:] = self.model.core.parameters
        if self.trainer.ema_state is not None:
            self.trainer.ema_state[:] = self.model.core.state

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lend the network its averaged weights, if there are any."""
        if self.trainer.ema is None:
            yield
            return
        raw = self.model.core.parameters.copy(), self.model.core.state.copy()
        self.restore(self.snapshot())
        try:
            yield
        finally:
            self.restore(raw)


class Interrupt:
    """Turn Ctrl-C into a question asked between chunks, so that it never strikes in the middle.

    A second Ctrl-C strikes at once. Outside the main thread, or where the program has a handler
    of its own, nothing is changed.
    """

    def __init__(self) -> None:
        self.pending = False
        self._installed = False

    def _handle(self, number: int, frame: Any) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True

    def __enter__(self) -> Interrupt:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending and kind is None:  # it came when there was no chunk left to ask after
            raise KeyboardInterrupt

    def check(self) -> None:
        if self.pending:
            raise KeyboardInterrupt


def train(run: Run, progress: Progress) -> None:
    """Train until the last epoch or until a callback says stop.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, when the callbacks have been told; the network has its latest weights.
    ValueError
        When the loss or the running statistics are no longer finite; the network has the weights
        of the last good epoch.
    """
    model = run.model
    with Interrupt() as interrupt, progress, ExitStack() as ends:
        try:
            for callback in run.callbacks:
                callback.on_train_begin(run)
                ends.callback(callback.on_train_end, run)  # all of them, whatever one raises
            model.loss = run.plan.loss
            for stale in ("metrics", "training", "test_vectors"):
                model.metadata.pop(stale, None)
            while run.epoch < run.epochs and not run.stop:
                _train_epoch(run, progress, interrupt)
        except KeyboardInterrupt:
            for callback in run.callbacks:
                try:
                    callback.on_interrupt(run)
                except Exception as error:  # the caller still hears of Ctrl-C, and has the network
                    warnings.warn(f"{type(callback).__name__}: {error}", stacklevel=2)
            raise
        finally:
            run.restore(run.snapshot())  # the averaged weights stay


def _train_epoch(run: Run, progress: Progress, interrupt: Interrupt) -> None:
    plan = run.plan
    started = time.perf_counter() - run.seconds
    run.learning_rates = plan.learning_rates(run.epoch)
    progress.begin(run)
    good = run.snapshot()
    for finite in _chunks(run):
        run.seconds = time.perf_counter() - started
        if not finite:
            _diverged(run, good)
        progress.update(run)
        for callback in run.callbacks:
            callback.on_chunk_end(run)
        interrupt.check()
    if not np.isfinite(run.model.core.parameters).all():  # a rectifier may hide it from the loss
        _diverged(run, good)
    if not np.isfinite(run.model.core.state).all():  # a channel that varies too much is constant
        _forget(run, good)
        raise ValueError(
            f"running statistics are not finite in epoch {run.epoch + 1}: a BatchNorm gets values "
            "too large for float32"
        )
    logs = {
        "epoch": run.epoch + 1,
        "loss": run.loss_sum / len(plan.x),
        "accuracy": run.right / len(plan.x),
    }
    if plan.validation is not None:
        with run.averaged():
            scores = run.model.score_arrays(
                *plan.validation, plan.loss, plan.n_threads, interrupt.check
            )
        logs.update({f"val_{name}": value for name, value in scores.items()})
    logs["learning_rate"] = float(run.learning_rates[-1])
    logs["seconds"] = run.seconds = time.perf_counter() - started
    _finish_epoch(run, logs)
    progress.end(run, logs)
    for callback in run.callbacks:
        callback.on_epoch_end(run, logs)
        run.history.epochs[-1].update(logs)  # a checkpoint, which comes last, saves it
    interrupt.check()


def _forget(run: Run, good: Snapshot) -> None:
    """Leave the network with the weights of the last good epoch."""
    run.restore(good)
    run.forget_averages()


def _diverged(run: Run, good: Snapshot) -> NoReturn:
    _forget(run, good)
    raise ValueError(
        f"the loss is not finite in epoch {run.epoch + 1}: learning_rate "
        f"{run.plan.optimizer.learning_rate:g} may be too high"
    )


def _finish_epoch(run: Run, logs: dict[str, float]) -> None:
    """Count the epoch and set the sums to zero for the next."""
    run.epoch += 1
    run.first_step = run.trainer.step
    run.loss_sum, run.right, run.seconds = 0.0, 0, 0.0
    run.history.append(logs)


def _chunks(run: Run) -> Iterator[bool]:
    """Run the rest of an epoch chunk by chunk; yields whether all is finite."""
    plan = run.plan
    order = plan.order(run.epoch)
    grain = run.trainer.grain
    steps = grain
    while run.steps_done < plan.steps_per_epoch:
        first = run.steps_done
        last = min(first + steps, plan.steps_per_epoch)
        began = time.perf_counter()
        run.model.weights.settle()
        loss, right, finite = _run_steps(
            run,
            order[first * plan.batch_size : last * plan.batch_size],
            run.learning_rates[first:last],
        )
        run.loss_sum += loss
        run.right += right
        yield finite
        rate = (last - first) / max(time.perf_counter() - began, 1e-6)
        steps = min(int(rate * _CHUNK_SECONDS), 4 * steps)
        steps = max(grain, steps - steps % grain)


def _run_steps(run: Run, order: Array, rates: Array) -> tuple[float, int, bool]:
    """Train on the images of `order`, as soon as no other thread predicts with the network."""
    plan, patience = run.plan, time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return run.trainer.run(
                plan.x, plan.targets, plan.sample_weight, order, rates, run.epoch, plan.n_threads
            )
        except RuntimeError:
            if time.monotonic() > patience:
                raise
            time.sleep(1e-4)
