"""How time grows: with width, minibatch, threads and images. Only mnistc.

    python benchmarks/scaling.py --out benchmarks/results/scaling.json

Work that grows linearly shows as a flat line of GFLOP/s. FLOPs are useful ones: two for each
multiply-add of the layers, forward and both gradients, less the first layer's input gradient.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
from works import Data, cpu_count, load_data

sys.path.append(str(Path(__file__).parents[1]))

WIDTHS = [1, 2, 4, 8, 16]
MINIBATCHES = [1, 4, 16, 64, 256, 1024, 4096]
IMAGES = [3_750, 7_500, 15_000, 30_000, 60_000]


def layers(network: str, width: int = 1) -> list:
    """The MLP, `width` times as wide, or the Keras CNN, `width` quarters as wide."""
    from mnistc import Conv2D, Dense, Dropout, Flatten, MaxPool2D

    if network == "mlp":
        hidden = [Dense(size * width, "sigmoid") for size in (100, 30)]
        return [*hidden, Dense(10, "softmax")]
    return [
        Conv2D(8 * width, 3, activation="relu"),
        MaxPool2D(2),
        Conv2D(16 * width, 3, activation="relu"),
        MaxPool2D(2),
        Flatten(),
        Dropout(0.5),
        Dense(10, "softmax"),
    ]


def training_flops(net: Any) -> int:
    """Of one image."""
    rows = [row.multiply_adds for row in net.summary(print_fn=None).layers]
    first = next(count for count in rows if count)
    return 2 * (3 * sum(rows) - first)


class Point:
    """One training to be timed: a network, a minibatch, a number of images and of threads."""

    def __init__(self, data: Data, network: str, x: int, **settings: int) -> None:
        import mnistc

        self.network, self.x = network, x
        self.n = settings.get("images", 0)
        self.batch_size = settings.get("batch_size", 128)
        self.threads = settings.get("threads", cpu_count())
        self.net = mnistc.Sequential(layers(network, settings.get("width", 4)), seed=0)
        self.flops = training_flops(self.net)
        if not self.n:  # about 2 GFLOP: a few tens of milliseconds
            self.n = int(np.clip(2e9 / self.flops, 2 * self.batch_size, 60_000))
            self.n = max(self.n // self.batch_size, 1) * self.batch_size
        self.images, self.labels = data.uint8_images(self.n), data.first_labels(self.n)
        self.seconds: list[float] = []

    def run(self) -> None:
        began = time.perf_counter()
        self.net.fit(
            self.images,
            self.labels,
            epochs=1,
            batch_size=self.batch_size,
            optimizer="sgd",
            n_threads=self.threads,
            verbose=0,
        )
        self.seconds.append(time.perf_counter() - began)

    def result(self) -> dict[str, Any]:
        median = statistics.median(self.seconds)
        return {
            "network": self.network,
            "x": self.x,
            "images": self.n,
            "batch_size": self.batch_size,
            "threads": self.threads,
            "microseconds_per_image": median / self.n * 1e6,
            "gflops_per_second": self.flops * self.n / median / 1e9,
            "seconds": self.seconds,
        }


def points(data: Data) -> dict[str, list[Point]]:
    """All curves; width 4 is the Keras CNN."""
    threads = sorted({1, *(2**k for k in range(12) if 2**k <= cpu_count()), cpu_count()})
    both = ("mlp", "cnn")
    return {
        "width": [Point(data, n, w, width=w, threads=1) for n in both for w in WIDTHS],
        "minibatch": [
            Point(data, n, b, batch_size=b, threads=1, width=1 if n == "mlp" else 4)
            for n in both
            for b in MINIBATCHES
        ],
        "threads": [Point(data, n, t, threads=t) for n in both for t in threads],
        "images": [
            Point(data, "mlp", i, images=i, width=1, batch_size=16, threads=1) for i in IMAGES
        ],
    }


def roofline(repeats: int) -> list[dict[str, Any]]:
    """Forward passes, 1 thread: operations, bytes that must move (weights, inputs, outputs)."""
    from common import image_batch

    import mnistc

    found = []

    def add(name: str, net: Any, x: np.ndarray, call: Callable[[], object]) -> None:
        call()
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        flops = 2 * net.summary(print_fn=None).multiply_adds * len(x)
        moved = 4 * (x.size + net.n_parameters + len(x) * int(np.prod(net.output_shape)))
        seconds = statistics.median(times)
        found.append(
            {
                "name": name,
                "threads": 1,
                "flops": flops,
                "bytes": moved,
                "gflops_per_second": flops / seconds / 1e9,
                "seconds": times,
            }
        )

    rng = np.random.default_rng(0)
    for rows, inputs, outputs in [(10, 784, 100), (1000, 784, 100), (2048, 512, 512)]:
        net = mnistc.Sequential([mnistc.Dense(outputs)], inputs)
        x = rng.random((rows, inputs), dtype=np.float32)
        add(f"dense {rows}x{inputs}x{outputs}", net, x, lambda net=net, x=x: net.predict(x, 1))
    for side, channels, filters, size in [(28, 1, 32, 3), (13, 32, 64, 3), (12, 6, 16, 5)]:
        net = mnistc.Sequential([mnistc.Conv2D(filters, size)], (side, side, channels))
        x = rng.random((64, side, side, channels), dtype=np.float32)
        add(f"conv {channels}-{filters}", net, x, lambda net=net, x=x: net.predict(x, 1))
    net, x = mnistc.Sequential(layers("cnn", 4)), image_batch(512)
    add("CNN", net, x, lambda: net.predict(x, 1))
    return found


def measure(rounds: int, budget: float, dataset: str) -> dict[str, Any]:
    deadline = time.monotonic() + budget
    data = load_data(dataset)
    curves = points(data)
    everything = [point for curve in curves.values() for point in curve]
    done = 0
    for number in range(rounds + 1):
        for point in everything:
            point.run()
            if number == 0:
                point.seconds.clear()  # warm-up
        done = number
        if number and time.monotonic() > deadline:
            break
    return {
        "kind": "scaling",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": done,
        "dataset": data.name,
        "load_before": machine.load(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "curves": {name: [point.result() for point in curve] for name, curve in curves.items()},
        "roofline": roofline(3 * rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=120, help="seconds")
    parser.add_argument("--dataset", default="auto", choices=["auto", "mnist", "synthetic"])
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    result = measure(options.rounds, options.budget, options.dataset)
    for name, curve in result["curves"].items():
        print(name)
        for point in curve:
            print(
                f"  {point['network']} {point['x']:6}: {point['microseconds_per_image']:9.2f} us "
                f"an image, {point['gflops_per_second']:8.2f} GFLOP/s"
            )
    for point in result["roofline"]:
        print(f"  {point['name']:20} {point['gflops_per_second']:8.2f} GFLOP/s")
    if options.out:
        machine.write(options.out, result)


if __name__ == "__main__":
    main()
