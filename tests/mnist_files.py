"""The MNIST test set and the original project's files, where MNISTC_DATA has them."""

import functools
import os
from pathlib import Path

import pytest

DATA = Path(os.environ["MNISTC_DATA"]) if os.environ.get("MNISTC_DATA") else None

needs_data = pytest.mark.skipif(DATA is None, reason="MNISTC_DATA is not set")


@functools.cache
def mnist_test():
    """Images (10000, 28, 28) uint8 and labels (10000,) uint8."""
    from mnistc import datasets

    if DATA is None or not (DATA / "mnist").is_dir():
        pytest.skip("MNISTC_DATA has no mnist folder")
    _, test = datasets.load("mnist", data_dir=DATA, download=False)
    return test.images, test.labels


def original(name):
    """A file or folder of the original project."""
    if DATA is None or not (DATA / "original" / name).exists():
        pytest.skip(f"MNISTC_DATA has no original/{name}")
    return DATA / "original" / name
