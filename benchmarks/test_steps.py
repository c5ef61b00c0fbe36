"""Whole steps: what one minibatch of training and one call of predict take.

pytest benchmarks --benchmark-only
"""

from __future__ import annotations

import pytest
from common import finish, image_batch, trainer_call
from works import cpu_count, mnistc_layers

import mnistc

pytest.importorskip("pytest_benchmark")

STEPS = [("mlp", 10), ("mlp", 128), ("cnn", 128), ("lenet", 2048)]
THREADS = sorted({1, cpu_count()})


def build(network: str) -> tuple[mnistc.Sequential, int]:
    """The network and its multiply-adds for one image."""
    net = mnistc.Sequential(mnistc_layers(network), (28, 28, 1), seed=0)
    return net, net.summary(print_fn=None).multiply_adds


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("network, batch_size", STEPS)
def test_training_step(benchmark, network, batch_size, threads):
    net, products = build(network)
    loss = "sigmoid_cross_entropy" if network == "mlp" else "softmax_cross_entropy"
    call = trainer_call(net, image_batch(batch_size), loss, threads)
    benchmark(call)
    finish(benchmark, flops=3 * 2 * products * batch_size, threads=threads)


@pytest.mark.parametrize("network", ["mlp", "cnn", "lenet"])
def test_predict_one(benchmark, network):
    net, products = build(network)
    benchmark(net.predict, image_batch(1), 1)
    finish(benchmark, flops=2 * products)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("network, n", [("mlp", 4096), ("cnn", 512), ("lenet", 2048)])
def test_predict_many(benchmark, network, n, threads):
    net, products = build(network)
    benchmark(net.predict, image_batch(n), threads)
    finish(benchmark, flops=2 * products * n, threads=threads)
