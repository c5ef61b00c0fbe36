"""Random distortions: against the NumPy reference, against geometry, and their promises."""

import numpy as np
import pytest
import reference_augment as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistc import _core

ONE_BY_ONE = {
    "rotation": {"rotation": 30.0},
    "scale": {"scale": 0.3},
    "aspect": {"aspect": 0.3},
    "shear": {"shear": 30.0},
    "shift": {"shift": 5.0},
    "elastic": {"elastic_alpha": 34.0, "elastic_sigma": 4.0},
    "fine elastic": {"elastic_alpha": 3.0, "elastic_sigma": 0.5},
    "thickness": {"thickness": 1.0},
    "much thickness": {"thickness": 4.0},
    "erase": {"erase": 0.7, "erase_size": 0.5},
    "noise": {"noise": 0.1},
}
ALL = {
    "rotation": 12.0, "scale": 0.12, "aspect": 0.1, "shear": 15.0, "shift": 1.5,
    "elastic_alpha": 38.0, "elastic_sigma": 5.0, "thickness": 1.0, "erase": 0.5,
    "erase_size": 0.4, "noise": 0.1,
}  # fmt: skip
SHAPES = [(28, 28), (1, 1), (64, 48), (1, 40), (33, 2), (28, 28, 3), (5, 9, 2)]
LARGEST = {
    "rotation": 180.0, "scale": 0.9, "aspect": 0.9, "shear": 60.0, "shift": 1000.0,
    "elastic_alpha": 10000.0, "elastic_sigma": 1000.0, "thickness": 4.0, "erase": 1.0,
    "erase_size": 1.0, "noise": 1.0,
}  # fmt: skip


def images_like(shape, dtype, n=3, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape)) * (rng.random((n, *shape)) < 0.6)
    images = images.astype(np.uint8)
    return images if dtype == np.uint8 else (images / np.float32(255)).astype(np.float32)


def blob(h=28, w=28, y=9.0, x=17.0):
    """A round spot of ink."""
    i, j = np.mgrid[:h, :w]
    return np.clip(3.0 - np.hypot(i - y, j - x), 0, 1).astype(np.float32)


def centroid(image):
    i, j = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * j).sum(), (image * i).sum()]) / image.sum()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("options", [*ONE_BY_ONE.values(), ALL], ids=[*ONE_BY_ONE, "all"])
def test_matches_reference(table, options, dtype):
    for shape in SHAPES:
        images = images_like(shape, dtype)
        got = _core.augment(images, options, 3 << 40 | 5, 7)
        wanted = [reference.augment(x, options, 3 << 40 | 5, 7, i) for i, x in enumerate(images)]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4, err_msg=str(shape))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.floats(0.5 if name == "elastic_sigma" else 0, ALL[name] * 2)
            for name in ALL
            if name not in ("erase", "erase_size")
        },
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
def test_matches_reference_anywhere(h, w, options, seed, epoch):
    options = {"elastic_sigma": 4.0, **options}
    images = images_like((h, w), np.uint8, n=2, seed=seed % 1000)
    got = _core.augment(images, options, seed, epoch)
    wanted = [reference.augment(x, options, seed, epoch, i) for i, x in enumerate(images)]
    # A displacement of tens of pixels is rounded to some 1e-5 of one, and thickness steepens edges.
    atol = 1e-4 * np.clip(options.get("elastic_alpha", 0) / 25, 1, 3)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def test_kernel_tables_agree():
    images = images_like((28, 28), np.uint8, n=50)
    before = _core.kernels()
    results = []
    for name in _core.available_kernels():
        _core.use_kernels(name)
        results.append(_core.augment(images, ALL, 1, 2))
    _core.use_kernels(before)
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=3e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_is_exact(table, shape):
    pixels = images_like(shape, np.uint8)
    np.testing.assert_array_equal(_core.augment(pixels, {}, 1, 1), pixels / np.float32(255))
    floats = images_like(shape, np.float32)
    np.testing.assert_array_equal(_core.augment(floats, {"erase": 1.0}, 1, 1), floats)


def test_function_of_seed_epoch_and_index_alone():
    images = images_like((28, 28), np.uint8, n=20)
    images[:] = images[0]
    first = _core.augment(images, ALL, 5, 1)
    np.testing.assert_array_equal(first, _core.augment(images, ALL, 5, 1))
    np.testing.assert_array_equal(first[:7], _core.augment(images[:7].copy(), ALL, 5, 1))
    assert len({image.tobytes() for image in first}) == len(images)
    assert not np.array_equal(first, _core.augment(images, ALL, 5, 2))
    assert not np.array_equal(first, _core.augment(images, ALL, 6, 1))


@pytest.mark.parametrize("index", range(6))
def test_rotation_turns_counter_clockwise(index):
    """The spot ends where sines and cosines of the drawn angle say."""
    image = blob()
    angle = reference.draw({"rotation": 90.0}, image.shape, 11, 0, index)["angle"]
    got = _core.augment(np.stack([image] * 6), {"rotation": 90.0}, 11, 0)[index]
    x, up = 17 - 13.5, 13.5 - 9
    turned = x * np.cos(angle) - up * np.sin(angle), x * np.sin(angle) + up * np.cos(angle)
    np.testing.assert_allclose(centroid(got), [13.5 + turned[0], 13.5 - turned[1]], atol=0.02)
    assert got.sum() == pytest.approx(image.sum(), rel=0.02)


@pytest.mark.parametrize("index", range(6))
def test_shift_moves_by_what_was_drawn(index):
    image = blob()
    shift = reference.draw({"shift": 4.0}, image.shape, 12, 3, index)["shift"]
    got = _core.augment(np.stack([image] * 6), {"shift": 4.0}, 12, 3)[index]
    np.testing.assert_allclose(centroid(got), np.array([17, 9]) + shift, atol=1e-3)


