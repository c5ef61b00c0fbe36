"""The pieces of work that are measured: networks, data, and what one measured unit of each is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

# Networks as plain tuples, so that every peer builds the same one:
# ("dense", units, activation), ("conv", filters, kernel, activation), ("pool",), ("flatten",),
# ("dropout", rate). Pools are 2 x 2, convolutions unpadded with stride 1.
NETWORKS: dict[str, list[tuple]] = {
    "mlp": [
        ("flatten",),
        ("dense", 100, "sigmoid"),
        ("dense", 30, "sigmoid"),
        ("dense", 10, "sigmoid"),
    ],
    "cnn": [
        ("conv", 32, 3, "relu"),
        ("pool",),
        ("conv", 64, 3, "relu"),
        ("pool",),
        ("flatten",),
        ("dropout", 0.5),
        ("dense", 10, "softmax"),
    ],
    "lenet": [
        ("conv", 6, 5, "relu"),
        ("pool",),
        ("conv", 16, 5, "relu"),
        ("pool",),
        ("flatten",),
        ("dense", 120, "relu"),
        ("dense", 84, "relu"),
        ("dense", 10, "softmax"),
    ],
}


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes
    ----------
    kind : {"train", "latency", "throughput"}
    images : int
        Of one measured unit; for latency the number of calls with one image.
    reported : float
        Images (or calls) that the reported figure is for: the unit's seconds are scaled by
        ``reported / images``.
    factor, unit : float, str
        The reported figure is seconds * factor in this unit.
    """

    name: str
    title: str
    network: str
    kind: str
    images: int
    reported: float
    unit: str = "s"
    factor: float = 1.0
    batch_size: int = 1
    optimizer: str = ""
    learning_rate: float = 0.0
    precision: str = "float32"

    def shrunk(self, divisor: int) -> Work:
        """The same with fewer images: to see that everything runs, not how fast."""
        images = max(self.images // divisor // self.batch_size, 2) * self.batch_size
        return replace(self, images=images)

    @property
    def steps(self) -> int:
        return self.images // self.batch_size

    @property
    def scale(self) -> float:
        """From seconds of the unit to the reported figure."""
        return self.factor * self.reported / self.images


def _train(name: str, title: str, network: str, **settings: object) -> Work:
    return Work(name, title, network, "train", **settings)  # type: ignore[arg-type]


ADAM = {"optimizer": "adam", "learning_rate": 0.001}
WORKS: dict[str, Work] = {
    work.name: work
    for work in [
        _train(
            "mlp",
            "MLP 784-100-30-10, minibatch 10, SGD, one epoch",
            "mlp",
            images=60_000,
            reported=60_000,
            batch_size=10,
            optimizer="sgd",
            learning_rate=0.5,
        ),
        _train(
            "cnn",
            "Keras CNN, minibatch 128, Adam, one epoch",
            "cnn",
            images=12_800,
            reported=60_000,
            batch_size=128,
            **ADAM,
        ),
        _train(
            "cnn-bf16",
            "Keras CNN in bf16, minibatch 128, Adam, one epoch",
            "cnn",
            images=12_800,
            reported=60_000,
            batch_size=128,
            precision="bf16",
            **ADAM,
        ),
        _train(
            "lenet",
            "LeNet-5, minibatch 2048, Adam, 10 epochs",
            "lenet",
            images=20_480,
            reported=600_000,
            batch_size=2048,
            **ADAM,
        ),
        Work("latency-mlp", "MLP, one image", "mlp", "latency", 1000, 1, "µs", 1e6),
        Work("latency-cnn", "Keras CNN, one image", "cnn", "latency", 300, 1, "µs", 1e6),
        Work("throughput-mlp", "MLP, a million images", "mlp", "throughput", 60_000, 1e6),
        Work("throughput-cnn", "Keras CNN, 100,000 images", "cnn", "throughput", 10_000, 1e5),
    ]
}


@dataclass(frozen=True)
class Data:
    """Images uint8 (n, 28, 28) with labels uint8 (n,), and a test set."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def float_images(self, n: int) -> np.ndarray:
        """The first n images as float32 in 0..1; the set is repeated if it is shorter."""
        return np.ascontiguousarray(self.uint8_images(n), dtype=np.float32) / np.float32(255)

    def uint8_images(self, n: int) -> np.ndarray:
        return self.images[np.arange(n) % len(self.images)]

    def first_labels(self, n: int) -> np.ndarray:
        return self.labels[np.arange(n) % len(self.labels)].astype(np.int32)

    def save(self, path: Path) -> None:
        np.savez(
            path,
            name=np.array(self.name),
            images=self.images,
            labels=self.labels,
            test_images=self.test_images,
            test_labels=self.test_labels,
        )

    @classmethod
    def open(cls, path: str | Path) -> Data:
        with np.load(path, allow_pickle=False) as file:
            return cls(str(file["name"]), *(file[key] for key in list(file)[1:]))


def load_data(name: str = "auto") -> Data:
    """MNIST if it is at hand (``MNISTC_DATA``), else the built-in synthetic digits."""
    import mnistc

    if name == "auto":
        name = "mnist" if mnistc.datasets.find("mnist") else "synthetic"
    train, test = mnistc.datasets.load(name, download=False)
    return Data(name, train.images, train.labels, test.images, test.labels)


def mnistc_layers(network: str) -> list:
    """The network as mnistc's layers."""
    from mnistc import Conv2D, Dense, Dropout, Flatten, MaxPool2D

    makers = {
        "dense": lambda units, activation: Dense(units, activation),
        "conv": lambda filters, size, activation: Conv2D(filters, size, activation=activation),
        "pool": lambda: MaxPool2D(2),
        "flatten": Flatten,
        "dropout": Dropout,
    }
    return [makers[kind](*arguments) for kind, *arguments in NETWORKS[network]]


def cpu_count() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
