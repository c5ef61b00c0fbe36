"""Writes strokes.json, the vectors that the C rasteriser and its JavaScript twin both answer to.

The pixels come from the plain NumPy reference in tests/reference_strokes.py, not from the C code.
Run with MNISTC_DATA set, so that real pen strokes are among the cases (they are from the UCI
Machine Learning Repository, dataset 81, CC BY 4.0).
"""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference_strokes import rasterize

from mnistc.datasets import pendigits


def spiral(turns, n, size=1.0, x=0.0, y=0.0):
    t = np.linspace(0, 1, n)
    angle = 2 * math.pi * turns * t
    return np.stack([x + size * t * np.cos(angle), y + size * t * np.sin(angle)], 1)


def circle(n, radius=1.0, squash=1.0):
    angle = np.linspace(0, 2 * math.pi, n)
    return np.stack([radius * np.cos(angle), squash * radius * np.sin(angle)], 1)


def shapes():
    line = [[0, 0], [3, 7]]
    seven = [[[0, 0], [10, 0], [4, 18]], [[2, 9], [8, 9]]]
    rng = np.random.default_rng(1)
    yield "nothing", [], 2.4
    yield "only empty strokes", [[], []], 2.4
    yield "dot", [[[5, 5]]], 2.4
    yield "dot, widest pen", [[[5, 5]]], 10
    yield "dot, hair", [[[-3, 900]]], 0.05
    yield "the same point many times", [[[1, 2]] * 50], 2.4
    yield "two dots", [[[0, 0]], [[4, 1]]], 2.4
    yield "horizontal line", [[[0, 0], [9, 0]]], 2.4
    yield "vertical line", [[[2, 1], [2, 8]]], 2.4
    yield "vertical line, drawn upwards in steps", [[[2, y] for y in range(40, -1, -1)]], 3
    yield "oblique line", [line], 2.4
    yield "oblique line, hair", [line], 0.1
    yield "oblique line, widest pen", [line], 10
    yield "L", [[[0, 0], [0, 10], [6, 10]]], 2.4
    yield "cross of two strokes", [[[0, 0], [10, 10]], [[10, 0], [0, 10]]], 1.5
    yield "seven with a bar", seven, 2.4
    yield "seven with a bar and an empty stroke", [seven[0], [], seven[1]], 2.4
    yield "line and far dot", [[[0, 0], [0, 10]], [[8, 9]]], 2.4
    yield "triangle, back over itself", [[[0, 0], [8, 0], [4, 6], [0, 0], [8, 0]]], 2
    yield "circle", [np.round(circle(40), 5)], 2.4
    yield "flat ellipse", [np.round(circle(60, squash=0.2), 5)], 2.4
    yield "spiral", [np.round(spiral(3, 120), 5)], 1.2
    yield "spiral of 4,000 points", [np.round(spiral(4, 4000), 4)], 2.4
    yield "circle of 6,000 points", [np.round(circle(6000), 5)], 2.4
    yield "tiny units", [spiral(2, 50, 1e-12, 1e-12)], 2.4
    yield "denormal units", [[[0, 0], [5e-324, 5e-324], [1e-323, 0]]], 2.4
    yield "huge units", [spiral(2, 50, 1e300)], 2.4
    yield "largest doubles", [[[-1.7e308, -1.7e308], [1.7e308, 1.7e308], [1.7e308, -1.7e308]]], 2.4
    yield "small and far away", [spiral(1, 30, 0.25, 4096, -8192)], 2.4
    yield "pad units", [[[0.25, 0.125], [0.5, 0.75], [0.625, 0.25]]], 2.4
    for pen in (0.6, 1.2, 4.8):
        yield f"scribble, pen {pen}", [np.round(np.cumsum(rng.normal(size=(30, 2)), 0), 4)], pen


def digits():
    data = pendigits.load_strokes(os.environ["MNISTC_DATA"])
    for digit in range(10):
        index = int(np.flatnonzero(data.labels == digit)[17])
        strokes = [stroke[:: 1 + digit % 2] for stroke in data.strokes[index]]
        yield f"a pen's {digit}", strokes, 2.4


def main():
    cases = []
    for name, strokes, pen in [*shapes(), *digits()]:
        strokes = [np.asarray(s, float).reshape(-1, 2).tolist() for s in strokes]
        pixels = rasterize(strokes, pen).ravel()
        values = [float(f"{v:.7g}") for v in pixels]
        cases.append({"name": name, "pen_width": pen, "strokes": strokes, "pixels": values})
    about = "strokes-v1 golden vectors: 28 x 28 pixels row by row, ink 1, tolerance 1e-5"
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    text = f'{{"about":"{about}","cases":[\n{lines}\n]}}\n'
    Path(__file__).with_name("strokes.json").write_text(text)


if __name__ == "__main__":
    main()
