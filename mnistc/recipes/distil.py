"""Distillation: a small network learns what a larger one says, of images that are new to both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc import augment as augmentation
from mnistc.augment import Augment
from mnistc.model import Sequential, load


@dataclass(frozen=True)
class Distillation:
    """What a teacher says of changed copies of the training images (Hinton et al., 2015).

    Attributes
    ----------
    teacher : str
        A model file or the name of a shipped model.
    copies : int
        Changed copies of each image; one epoch of the pupil is all of them.
    augment : Augment
        How copies are changed.
    temperature : float
        Both networks' logits are divided by it while the pupil learns, so that it hears more
        of what the teacher holds for possible.
    """

    teacher: str
    copies: int
    augment: Augment
    temperature: float = 2.0

    def pool(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[Any],
        classes: int,
        seed: int,
        n_threads: int = 0,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Copies (copies * n, h, w) of images (n, h, w), and targets (copies * n, classes).

        Where the teacher is wrong, the probability of its answer and that of the label change
        places: the label is always the most likely.

        Raises
        ------
        ValueError
            If the teacher has another number of classes, or the images are not of its size.
        """
        teacher = load(self.teacher)
        if teacher.classes != classes:
            raise ValueError(
                f"the teacher {self.teacher!r} knows {teacher.classes} classes, the data has "
                f"{classes}"
            )
        pool = np.empty((self.copies, *images.shape), np.uint8)
        targets = np.empty((self.copies, len(images), teacher.classes), np.float32)
        for copy in range(self.copies):
            changed = augmentation.apply(images, self.augment, seed, copy)
            np.rint(changed * 255, out=changed)
            pool[copy] = changed
            outputs = teacher.predict(pool[copy], n_threads=n_threads)
            targets[copy] = soften(outputs, labels, self.temperature)
        return pool.reshape(-1, *images.shape[1:]), targets.reshape(-1, teacher.classes)


def soften(
    outputs: npt.NDArray[np.float32], labels: npt.NDArray[Any], temperature: float
) -> npt.NDArray[np.float32]:
    """Probabilities (n, classes) at another temperature, the label's being the largest."""
    powers: npt.NDArray[np.float64] = np.maximum(outputs, 1e-12, dtype=np.float64)
    powers **= 1 / temperature
    rows = np.arange(len(labels))
    answer = powers.argmax(axis=1)
    best, label = powers[rows, answer].copy(), powers[rows, labels].copy()
    powers[rows, answer], powers[rows, labels] = label, best
    powers /= powers.sum(axis=1, keepdims=True)
    return powers.astype(np.float32)


def harden(network: Sequential, temperature: float) -> None:
    """Take the temperature out of a pupil: logits of its last dense layer times `temperature`."""
    *_, weight, bias = network.weights
    for key in (weight, bias):
        network.weights[key] = network.weights[key] * np.float32(temperature)
