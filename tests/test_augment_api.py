"""`mnistc.Augment` and the pictures of what training sees."""

import numpy as np
import pytest
from small_data import bars

from mnistc import Augment, Dense, Sequential, augment


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


@pytest.mark.parametrize("name", ["rotation", "scale", "shift", "shear", "thickness", "erase"])
def test_changes_of_images_want_a_height_and_a_width(name):
    x, y = bars(40)
    options = {"augment": {name: 0.5, "noise": 0.1}, "verbose": 0}
    Sequential([Dense(10)], (10, 10, 1)).fit(x, y, **options)
    with pytest.raises(ValueError, match=f"augment: {name} needs an input_shape with height"):
        Sequential([Dense(10)], 100).fit(x.reshape(-1, 100), y, **options)
    Sequential([Dense(10)], 100).fit(x.reshape(-1, 100), y, augment={"noise": 0.1}, verbose=0)


@pytest.mark.parametrize("name", ["noise", "thickness"])
def test_what_cuts_to_0_and_1_wants_such_images(name):
    x, y = bars(40)
    options = {"check_range": False, "verbose": 0}
    for images in (x, x / 255.0):
        Sequential([Dense(10)], (10, 10, 1)).fit(images, y, augment={name: 0.1}, **options)
    net, images = Sequential([Dense(10)], (10, 10, 1)), (x - 100.0) / 50
    net.fit(images, y, augment={"shift": 1.0, name: 0.0}, **options)
    before = net.core.parameters.copy()
    with pytest.raises(ValueError, match=f"augment: {name} needs x between 0 and 1, got -2 to 2"):
        net.fit(images, y, augment={name: 0.1}, **options)
    assert np.array_equal(net.core.parameters, before)
