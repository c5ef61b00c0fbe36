"""Our own digits, drawn by pens."""

from mnistc.datasets.dataset import Dataset


def load(seed: int) -> tuple[Dataset, Dataset]:
    raise NotImplementedError
