"""Kernels, each through the smallest network that uses little else.

    pytest benchmarks --benchmark-only

`extra_info` has the useful floating-point operations of a call and, after it, GFLOP/s and the
fraction of the measured peak (peak.py).
"""

from __future__ import annotations

import kernels
import numpy as np
import pytest
from common import finish, image_batch, trainer_call

from mnistc import Augment, Conv2D, Dense, MaxPool2D, Sequential, _core, strokes

pytest.importorskip("pytest_benchmark")

# Rows (images), inputs and outputs of the matrix products that these networks are made of.
PRODUCTS = [(kernels.MINIBATCH, *shape) for shape in kernels.DENSE]
PRODUCTS += [(10, 784, 100), (1000, 100, 30), (2048, 256, 120), (2048, 120, 84), (2048, 512, 512)]
CONVOLUTIONS = [*kernels.CONVOLUTIONS, (14, 32, 32, 3)]


def dense(rows: int, inputs: int, outputs: int) -> tuple[Sequential, np.ndarray]:
    x = np.random.default_rng(0).random((rows, inputs), dtype=np.float32)
    return Sequential([Dense(outputs)], inputs, seed=0), x


@pytest.mark.parametrize("shape", PRODUCTS, ids=str)
def test_matrix_product(benchmark, shape):
    """Forward pass of a dense layer: an sgemm with a bias."""
    net, x = dense(*shape)
    benchmark(net.predict, x, 1)
    finish(benchmark, flops=2 * np.prod(shape))


@pytest.mark.parametrize("shape", PRODUCTS, ids=str)
def test_matrix_product_gradient(benchmark, shape):
    """A dense layer's forward pass and weight gradient (the first layer needs no other)."""
    net, x = dense(*shape)
    benchmark(trainer_call(net, x, "mean_squared_error"))
    finish(benchmark, flops=2 * 2 * np.prod(shape))


def convolution(side: int, channels: int, filters: int, size: int, n: int):
    layers = [Conv2D(filters, size, activation="relu")]
    net = Sequential(layers, (side, side, channels), seed=0)
    x = np.random.default_rng(0).random((n, side, side, channels), dtype=np.float32)
    return net, x, 2 * n * (side - size + 1) ** 2 * size * size * channels * filters


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_convolution(benchmark, shape):
    net, x, flops = convolution(*shape, n=64)
    benchmark(net.predict, x, 1)
    finish(benchmark, flops=flops)


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_convolution_gradients(benchmark, shape):
    """Forward and both gradients: a 1 x 1 convolution before it asks for that of the input."""
    side, channels, filters, size = shape
    layers = [Conv2D(channels, 1), Conv2D(filters, size)]
    net = Sequential(layers, (side, side, 1), seed=0)
    _, _, flops = convolution(*shape, n=64)
    x = image_batch(64, side)
    benchmark(trainer_call(net, x, "mean_squared_error"))
    finish(benchmark, flops=3 * flops)


@pytest.mark.parametrize("side, channels", [(26, 32), (10, 64)])
def test_max_pool(benchmark, side, channels):
    net = Sequential([MaxPool2D(2)], (side, side, channels), seed=0)
    x = np.random.default_rng(0).random((64, side, side, channels), dtype=np.float32)
    benchmark(net.predict, x, 1)
    finish(benchmark, bytes_=x.nbytes * 5 // 4)


@pytest.mark.parametrize(
    "options",
    [Augment(shift=2), Augment(rotation=10, scale=0.1, shift=2), Augment(elastic_alpha=34)],
    ids=["shift", "affine", "elastic"],
)
def test_augment(benchmark, options):
    from dataclasses import asdict

    images = (image_batch(256) * 255).astype(np.uint8)
    benchmark(_core.augment, images, asdict(options))
    finish(benchmark, images=256)


@pytest.mark.parametrize("points", [20, 200])
def test_rasterize(benchmark, points):
    angle = np.linspace(0, 2 * np.pi, points)
    drawing = [np.stack([np.cos(angle), np.sin(2 * angle)], axis=1)]
    benchmark(strokes.rasterize, drawing)
    finish(benchmark, images=1)
