"""The built-in digits: reproducible, plausible, in every style, and good to train on."""

import numpy as np
import pytest

from mnistc.datasets import synthetic, synthetic_strokes
from mnistc.datasets.skeletons import STYLES


def test_same_seed_same_digits():
    images, labels = synthetic.generate(500, seed=3)
    again, _ = synthetic.generate(500, seed=3)
    np.testing.assert_array_equal(images, again)
    assert images.shape == (500, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (500,) and labels.dtype == np.uint8
    assert not np.array_equal(images, synthetic.generate(500, seed=4)[0])
    assert not np.array_equal(images, synthetic.generate(500, seed=3, part=1)[0])


def test_more_digits_begin_with_the_same():
    images, labels = synthetic.generate(synthetic.BLOCK + 300, seed=1)
    for n in (0, 1, 7, synthetic.BLOCK, synthetic.BLOCK + 1):
        fewer, fewer_labels = synthetic.generate(n, seed=1)
        np.testing.assert_array_equal(fewer, images[:n])
        np.testing.assert_array_equal(fewer_labels, labels[:n])


def test_strokes_are_those_of_the_images():
    images, labels = synthetic.generate(400, seed=5, pen_width=2.4)
    drawn = synthetic_strokes(400, seed=5)
    np.testing.assert_array_equal(drawn.labels, labels)
    difference = np.abs(drawn.images().astype(int) - images)
    assert difference.max() <= 1  # rounded at other places
    assert len(synthetic_strokes(0)) == 0


def test_every_digit_and_no_image_is_blank_or_full():
    images, labels = synthetic.generate(5000, seed=2)
    assert np.bincount(labels, minlength=10).min() > 400
    ink = images.reshape(5000, -1).mean(1) / 255
    assert ink.min() > 0.02 and ink.max() < 0.55
    assert images.max() == 255
    rows, columns = np.mgrid[:28, :28]
    mass = images.sum((1, 2), dtype=float)
    for index in (rows, columns):
        centre = (images * index).sum((1, 2)) / mass
        assert np.abs(centre - 14).max() < 0.6


def test_no_two_images_are_alike():
    images, _ = synthetic.generate(3000, seed=6)
    assert len(np.unique(images.reshape(3000, -1), axis=0)) == 3000


@pytest.mark.parametrize("digit", range(10))
def test_shapes_of_a_style_have_one_structure(digit):
    assert len(STYLES[digit]) >= 3
    for share, *shapes in STYLES[digit]:
        assert share > 0 and len(shapes) >= 2
        structures = {
            tuple(tuple(p.endswith("!") for p in s.split()) for s in shape.split("|"))
            for shape in shapes
        }
        assert len(structures) == 1
    styles = [style for style in synthetic._styles() if style.digit == digit]
    assert sum(style.share for style in styles) == pytest.approx(0.1)


def test_curve_goes_through_its_points_and_keeps_corners():
    style = synthetic._style(7, 1.0, ["0,0 10,0! 4,9 2,20", "0,0 9,0! 5,9 1,20"])
    step = synthetic.POINTS_PER_PIECE
    curve = style.curve @ style.shapes[0]
    np.testing.assert_allclose(curve[::step], style.shapes[0], atol=1e-12)
    np.testing.assert_allclose(style.curve.sum(1), 1, atol=1e-12)
    assert np.abs(curve[: step + 1, 1]).max() < 1e-12  # straight up to the corner


def test_classes_can_be_told_apart():
    """A nearest-mean classifier, the weakest there is, is right far more often than by chance."""
    images, labels = synthetic.generate(6000, seed=0)
    test, test_labels = synthetic.generate(1000, seed=0, part=1)
    pixels = images.reshape(len(images), -1) / 255
    means = np.stack([pixels[labels == digit].mean(0) for digit in range(10)])
    distance = ((test.reshape(-1, 1, 784) / 255 - means) ** 2).sum(2)
    assert (distance.argmin(1) == test_labels).mean() > 0.6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1,), ValueError, "n: got -1, wanted 0 or more"),
        ((5, -2), ValueError, "seed: got -2"),
        ((2.0,), TypeError, r"n: got 2.0, wanted an integer"),
        ((2, "a"), TypeError, "seed: got 'a'"),
        ((True,), TypeError, "n: got True"),
    ],
)
def test_bad_arguments(arguments, error, message):
    for function in (synthetic.generate, synthetic.strokes):
        with pytest.raises(error, match=message):
            function(*arguments)
