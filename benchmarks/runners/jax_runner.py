"""JAX itself: a whole epoch as one jit-compiled scan, written as its users write small networks."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from works import NETWORKS, Data, Work


def initialize(network: str, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Weights and biases: He normal before relu, Glorot normal else."""
    side, channels, width, parameters = 28, 1, 784, []
    for kind, *arguments in NETWORKS[network]:
        if kind == "conv":
            shape = (arguments[1], arguments[1], channels, arguments[0])
            side, channels = side - arguments[1] + 1, arguments[0]
            width = side * side * channels
        elif kind == "dense":
            shape, width = (width, arguments[0]), arguments[0]
        else:
            if kind == "pool":
                side //= 2
                width = side * side * channels
            continue
        key, part = jax.random.split(key)
        fan_in = int(np.prod(shape[:-1]))
        fan = fan_in / 2 if arguments[-1] == "relu" else (fan_in + shape[-1]) / 2
        parameters.append((jax.random.normal(part, shape) / fan**0.5, jnp.zeros(shape[-1])))
    return parameters


def pool(x: jax.Array) -> jax.Array:
    """2 x 2 maximum by reshaping: its gradient is much faster than reduce_window's on a CPU."""
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def apply(network: str, parameters, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Logits."""
    given = iter(parameters)
    last = len(NETWORKS[network]) - 1
    for index, (kind, *arguments) in enumerate(NETWORKS[network]):
        if kind == "conv":
            weight, bias = next(given)
            numbers = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, weight, (1, 1), "VALID", dimension_numbers=numbers)
            x = x + bias
        elif kind == "dense":
            weight, bias = next(given)
            x = x @ weight + bias
        elif kind == "pool":
            x = pool(x)
        elif kind == "flatten":
            x = x.reshape(len(x), -1)
        elif key is not None:
            keep = 1 - arguments[0]
            x = jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)
        if kind in ("conv", "dense") and index < last:
            x = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[arguments[-1]](x)
    return x


class Runner:
    def __init__(self, work: Work, data: Data, threads: int, options: dict) -> None:
        jax.config.update("jax_default_prng_impl", "unsafe_rbg")  # the fast one
        self.work, self.data, self.options = work, data, options
        self.parameters = initialize(work.network, jax.random.key(0))
        self.sigmoid = work.network == "mlp"
        self.x = jnp.asarray(data.float_images(work.images)[..., None])
        self.chunk = options.get("chunk", 1000)
        if work.kind == "train":
            labels = data.first_labels(work.images)
            self.y = jax.nn.one_hot(labels, 10)
            zeros = jax.tree.map(jnp.zeros_like, self.parameters)
            moments = (zeros, jax.tree.map(jnp.zeros_like, zeros))
            self.state = (self.parameters, moments, jnp.int32(0), jax.random.key(1))
            self.epoch = jax.jit(self._epoch, donate_argnums=0)
        last = jax.nn.sigmoid if self.sigmoid else jax.nn.softmax
        self.predictor = jax.jit(lambda p, x: last(apply(work.network, p, x)))

    def _loss(self, parameters, x, y, key):
        z = apply(self.work.network, parameters, x, key)
        if self.sigmoid:
            return (jax.nn.softplus(z) - y * z).sum() / len(z)
        return -(y * jax.nn.log_softmax(z)).sum() / len(z)

    def _step(self, state, batch):
        parameters, (m, v), count, key = state
        key, part = jax.random.split(key)
        gradient = jax.grad(self._loss)(parameters, *batch, part)
        rate, count = self.work.learning_rate, count + 1
        if self.work.optimizer == "sgd":
            parameters = jax.tree.map(lambda w, g: w - rate * g, parameters, gradient)
            return (parameters, (m, v), count, key), None
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        parameters = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), parameters, m, v
        )
        return (parameters, (m, v), count, key), None

    def _epoch(self, state, x, y):
        parameters, moments, count, key = state
        key, part = jax.random.split(key)
        order = jax.random.permutation(part, len(x))
        size = self.work.batch_size
        batches = (
            x[order].reshape(-1, size, *x.shape[1:]),
            y[order].reshape(-1, size, *y.shape[1:]),
        )
        step = partial(lax.scan, self._step, unroll=self.options.get("unroll", 1))
        return step((parameters, moments, count, key), batches)[0]

    def train(self) -> None:
        self.state = jax.block_until_ready(self.epoch(self.state, self.x, self.y))

    def latency(self) -> None:
        image, predictor, parameters = np.asarray(self.x[:1]), self.predictor, self.parameters
        for _ in range(self.work.images):
            np.asarray(predictor(parameters, image))

    def throughput(self) -> None:
        x = np.asarray(self.x)
        for start in range(0, self.work.images, self.chunk):
            np.asarray(self.predictor(self.parameters, x[start : start + self.chunk]))

    def accuracy(self) -> float:
        x = self.data.test_images[..., None].astype(np.float32) / 255
        guess = [
            np.asarray(self.predictor(self.state[0], part)).argmax(1)
            for part in np.array_split(x, 10)
        ]
        return float((np.concatenate(guess) == self.data.test_labels).mean())

    def detail(self) -> dict:
        return {"devices": str(jax.devices())}
