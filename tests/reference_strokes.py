"""strokes-v1 written down plainly in NumPy: the oracle of the C rasteriser. Slow on purpose."""

import numpy as np


def rasterize(strokes, pen=2.4):
    strokes = [np.asarray(s, np.longdouble) for s in strokes if len(s)]
    if not strokes:
        return np.zeros((28, 28))
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    extent = (high - low).max()
    scale = (20 - np.longdouble(pen)) / extent if extent else 0
    kept = [thin(((s - (low + high) / 2) * scale + 14).astype(float)) for s in strokes]
    mass = draw(kept, pen)
    i, j = np.mgrid[:28, :28]
    centre = np.array([(mass * j).sum(), (mass * i).sum()]) / mass.sum()
    return draw([s + 14 - centre for s in kept], pen)


def thin(stroke):
    kept = [stroke[0]]
    for i, point in enumerate(stroke[1:], 1):
        if i == len(stroke) - 1 or ((point - kept[-1]) ** 2).sum() >= 1 / 256:
            kept.append(point)
    return np.array(kept)


def draw(strokes, pen):
    i, j = np.mgrid[:28, :28].astype(float)
    distance = np.full((28, 28), np.inf)
    for stroke in strokes:
        for (ax, ay), (bx, by) in zip(stroke, [*stroke[1:], stroke[-1]], strict=True):
            dx, dy = bx - ax, by - ay
            length2 = dx * dx + dy * dy
            t = ((j - ax) * dx + (i - ay) * dy) / length2 if length2 else 0 * j
            t = np.clip(t, 0, 1)
            distance = np.minimum(distance, np.hypot(j - ax - t * dx, i - ay - t * dy))
    return np.clip(0.5 + pen / 2 - distance, 0, 1)
