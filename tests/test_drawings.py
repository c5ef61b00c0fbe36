"""What is read does not depend on where, how large and in how many points somebody draws."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mnistc
from mnistc import formats, strokes
from mnistc.datasets import pendigits

NODE = shutil.which("node")
CLASSIFY = Path(__file__).parent / "widget" / "classify.mjs"
MOST = 0.003  # of predictions may change


@pytest.fixture(scope="module")
def drawings():
    """Strokes of people, moved and scaled to a unit square."""
    folder = os.environ.get("MNISTC_DATA")
    if not folder:
        pytest.skip("MNISTC_DATA is not set")
    try:
        loaded = pendigits.load_strokes(folder, download=False).strokes
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return [unit([np.asarray(stroke, np.float64) for stroke in drawing]) for drawing in loaded]


def unit(drawing):
    points = np.concatenate(drawing)
    low = points.min(0)
    extent = max(np.ptp(points, 0).max(), 1e-9)
    return [(stroke - low) / extent for stroke in drawing]


def resample(stroke, n):
    """The same stroke in n points at equal distances."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(stroke, axis=0), axis=1))])
    places = np.linspace(0, along[-1], n)
    return np.stack([np.interp(places, along, stroke[:, axis]) for axis in (0, 1)], 1)


def place(size, points=None, whole=None):
    """A way to draw: so large on the pad, in so many points a stroke, on a pad of whole pixels."""
    rng = np.random.default_rng(0)

    def draw(drawing):
        corner = rng.random(2) * (1 - size)
        moved = [(resample(s, points) if points else s) * size + corner for s in drawing]
        return [np.round(s * whole) / whole for s in moved] if whole else moved

    return draw


WAYS = {
    "a tenth of the pad": place(0.1),
    "all of the pad": place(1),
    "30 points a stroke, a tenth": place(0.1, 30),
    "30 points a stroke": place(0.5, 30),
    "100 points a stroke": place(0.3, 100),
    "1,000 points a stroke": place(0.7, 1000),
    "a third of the pad, in whole pixels": place(0.34, whole=300),
}


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_place_size_and_points_change_next_to_nothing(drawings, name):
    network = mnistc.load(name)

    def read(drawn):
        return network.predict(strokes.rasterize_many(drawn)).argmax(1)

    plain = read(drawings)
    changed = {
        way: np.mean(read([draw(d) for d in drawings]) != plain) for way, draw in WAYS.items()
    }
    assert max(changed.values()) <= MOST, changed


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_so_it_is_in_javascript(drawings, tmp_path):
    some = drawings[::8]
    ways = [some, *([WAYS[way](d) for d in some] for way in list(WAYS)[:3])]
    given, result = tmp_path / "in.json", tmp_path / "out.json"
    lists = [[np.asarray(s).tolist() for s in d] for drawn in ways for d in drawn]
    model = formats._shipped_paths()["cnn"].read_text()
    given.write_text(json.dumps({"model": model, "drawings": lists}))
    subprocess.run([NODE, CLASSIFY, given, result], check=True, timeout=300)
    seen = json.loads(result.read_text())["drawings"]
    read = np.array([each["probabilities"] for each in seen]).argmax(1).reshape(len(ways), -1)
    changed = (read[1:] != read[0]).mean(1)
    assert changed.max() <= MOST, changed
