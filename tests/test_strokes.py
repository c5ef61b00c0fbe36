"""strokes-v1: the C rasteriser against golden vectors, a plain reference and its own promises."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_strokes import rasterize as reference

from mnistc import strokes

GOLDEN = json.loads((Path(__file__).parent / "golden" / "strokes.json").read_text())["cases"]
coordinates = st.floats(-1e3, 1e3, width=32)
finite = st.floats(allow_nan=False, allow_infinity=False)
drawings = st.lists(st.lists(st.tuples(coordinates, coordinates), max_size=12), max_size=4)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden(case):
    image = strokes.rasterize(case["strokes"], case["pen_width"])
    np.testing.assert_allclose(image.ravel(), case["pixels"], rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(drawings, st.floats(0.1, 10))
def test_matches_reference(drawing, pen):
    image = strokes.rasterize(drawing, pen)
    # A point within rounding of the thinning distance may be kept by one and dropped by the other.
    np.testing.assert_allclose(image, reference(drawing, pen), rtol=0, atol=2e-2)
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(finite, finite), max_size=5), max_size=3))
def test_any_finite_drawing_is_drawn(drawing):
    image = strokes.rasterize(drawing)
    assert np.isfinite(image).all()
    assert (image.max() > 0) == any(len(stroke) for stroke in drawing)


def digit_two():
    return [[[2, 5], [4, 2], [8, 2], [9, 5], [3, 12], [2, 14], [10, 14]]]


def test_centre_of_mass_is_at_14():
    i, j = np.mgrid[:28, :28]
    image = strokes.rasterize(digit_two()).astype(float)
    assert (image * i).sum() / image.sum() == pytest.approx(14, abs=0.02)
    assert (image * j).sum() / image.sum() == pytest.approx(14, abs=0.02)


def test_place_and_size_do_not_matter():
    two = np.array(digit_two()[0], float)
    image = strokes.rasterize([two])
    for scale, x, y in [(0.01, 0, 0), (1000, -5e4, 3e4), (1 / 3, 0.1, 0.7)]:
        moved = strokes.rasterize([two * scale + [x, y]])
        np.testing.assert_allclose(moved, image, atol=1e-5)


def test_order_of_strokes_and_their_direction_do_not_matter():
    parts = [[[0, 0], [5, 9]], [[5, 9], [9, 1], [2, 2]]]
    image = strokes.rasterize(parts)
    np.testing.assert_allclose(strokes.rasterize(parts[::-1]), image, atol=1e-6)
    np.testing.assert_allclose(strokes.rasterize([p[::-1] for p in parts]), image, atol=1e-6)


def test_number_of_points_hardly_matters():
    def spiral(n):
        t = np.linspace(0.05, 1, n)
        return [np.stack([t * np.cos(12 * t), t * np.sin(12 * t)], 1)]

    dense = strokes.rasterize(spiral(5000))
    np.testing.assert_allclose(strokes.rasterize(spiral(300)), dense, atol=0.05)


def test_blank():
    for blank in ([], [[]], [[], []], [np.empty((0, 2))]):
        assert strokes.rasterize(blank).shape == (28, 28)
        assert not strokes.rasterize(blank).any()


def test_many_is_one_by_one():
    many = [digit_two(), [], [[[0, 0]]], [[[0, 0], [1, 5]], [[3, 3], [0, 4]]]]
    pens = [2.4, 1.0, 3.0, 4.5]
    images = strokes.rasterize_many(many, pens)
    assert images.shape == (4, 28, 28) and images.dtype == np.float32
    for image, drawing, pen in zip(images, many, pens, strict=True):
        np.testing.assert_array_equal(image, strokes.rasterize(drawing, pen))
    assert strokes.rasterize_many([]).shape == (0, 28, 28)


def test_threads_draw_at_once():
    rng = np.random.default_rng(0)
    many = [[np.cumsum(rng.normal(size=(30, 2)), 0)] for _ in range(200)]
    expected = strokes.rasterize_many(many)
    results = [None] * 4

    def work(k):
        results[k] = strokes.rasterize_many(many)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("drawing", "error", "message"),
    [
        ([[[0, np.nan]]], ValueError, "drawing 0: a coordinate is NaN or infinite"),
        ([[[0, 0], [np.inf, 1]]], ValueError, "NaN or infinite"),
        ([[[0, 0, 0]]], ValueError, r"stroke 0: got shape \(1, 3\), wanted \(n_points, 2\)"),
        ([[[0, 0]], [1, 2]], ValueError, "stroke 1: got shape"),
        ([[["a", "b"]]], TypeError, "wanted points"),
        ([[[0, 0], [1]]], TypeError, "wanted points"),
        (7, TypeError, "got int, wanted a list of strokes"),
        ("strokes", TypeError, "got str, wanted a list of strokes"),
        ([np.zeros((100_001, 2))], ValueError, "too many points"),
        ([np.tile([[0, 0], [1, 1]], (5_001, 1))], ValueError, "too many points"),
    ],
)
def test_bad_strokes(drawing, error, message):
    with pytest.raises(error, match=message):
        strokes.rasterize(drawing)


@pytest.mark.parametrize("pen", [0, -1, 10.1, np.nan, np.inf])
def test_bad_pen(pen):
    with pytest.raises(ValueError, match=r"pen_width is .*, wanted above 0 and at most 10"):
        strokes.rasterize(digit_two(), pen)


def test_limits_are_reached_not_crossed():
    assert strokes.rasterize([np.zeros((100_000, 2))]).max() == 1
    assert strokes.rasterize([np.tile([[0, 0], [1, 1]], (5_000, 1))]).max() == 1


@pytest.mark.parametrize(
    ("offsets", "images"),
    [
        ([0, 3], [0, 1]),
        ([1, 2], [0, 1]),
        ([0, 2, 1, 2], [0, 3]),
        ([0, 2], [0, 2]),
        ([0, 2], [0, 1, 0, 1]),
        ([0, -1, 2], [0, 2]),
    ],
)
def test_bad_offsets(offsets, images):
    with pytest.raises(ValueError, match="offsets: wanted from 0"):
        strokes.rasterize_flat([[0, 0], [1, 1]], offsets, images)


def test_bad_flat_arguments():
    with pytest.raises(ValueError, match="points: got shape"):
        strokes.rasterize_flat([1, 2], [0, 1], [0, 1])
    with pytest.raises(ValueError, match="stroke_offsets: got shape"):
        strokes.rasterize_flat([[1, 2]], [], [0, 1])
    with pytest.raises(ValueError, match="image_offsets: got shape"):
        strokes.rasterize_flat([[1, 2]], [0, 1], [0.0, 1.0])
    with pytest.raises(ValueError, match="pen_width: got shape"):
        strokes.rasterize_flat([[1, 2]], [0, 1], [0, 1], [1.0, 2.0])
    for pen in ("2.4", True, None):
        with pytest.raises(ValueError, match=r"pen_width: got .*, wanted numbers"):
            strokes.rasterize([[(0, 0), (1, 1)]], pen)
