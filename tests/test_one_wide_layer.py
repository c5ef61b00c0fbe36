"""A network that is one wide dense layer: all of a minibatch's values must be kept."""

import numpy as np
import pytest

from mnistc import Dense, Sequential, _core


@pytest.mark.parametrize("n", [7, 300])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_gradient_of_one_wide_layer(n, n_threads):
    rng = np.random.default_rng(0)
    x = rng.random((n, 784), dtype=np.float32) * (rng.random((n, 784)) < 0.2)
    targets = rng.random((n, 100), dtype=np.float32)
    net = Sequential([Dense(100)], 784, seed=0)
    trainer = _core.Trainer(
        net.core, batch_size=n, loss="mean_squared_error", optimizer="sgd", scratch_fill=255
    )
    _, gradient = trainer.gradients(x.astype(np.float32), targets, n_threads=n_threads)
    weight, bias = (np.float64(value) for value in net.weights.values())
    error = 2 * (x @ weight + bias - targets) / targets.size
    expected = np.concatenate([(x.T @ error).ravel(), error.sum(0)])
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-7)
