"""What a recipe is, and how it is followed."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mnistc.augment import Augment
from mnistc.batch_norm import update_batch_norm
from mnistc.callbacks import Callback, Checkpoint, CSVLog
from mnistc.ensemble import copy_into, ensemble
from mnistc.history import History
from mnistc.layers import Layer, Shape
from mnistc.model import PathLike, Sequential
from mnistc.optimizers import Adam, Optimizer
from mnistc.recipes.distil import Distillation, harden
from mnistc.recipes.examples import Examples, Renewal
from mnistc.schedules import Constant, Schedule

if TYPE_CHECKING:
    from mnistc.datasets import Dataset

Build = Callable[[Shape, int], list[Layer]]
DataDir = str | Path | None
Prepare = Callable[["Dataset", int, DataDir], Examples]


@dataclass(frozen=True)
class Result:
    """What a recipe made.

    Attributes
    ----------
    network : Sequential
    history : History
    seconds : float
        Of training, without loading data and without a last evaluation.
    """

    network: Sequential
    history: History
    seconds: float

    @property
    def seconds_per_epoch(self) -> float:
        return self.seconds / max(len(self.history.epochs), 1)


@dataclass(frozen=True)
class Recipe:
    """A training that anyone can repeat: the network, the data and every setting.

    Attributes
    ----------
    name, description : str
    build : callable
        From an input shape and a number of classes to layers.
    dataset : str
        The dataset that it is meant for, and that `expected` speaks of.
    epochs, batch_size, optimizer, schedule, loss, label_smoothing, augment, ema
        As in `Sequential.fit`.
    prepare : callable, optional
        From the training set, a seed and the datasets' folder (None: as in `datasets.load`) to
        `Examples`, where more than the set itself is trained on.
    distillation : Distillation, optional
        Where a teacher's answers to copies of the first epoch's examples are learnt in place of
        the labels. The network must end in a dense layer with softmax.
    members : int
        Networks that are trained one after the other, each with a seed of its own, and joined
        (see `mnistc.ensemble`). Files of checkpoints and figures are numbered then:
        ``kept-1.npz``, ``kept-2.npz``...
    expected : str
        Accuracy and time that were measured.
    """

    name: str
    description: str
    build: Build
    dataset: str = "mnist"
    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Constant)
    loss: str = "softmax_cross_entropy"
    label_smoothing: float = 0.0
    augment: Augment | None = None
    ema: float = 0.0
    prepare: Prepare | None = None
    distillation: Distillation | None = None
    members: int = 1
    expected: str = ""

    def network(
        self, input_shape: Shape = (28, 28, 1), classes: int = 10, seed: int = 0
    ) -> Sequential:
        """The network of this recipe before training."""
        networks = self._networks(input_shape, classes, seed)
        return networks[0] if self.members == 1 else ensemble(networks)

    def _networks(self, input_shape: Shape, classes: int, seed: int) -> list[Sequential]:
        seeds = range(seed * self.members, (seed + 1) * self.members)
        return [Sequential(self.build(input_shape, classes), input_shape, own) for own in seeds]

    def train(
        self,
        data: Dataset,
        *,
        validation: Dataset | None = None,
        epochs: int | None = None,
        seed: int = 0,
        n_threads: int = 0,
        callbacks: Iterable[Callback] = (),
        resume: PathLike | None = None,
        verbose: int = 1,
        network: Sequential | None = None,
        data_dir: DataDir = None,
        precision: str = "float32",
    ) -> Result:
        """Follow the recipe, and take the statistics of batch normalisations anew at the end.

        They are those of the images as they are then (see `mnistc.update_batch_norm`), not of
        the changed ones that were trained on.

        Parameters
        ----------
        data : Dataset
            To train on.
        validation : Dataset, optional
            Evaluated after each epoch; it changes nothing of the result.
        epochs : int, optional
            In place of the recipe's own number.
        seed, n_threads, callbacks, resume, verbose
            As in `Sequential.fit`; of several members those after the one that was interrupted
            are trained from the beginning.
        network : Sequential, optional
            Made by `network`; give it to keep hold of it when the training is interrupted.
        data_dir : path, optional
            Folder of further datasets that the recipe wants.
        precision : {"float32", "bf16"}
            As in `Sequential.fit`; what recipes promise was measured in float32.
        """
        if network is None:
            network = self.network_for(data, seed)
        examples = (
            Examples(data.images, data.labels)
            if self.prepare is None
            else self.prepare(data, seed, data_dir)
        )
        if self.distillation is not None:
            examples = Examples(
                *self.distillation.pool(
                    examples.images, examples.targets, network.classes, seed, n_threads
                )
            )
        held_out = None if validation is None else (validation.images, validation.labels)
        callbacks, history = list(callbacks), History()
        began = time.perf_counter()

        def fit(one: Sequential, seed: int, number: int | None = None) -> None:
            """Train one network, the `number`-th if there are several."""
            if number is not None:
                examples.renew(0)  # checkpoints know a training by these
            trained = one.fit(
                examples.images,
                examples.targets,
                epochs=self.epochs if epochs is None else epochs,
                batch_size=self.batch_size,
                optimizer=self.optimizer,
                schedule=self.schedule,
                loss=self.loss,
                label_smoothing=self.label_smoothing,
                augment=self.augment,
                ema=self.ema,
                validation_data=held_out,
                callbacks=[
                    *(callbacks if number is None else _numbered(callbacks, number)),
                    Renewal(examples),
                ],
                seed=seed,
                n_threads=n_threads,
                resume=resume if number is None else _kept(resume, number),
                precision=precision,
                verbose=verbose,
            )
            for epoch in trained.epochs:
                history.append({**epoch, "epoch": len(history.epochs) + 1})

        try:
            if self.members == 1:
                fit(network, seed)
            else:
                self._train_members(network, seed, fit)
            update_batch_norm(network, examples.images, n_threads)
        except KeyboardInterrupt:
            self._finish(network)
            raise
        self._finish(network)
        return Result(network, history, time.perf_counter() - began)

    def _train_members(self, network: Sequential, seed: int, fit: Callable[..., None]) -> None:
        """Train each member with `fit` and join them in `network`."""
        members = self._networks(network.input_shape, network.classes, seed)
        try:
            for number, member in enumerate(members, 1):
                fit(member, member.seed, number)
        finally:
            copy_into(network, members)

    def _finish(self, network: Sequential) -> None:
        """Bring a pupil's answers back from the teacher's temperature."""
        if self.distillation is not None:
            harden(network, self.distillation.temperature)

    def network_for(self, data: Dataset, seed: int = 0) -> Sequential:
        """The network before training, with the input and the classes that `data` has."""
        height, width, channels = (*data.images.shape[1:], 1)[:3]
        network = self.network((height, width, channels), len(data.class_names), seed)
        network.metadata.update(name=self.name, labels=list(data.class_names), license="MIT")
        return network


def _own_path(path: PathLike, number: int) -> Path:
    """What a member's file is called: ``kept-1.npz`` for ``kept.npz``."""
    return Path(path).with_stem(f"{Path(path).stem}-{number}")


def _numbered(callbacks: Iterable[Callback], number: int) -> list[Callback]:
    """The callbacks for one member, which write files of its own."""
    own = []
    for callback in callbacks:
        if isinstance(callback, (Checkpoint, CSVLog)):
            callback = copy.copy(callback)
            callback.path = _own_path(callback.path, number)
        own.append(callback)
    return own


def _kept(resume: PathLike | None, number: int) -> Path | None:
    """A member's checkpoint, if training got as far; the first member must have one."""
    if resume is None:
        return None
    path = _own_path(resume, number)
    return path if number == 1 or path.exists() else None
