"""Variations of drawings: bent, and mixed with their like."""

import numpy as np
import pytest

from mnistc.datasets import StrokeSet, synthetic
from mnistc.datasets.variations import FEWEST, POINTS, Mixtures, flatten


def square(x, y, side):
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    return corners * side + (x, y)


def drawings(*strokes, labels):
    return StrokeSet(list(strokes), np.array(labels, np.uint8), np.zeros(len(labels), np.int64))


def test_flat_drawings_have_a_box_of_100_around_zero():
    flat = flatten(
        drawings([square(3, 5, 2)], [square(0, 0, 1), square(3, 0, 1)], [np.ones((1, 2))],
                 labels=[4, 8, 1])
    )  # fmt: skip
    assert len(flat) == 3
    assert flat.drawing_offsets.tolist() == [0, 1, 3, 4]
    assert flat.point_offsets.tolist() == [0, 4, 12, 13]
    np.testing.assert_allclose(flat.points[:4], square(-50, -50, 100))
    np.testing.assert_allclose(flat.points[4:12].min(0), [-50, -12.5])
    np.testing.assert_allclose(flat.points[4:12].max(0), [50, 12.5])
    assert (flat.points[12] == 0).all()


def test_images_are_those_of_the_drawings():
    made = synthetic.strokes(30, seed=1)
    flat = flatten(made)
    assert np.abs(flat.images(2.4).astype(int) - made.images(2.4)).max() <= 1
    pens = np.linspace(1.2, 4.8, 30)
    assert np.abs(flat.images(pens).astype(int) - made.images(pens)).max() <= 1


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_bending_keeps_structure_and_size(strength):
    flat = flatten(synthetic.strokes(200, seed=2))
    bent = flat.bent(np.random.default_rng(0), strength)
    assert bent.points.shape == flat.points.shape
    assert bent.labels is flat.labels and bent.stroke_offsets is flat.stroke_offsets
    moved = np.hypot(*(bent.points - flat.points).T)
    if strength == 0:
        np.testing.assert_allclose(bent.points, flat.points)
    else:
        assert 0.5 * strength < moved.mean() < 20 * strength
    again = flat.bent(np.random.default_rng(0), strength)
    assert (again.points == bent.points).all()


def test_mixtures_are_between_drawings_of_the_same_digit_and_strokes():
    """Two kinds of 7: squares of side 100, and flat ones; a mixture is as flat as its share."""
    flats = [[square(0, 0, 100) * (1, f)] for f in np.linspace(0.2, 1, 2 * FEWEST)]
    pairs = [[square(0, 0, 100), square(0, 200, 100)] for _ in range(FEWEST)]
    rare = [[square(0, 0, 1)] for _ in range(FEWEST - 1)]
    flat = flatten(drawings(*flats, *pairs, *rare, labels=[7] * 16 + [7] * 8 + [3] * 7))
    mixtures = Mixtures(flat)
    assert len(mixtures) == 24  # the rare ones are left out
    mixed = mixtures.draw(np.random.default_rng(1), 0.0)
    assert len(mixed) == 24 and (mixed.labels == 7).all()
    assert np.diff(mixed.drawing_offsets).tolist() == [1] * 16 + [2] * 8
    assert (np.diff(mixed.stroke_offsets) == POINTS).all()
    boxes = mixed.points[: 16 * POINTS].reshape(16, POINTS, 2)
    heights = np.ptp(boxes[..., 1], axis=1) / np.ptp(boxes[..., 0], axis=1)
    assert heights.min() > 0.15 and heights.max() < 1.05
    assert (np.abs(heights - np.linspace(0.2, 1, 16)) > 1e-3).sum() >= 8  # most are mixed


def test_a_mixture_goes_beyond_only_as_far_as_told():
    tall = [[np.array([[0.0, 0.0], [0.0, 100.0]])] for _ in range(FEWEST)]
    wide = [[np.array([[0.0, 0.0], [100.0, 0.0]])] for _ in range(FEWEST)]
    mixtures = Mixtures(flatten(drawings(*tall, *wide, labels=[1] * 16)))
    for beyond in (0.0, 0.5):
        ends = np.concatenate(
            [mixtures.draw(np.random.default_rng(s), beyond).points for s in range(40)]
        )
        reach = np.abs(ends).max()
        assert reach <= 50 * (1 + beyond) + 1e-9
        assert reach > 50 * (1 + 0.5 * beyond) - 1e-9
