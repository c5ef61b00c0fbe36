"""`mnistc.Augment` and the pictures of what training sees."""

import numpy as np
import pytest
from small_data import bars

from mnistc import Augment, augment


def test_identity_and_change():
    images, _ = bars(20)
    same = augment.apply(images, Augment())
    assert same.dtype == np.float32
    assert np.allclose(same, images / 255, atol=1e-6)
    changed = augment.apply(images, Augment(shift=2.0), seed=1, epoch=3)
    assert np.array_equal(changed, augment.apply(images, {"shift": 2.0}, seed=1, epoch=3))
    assert not np.array_equal(changed, augment.apply(images, Augment(shift=2.0), seed=1, epoch=4))
    assert 0 <= changed.min() <= changed.max() <= 1


def test_a_picture_of_examples():
    images, _ = bars(3)
    picture = augment.grid(images, Augment(rotation=10.0, noise=0.05), columns=5, zoom=2)
    assert picture.size == (5 * 10 * 2, 3 * 10 * 2)
    plain = augment.grid(images, Augment(), columns=1, zoom=1)
    assert np.array_equal(np.asarray(plain)[:10], 255 - images[0])


def test_refused():
    with pytest.raises(ValueError, match="images must be uint8"):
        augment.apply(np.zeros((2, 5, 5)), Augment())
    with pytest.raises(ValueError, match="rotation"):
        Augment(rotation=float("nan"))
    with pytest.raises(ValueError, match="elastic_sigma"):
        Augment(elastic_sigma=0.0)
    with pytest.raises(TypeError, match="noise"):
        Augment(noise="some")
