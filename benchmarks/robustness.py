"""How much each shipped network minds a changed test image, beside the original's two networks.

    MNISTC_DATA=... python benchmarks/robustness.py

Every change is made to all 10,000 MNIST test images. Writes results/robustness.json and
results/robustness.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import mnistc
from mnistc import datasets, formats

RESULTS = Path(__file__).parent / "results"
ORIGINAL = {"original MLP": "weights_as_json.json", "original CNN": "tfjs/model.json"}

F32 = npt.NDArray[np.float32]
Change = Callable[[F32, float], F32]


def _mapped(images: F32, matrix: npt.ArrayLike) -> F32:
    """Each output pixel (x, y) reads the input at ``matrix @ (x, y, 1)``, bilinear, about the
    centre."""
    (a, b, c), (d, e, f) = np.asarray(matrix, np.float64)
    middle = 14.0  # between pixels 13 and 14, in coordinates where a pixel's corner is whole
    c += middle - a * middle - b * middle
    f += middle - d * middle - e * middle
    flat = (Image.fromarray(image) for image in images)
    coefficients = (a, b, c, d, e, f)
    size, bilinear = (28, 28), Image.Resampling.BILINEAR
    warped = [im.transform(size, Image.Transform.AFFINE, coefficients, bilinear) for im in flat]
    return np.stack([np.asarray(im) for im in warped])


def shift(images: F32, pixels: float) -> F32:
    """Move by whole pixels: a quarter of the images in each diagonal direction."""
    moved = np.empty_like(images)
    n = int(pixels)
    for quarter, (y, x) in enumerate([(n, n), (n, -n), (-n, n), (-n, -n)]):
        part = images[quarter::4]
        padded = np.pad(part, ((0, 0), (4, 4), (4, 4)))
        moved[quarter::4] = padded[:, 4 - y : 32 - y, 4 - x : 32 - x]
    return moved


def rotation(images: F32, degrees: float) -> F32:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _mapped(images, [[cos, sin, 0], [-sin, cos, 0]])


def scale(images: F32, factor: float) -> F32:
    return _mapped(images, [[1 / factor, 0, 0], [0, 1 / factor, 0]])


def strokes(images: F32, pixels: float) -> F32:
    """Thicker (or, below 0, thinner) by about this many pixels on each side."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    cross = [padded[:, 1 + y : 29 + y, 1 + x : 29 + x] for y, x in
             ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]  # fmt: skip
    extreme = np.max(cross, axis=0) if pixels > 0 else np.min(cross, axis=0)
    return images + abs(pixels) * (extreme - images)


def noise(images: F32, deviation: float) -> F32:
    rng = np.random.default_rng(0)
    noisy = images + rng.normal(0, deviation, images.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


def blur(images: F32, sigma: float) -> F32:
    """Gaussian blur, its standard deviation in pixels."""
    if sigma == 0:
        return images
    reach = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        widths = [(4, 4) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(images, widths)
        images = sum(
            w * np.take(padded, range(i, i + 28), axis) for i, w in enumerate(kernel)
        ).astype(np.float32)
    return images


CHANGES: dict[str, tuple[Change, tuple[float, ...], str]] = {
    "shift": (shift, (0, 1, 2, 3, 4), "pixels, both ways"),
    "rotation": (rotation, (-20, -10, 0, 10, 20), "degrees"),
    "scale": (scale, (0.8, 0.9, 1.0, 1.1, 1.2), "factor"),
    "strokes": (strokes, (-0.8, -0.4, 0, 0.5, 1), "thinner - thicker, pixels"),
    "noise": (noise, (0, 0.1, 0.2, 0.3, 0.4), "standard deviation"),
    "blur": (blur, (0, 0.5, 1, 1.5, 2), "pixels"),
}


def networks(data_dir: Path) -> dict[str, mnistc.Sequential]:
    """The shipped networks and, where the data folder has them, the original's two."""
    found = {name: mnistc.load(name) for name in formats.shipped_names()}
    for name, file in ORIGINAL.items():
        path = data_dir / "original" / file
        if path.exists():
            found[name] = mnistc.load(path)
    return found


def measure(found: dict[str, mnistc.Sequential], images: F32, labels: Any) -> dict[str, Any]:
    """Accuracy by change, network and strength."""
    table: dict[str, Any] = {}
    for name, (change, strengths, unit) in CHANGES.items():
        changed = [np.ascontiguousarray(change(images, strength)) for strength in strengths]
        table[name] = {
            "unit": unit,
            "strengths": list(strengths),
            "accuracy": {
                key: [float((net.predict(x).argmax(1) == labels).mean()) for x in changed]
                for key, net in found.items()
            },
        }
    return table


def plot(table: dict[str, Any], path: Path) -> None:
    """A panel for each change, a line for each network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6.5), sharey=True)
    for axis, (name, entry) in zip(axes.flat, table.items(), strict=True):
        for i, (key, values) in enumerate(entry["accuracy"].items()):
            old = key.startswith("original")
            colour = "0.55" if old else f"C{i}"
            style = (":" if "MLP" in key else "--") if old else "-"
            axis.plot(entry["strengths"], np.array(values) * 100, style, color=colour, label=key)
        axis.set(title=name, xlabel=entry["unit"], ylim=(40, 100.5))
        axis.grid(alpha=0.3)
    for row in axes:
        row[0].set_ylabel("right, %")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncol=5, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    folder = datasets.data_folder(options.data_dir)
    _, test = datasets.load("mnist", folder, download=False)
    table = measure(networks(folder), test.images.astype(np.float32) / 255, test.labels)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"dataset": "mnist, 10,000 test images", "changes": table}, indent=1)
    (RESULTS / "robustness.json").write_text(text + "\n")
    plot(table, RESULTS / "robustness.png")
    for name, entry in table.items():
        print(name, entry["strengths"])
        for key, values in entry["accuracy"].items():
            print(f"  {key:14}", " ".join(f"{v:7.2%}" for v in values))


if __name__ == "__main__":
    main()
