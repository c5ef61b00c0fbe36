"""A little set of images that a network learns in a moment: bars at ten places, with noise."""

import numpy as np
import numpy.typing as npt


def bars(n: int = 400, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (n, 10, 10) uint8 with one bright row, and the number of that row (n,) uint8."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 100, (n, 10, 10), dtype=np.uint8)
    labels = random.integers(0, 10, n).astype(np.uint8)
    images[np.arange(n), labels] += 120
    return images, labels
