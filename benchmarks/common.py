"""What the kernel and step benchmarks share."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import peak

from mnistc import Sequential, _core


def image_batch(n: int, side: int = 28) -> np.ndarray:
    """Made-up images (n, side, side, 1), float32 0..1, four fifths of the pixels 0 as in MNIST."""
    rng = np.random.default_rng(0)
    ink = np.repeat(rng.random((n, side, -(-side // 7))) < 0.2, 7, axis=2)[:, :, :side]
    return (rng.random((n, side, side), dtype=np.float32) * ink)[..., None]


def trainer_call(net: Sequential, x: np.ndarray, loss: str, threads: int = 1) -> Callable:
    """One optimiser step (plain SGD) on the minibatch x, without fit's own work."""
    flat = x.reshape(len(x), -1)
    outputs = net.classes
    if loss == "mean_squared_error" or loss == "sigmoid_cross_entropy":
        targets = np.random.default_rng(1).random((len(x), outputs), dtype=np.float32)
    else:
        targets = np.arange(len(x), dtype=np.int32) % outputs
    trainer = _core.Trainer(net.core, batch_size=len(x), loss=loss, optimizer="sgd")
    order, rates = np.arange(len(x), dtype=np.int64), np.full(1, 1e-6, np.float32)
    return lambda: trainer.run(flat, targets, None, order, rates, 0, threads)


def gradients_call(net: Sequential, x: np.ndarray) -> Callable:
    """Mean squared error of the minibatch x and its gradient, on one thread."""
    flat = x.reshape(len(x), -1)
    targets = np.random.default_rng(1).random((len(x), net.classes), dtype=np.float32)
    trainer = _core.Trainer(
        net.core, batch_size=len(x), loss="mean_squared_error", optimizer="sgd", momentum=0.5
    )
    return lambda: trainer.gradients(flat, targets, n_threads=1)


@functools.cache
def measured_peak() -> dict:
    """Peaks of this machine, measured once a session."""
    return peak.measure(0.05)


def finish(benchmark, flops: float = 0, bytes_: float = 0, images: int = 0, threads: int = 1):
    """Put operations, and what they mean by the second, beside the seconds."""
    info = benchmark.extra_info
    info["threads"], info["kernels"] = threads, _core.kernels()
    if benchmark.stats is None:  # --benchmark-disable
        return
    seconds = benchmark.stats.stats.median
    if flops:
        info["flops"] = int(flops)
        info["gflops_per_second"] = round(flops / seconds / 1e9, 2)
        most = peak.peak_of(measured_peak(), _core.kernels(), threads)
        if most:
            info["fraction_of_peak"] = round(info["gflops_per_second"] / most, 3)
    if bytes_:
        info["bytes"] = int(bytes_)
        info["gbytes_per_second"] = round(bytes_ / seconds / 1e9, 2)
    if images:
        info["images_per_second"] = round(images / seconds)