@pytest.mark.parametrize("index", range(6))
def test_scale_aspect_and_shear(index):
    """Areas grow by the square of the size, aspect keeps them, shear leans the top to the right."""
    images = np.stack([blob()] * 6)
    size = reference.draw({"scale": 0.3}, (28, 28), 2, 0, index)["size"]
    got = _core.augment(images, {"scale": 0.3}, 2, 0)[index]
    assert got.sum() == pytest.approx(images[0].sum() * size**2, rel=0.03)
    got = _core.augment(images, {"aspect": 0.3}, 2, 0)[index]
    assert got.sum() == pytest.approx(images[0].sum(), rel=0.03)
    slant = reference.draw({"shear": 40.0}, (28, 28), 2, 0, index)["slant"]
    got = _core.augment(images, {"shear": 40.0}, 2, 0)[index]
    np.testing.assert_allclose(centroid(got), [17 + np.tan(slant) * 4.5, 9], atol=0.02)


@pytest.mark.parametrize("index", range(8))
def test_thickness_moves_edges(index):
    """A bar of 4 pixels gets wider, on each side, by the pixels drawn."""
    image = np.zeros((28, 28), np.float32)
    image[12:16] = 1
    grow = reference.draw({"thickness": 2.0}, (28, 28), 4, 0, index)["grow"]
    got = _core.augment(np.stack([image] * 8), {"thickness": 2.0}, 4, 0)[index]
    assert got[:, 14].sum() == pytest.approx(4 + 2 * grow, abs=0.35 if grow < 0 else 1e-4)


def test_elastic_field_has_simards_statistics():
    """Covariance of the sparse lattice against one random vector per pixel, smoothed."""
    n, alpha = 28, 34.0
    for sigma in (1.0, 2.0, 4.0, 6.0):
        weights, step = reference.lattice(n, sigma)
        sparse = weights @ weights.T * step / (2 * np.pi * sigma**2)
        pixels = np.arange(-60, n + 60)
        dense = np.exp(-((np.arange(n)[:, None] - pixels) ** 2) / (2 * sigma**2))
        dense /= dense[n // 2].sum()
        dense = dense @ dense.T
        np.testing.assert_allclose(sparse, dense, rtol=0, atol=0.01 * dense.max())
        # The variance in two dimensions is the square of that in one, times a uniform's third.
        deviation = alpha * dense[n // 2, n // 2] / np.sqrt(3)
        assert deviation == pytest.approx(0.163 * alpha / sigma, rel=0.02)
        fields = [
            reference.field({"elastic_alpha": alpha, "elastic_sigma": sigma}, (n, n), 0, 0, i)
            for i in range(100)
        ]
        assert np.std(fields) == pytest.approx(deviation, rel=0.1)


def test_erasing_probability_and_size():
    images = np.ones((2000, 12, 16), np.float32)
    got = _core.augment(images, {"erase": 0.3, "erase_size": 0.5}, 0, 0)
    erased = got == 0
    assert 0.26 < erased.any(axis=(1, 2)).mean() < 0.34
    assert erased.any(axis=2).sum(axis=1).max() == 6
    assert erased.any(axis=1).sum(axis=1).max() == 8
    assert set(np.unique(got)) == {0, 1}


def test_noise_has_its_standard_deviation():
    images = np.full((20, 28, 28), 0.5, np.float32)
    noise = _core.augment(images, {"noise": 0.1}, 0, 0) - 0.5
    assert abs(noise.mean()) < 0.003
    assert noise.std() == pytest.approx(0.1, rel=0.03)


def test_largest_options_stay_in_range(table):
    for shape in SHAPES:
        got = _core.augment(images_like(shape, np.uint8, n=20), LARGEST, 1, 1)
        assert np.isfinite(got).all() and got.min() >= 0 and got.max() <= 1


@pytest.mark.parametrize("name", LARGEST)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 1e30])
def test_options_out_of_range_are_refused(name, value):
    images = np.zeros((1, 28, 28), np.uint8)
    with pytest.raises(ValueError, match=name):
        _core.augment(images, {name: value}, 0, 0)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match="no option 'twist'"):
        _core.augment(np.zeros((1, 28, 28), np.uint8), {"twist": 1.0})
    with pytest.raises(ValueError, match="shape"):
        _core.augment(np.zeros((28, 28), np.uint8), {})
    with pytest.raises(ValueError, match="from 1 to 4096"):
        _core.augment(np.zeros((1, 0, 28), np.uint8), {})
    with pytest.raises(TypeError, match="float64"):
        _core.augment(np.zeros((1, 28, 28)), {})
    assert _core.augment(np.zeros((0, 28, 28), np.uint8), ALL).shape == (0, 28, 28)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_do_not_change_training(threads):
    images = images_like((28, 28), np.uint8, n=70).reshape(70, -1)
    labels = np.arange(70, dtype=np.int32) % 10

    def train(n_threads):
        layers = [{"type": "flatten"}, {"type": "dense", "units": 10, "activation": "softmax"}]
        network = _core.Network((28, 28, 1), layers)
        network.initialize(0)
        trainer = _core.Trainer(
            network, batch_size=16, loss="softmax_cross_entropy", optimizer="sgd", augment=ALL
        )
        for epoch in range(2):
            order = _core.permutation(70, 0, epoch)
            trainer.run(images, labels, None, order, np.full(5, 0.1, np.float32), epoch, n_threads)
        return network.parameters.copy()

    np.testing.assert_array_equal(train(1), train(threads))
