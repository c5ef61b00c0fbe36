"""What a recipe trains on: images that may be other ones in each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.callbacks import Callback, Logs

if TYPE_CHECKING:
    from mnistc.training import Run


class Examples:
    """Images and what a network is to say of them.

    Attributes
    ----------
    images : (n, height, width) uint8 array
    targets : (n,) int32 or (n, classes) float32 array
        Classes, or their probabilities.
    """

    def __init__(self, images: npt.NDArray[np.uint8], targets: npt.NDArray[Any]) -> None:
        self.images = np.ascontiguousarray(images)
        self.targets = np.ascontiguousarray(targets, np.int32 if targets.ndim == 1 else np.float32)

    def renew(self, epoch: int) -> None:
        """Make the arrays those of an epoch, in place; here they are always the same."""


class Renewal(Callback):
    """Renew the examples that are trained on before each epoch.

    A checkpoint knows a training by the images of its first epoch, which a resumed one begins with
    too, before they are renewed.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def on_train_begin(self, run: Run) -> None:
        self.examples.renew(run.epoch)

    def on_epoch_end(self, run: Run, logs: Logs) -> None:
        if run.epoch < run.epochs:
            self.examples.renew(run.epoch)
