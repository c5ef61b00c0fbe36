"""How much of the machine the kernels use: useful work against the measured peak, one thread.

    python benchmarks/kernels.py --out benchmarks/results/kernels.json

Each kernel through the smallest network that uses little else. Useful work: two operations for each
multiply-add whose result counts; behind a 2 x 2 max-pooling that is one position in four going
back. Inputs are full of ink, so nothing is passed over. A bound is the larger of operations over
the measured peak and bytes (weights, inputs, outputs, each once) over the bandwidth of the level of
memory that holds them.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
import peak

sys.path.append(str(Path(__file__).parents[1]))

TABLES = ("avx512", "avx2")
MINIBATCH = 128
FEW_UNITS = 32
# Inputs and units; the first three are MNIST's first layers and the Keras CNN's last one.
DENSE = [(784, 100), (784, 128), (1600, 10), (784, 1000), (1000, 500)]
# Side and channels of the input, filters, kernel: Keras CNN, LeNet-5.
CONVOLUTIONS = [(28, 1, 32, 3), (13, 32, 64, 3), (28, 1, 6, 5), (12, 6, 16, 5)]


@dataclass
class Case:
    """One kernel, measured by calls that it is part of.

    Attributes
    ----------
    kernel : str
        What is measured: "dense forward", "convolution backward", ...
    shape : str
    flops, bytes_ : float
        Useful operations and the bytes that must move.
    calls : list of (int, callable)
        The kernel's time is the sum of these calls' times, each times +1 or -1.
    """

    kernel: str
    shape: str
    flops: float
    bytes_: float
    calls: list[tuple[int, Callable[[], object]]]
    seconds: list[list[float]] = field(default_factory=list)

    def run(self) -> None:
        self.seconds.append([clock(call) for _, call in self.calls])

    @property
    def best(self) -> float:
        """Seconds of the kernel undisturbed, as the peak is measured."""
        least = [min(times) for times in zip(*self.seconds, strict=True)]
        return sum(sign * time for (sign, _), time in zip(self.calls, least, strict=True))


def clock(call: Callable[[], object]) -> float:
    """CPU seconds of this thread: what others do meanwhile does not count. Once untimed before, as
    the other cases have emptied the caches."""
    call()
    began = time.thread_time()
    call()
    return time.thread_time() - began


def noise(*shape: int) -> np.ndarray:
    """Images without paper: nothing is zero."""
    return np.random.default_rng(0).uniform(0.1, 1, shape).astype(np.float32)


def dense(rows: int, inputs: int, units: int) -> Iterator[Case]:
    """Forward pass, weight gradient and input gradient of a dense layer.

    A prediction also checks its images and looks for paper. So the forward pass's time is what
    units beyond the first 32 cost.
    A step also packs weights, clears and copies gradients, and takes the loss. So the weight
    gradient's time is what a step costs beyond a forward pass, as far as it grows both with the
    minibatch and with the inputs; the input gradient's is what a layer before costs, as far as it
    grows with the minibatch (of few units it cannot be told from what else differs).
    """
    from common import gradients_call

    from mnistc import Dense, Sequential

    shape = f"{rows} x {inputs} x {units}"
    bytes_ = 4.0 * (rows * inputs + inputs * units + rows * units)
    net, x = Sequential([Dense(units)], inputs, seed=0), noise(rows, inputs)
    forward_calls: list[tuple[int, Callable[[], object]]] = [(1, lambda: net.predict(x, 1))]
    counted = units
    if units > FEW_UNITS:
        few = Sequential([Dense(FEW_UNITS)], inputs, seed=0)
        forward_calls.append((-1, lambda: few.predict(x, 1)))
        counted -= FEW_UNITS
    yield Case("dense forward", shape, 2.0 * rows * inputs * counted, bytes_, forward_calls)
    weight_calls: list[tuple[int, Callable[[], object]]] = []
    input_calls: list[tuple[int, Callable[[], object]]] = []
    for sign, n in ((1, rows), (-1, 1)):
        for side, i in ((sign, inputs), (-sign, 1)):
            layer, given = Sequential([Dense(units)], i, seed=0), noise(n, i)
            weight_calls.append((side, gradients_call(layer, given)))
            weight_calls.append((-side, functools.partial(layer.predict, given, 1)))
        # A layer of one input before it asks for the input gradient.
        deep, thin = Sequential([Dense(inputs), Dense(units)], 1, seed=0), noise(n, 1)
        layer, given = Sequential([Dense(units)], inputs, seed=0), noise(n, inputs)
        input_calls.append((sign, gradients_call(deep, thin)))
        input_calls.append((-sign, gradients_call(layer, given)))
    weight_flops = 2.0 * (rows - 1) * (inputs - 1) * units  # those that count in the difference
    input_flops = 2.0 * (rows - 1) * inputs * units
    yield Case("dense weight gradient", shape, weight_flops, bytes_, weight_calls)
    if units >= FEW_UNITS:
        yield Case("dense input gradient", shape, input_flops, bytes_, input_calls)


def convolution(side: int, channels: int, filters: int, size: int, n: int = 64) -> Iterator[Case]:
    """Forward pass and gradients of a convolution with ReLU and 2 x 2 max-pooling."""
    from common import gradients_call

    from mnistc import Activation, Conv2D, GlobalAveragePool2D, MaxPool2D, Sequential

    places = ((side - size + 1) // 2 * 2) ** 2
    taps = size * size * channels
    shape = f"{side} x {side} x {channels}, {filters} of {size} x {size}, pooled"
    flops = 2.0 * n * places * taps * filters
    bytes_ = 4.0 * (n * side * side * channels + taps * filters + n * places * filters / 4)
    # Means end it, which cost the least: the loss takes no pooled layer.
    end = [GlobalAveragePool2D(), Activation("linear")]
    layers = [Conv2D(filters, size, activation="relu"), MaxPool2D(2), *end]
    net = Sequential(layers, (side, side, channels), seed=0)
    x = noise(n, side, side, channels)

    def forward() -> object:
        return net.predict(x, 1)

    yield Case("convolution forward", shape, flops, bytes_, [(1, forward)])
    if channels == 1:
        calls = [(1, gradients_call(net, x)), (-1, forward)]
        yield Case("convolution backward", shape, flops / 4, bytes_, calls)
        return
    # A layer before it asks for the input gradient; what that layer costs by itself is taken off.
    before = Conv2D(channels, 1)
    thin = noise(n, side, side, 1)
    calls = []
    for sign, rest in ((1, layers), (-1, end)):
        deep = Sequential([before, *rest], (side, side, 1), seed=0)
        calls.append((sign, gradients_call(deep, thin)))
        calls.append((-sign, functools.partial(deep.predict, thin, 1)))
    yield Case("convolution backward", shape, 2 * flops / 4, 2 * bytes_, calls)


def cases() -> list[Case]:
    found = [case for shape in DENSE for case in dense(MINIBATCH, *shape)]
    return found + [case for shape in CONVOLUTIONS for case in convolution(*shape)]


def bound(case: Case, peaks: dict[str, Any], table: str) -> tuple[float, str]:
    """Seconds that the machine needs at least, and what for."""
    most = peak.peak_of(peaks, table, 1) or 0.0
    arithmetic = case.flops / most / 1e9
    widths = peaks["gbytes_per_second"]["1"]
    level = next((k for k, size in peak.LEVELS.items() if case.bytes_ <= 2 * size), "memory")
    memory = case.bytes_ / widths[level] / 1e9 if widths else 0.0
    return max((arithmetic, "arithmetic"), (memory, level))


def measure(rounds: int, peaks: dict[str, Any]) -> dict[str, Any]:
    from mnistc import _core

    chosen = _core.kernels()
    everything: list[tuple[str, Case]] = []
    for table in TABLES:
        if table in _core.available_kernels():
            _core.use_kernels(table)
            everything += [(table, case) for case in cases()]
    _core.use_kernels(chosen)
    for number in range(rounds + 2):
        for _, case in everything:
            if number == 2:
                case.seconds.clear()  # the first two warm up
            case.run()
    rows = []
    for table, case in everything:
        seconds, limit = bound(case, peaks, table)
        rows.append(
            {
                "table": table,
                "kernel": case.kernel,
                "shape": case.shape,
                "flops": case.flops,
                "bytes": case.bytes_,
                "gflops_per_second": case.flops / case.best / 1e9,
                "limit": limit,
                "fraction": seconds / case.best,
                "seconds": [[round(t, 9) for t in times] for times in case.seconds],
                "signs": [sign for sign, _ in case.calls],
            }
        )
    return {
        "kind": "kernels",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": rounds,
        "threads": 1,
        "load_before": machine.load(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "peak": {key: peaks[key]["1"] for key in ("gflops", "gbytes_per_second")},
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=151)
    parser.add_argument("--peak", default="", help="file of peak.py; measured anew unless told")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    peaks = machine.read(options.peak) if options.peak else peak.measure()
    result = measure(options.rounds, peaks)
    for row in result["rows"]:
        print(
            f"{row['table']:7} {row['kernel']:21} {row['shape']:38} "
            f"{row['gflops_per_second']:7.1f} GFLOP/s, {row['fraction']:4.0%} of {row['limit']}"
        )
    if options.out:
        machine.write(options.out, result)


if __name__ == "__main__":
    main()
