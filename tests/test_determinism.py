"""The same seed gives the same bits: whatever the threads, the memory and the neighbours do."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import mnistc
from mnistc import (
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    MaxPool2D,
    Sequential,
    _core,
)

KERAS_CNN = [Conv2D(32, 3, activation="relu"), MaxPool2D(2), Conv2D(64, 3, activation="relu"),
             MaxPool2D(2), Flatten(), Dropout(0.5), Dense(10, "softmax")]  # fmt: skip
NORMAL = [Conv2D(12, 3), BatchNorm(activation="relu"), MaxPool2D(2), DepthwiseConv2D(3, "same"),
          BatchNorm(), Conv2D(17, 1, activation="relu"), Dense(33), BatchNorm(activation="tanh"),
          Dense(10, "softmax")]  # fmt: skip
AUGMENT = {"rotation": 10.0, "shift": 1.0, "elastic_alpha": 20.0, "noise": 0.1, "erase": 0.3,
           "erase_size": 0.3, "thickness": 0.5}  # fmt: skip

TRAININGS = {
    "original": ([Dense(100, "sigmoid"), Dense(30, "sigmoid"), Dense(10, "sigmoid")],
                 {"batch_size": 10, "optimizer": SGD(0.5, weight_decay=1e-4)}),
    # Rows that threads cut into other whole and half vectors than one thread does.
    "uneven": ([Dense(150, "sigmoid"), Dense(10, "sigmoid")],
               {"batch_size": 32, "optimizer": SGD(0.5)}),
    "long": ([Dense(200, "relu"), Dense(10, "softmax")],
             {"batch_size": 32, "optimizer": SGD(0.05)}),
    "momentum": ([Dense(70, "relu"), Dense(10, "softmax")],
                 {"batch_size": 32, "optimizer": SGD(0.05, 0.9, nesterov=True)}),
    "keras-cnn": (KERAS_CNN, {"batch_size": 64, "optimizer": Adam(0.001)}),
    "batch-norm": (NORMAL, {"batch_size": 50, "optimizer": AdamW(0.002), "ema": 0.99}),
    "wide": ([Dense(300, "relu"), Dropout(0.2), Dense(190, "relu"), Dense(10, "softmax")],
             {"batch_size": 100, "optimizer": Adam(0.001, clip_norm=0.5)}),
    "augmented": ([Conv2D(9, 5, activation="relu"), MaxPool2D(2), Dense(10, "softmax")],
                  {"batch_size": 33, "optimizer": Adam(0.001), "augment": AUGMENT}),
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return mnistc.datasets.synthetic.generate(397, seed=1)


def trained(name, data, **options):
    layers, settings = TRAININGS[name]
    net = Sequential(layers, (28, 28, 1), seed=3)
    options = {"epochs": 2, "n_threads": 1, "verbose": 0, **settings, **options}
    history = net.fit(*data, **options)
    weights = b"".join(np.ascontiguousarray(array).tobytes() for array in net.weights.values())
    return weights, history["loss"], net.predict(data[0], n_threads=options["n_threads"]).tobytes()


@pytest.mark.parametrize("name", TRAININGS)
def test_threads_change_no_bit(table, name, data):
    slow = table != _core.available_kernels()[-1]  # one is enough: they share all but the loops
    if slow:
        data = data[0][:150], data[1][:150]
    counts = (3,) if slow else (1, 2, 3, 5)
    wanted = trained(name, data)
    for n_threads in counts:
        assert trained(name, data, n_threads=n_threads) == wanted, n_threads


@pytest.mark.parametrize("name", ["original", "keras-cnn"])
def test_pauses_of_a_training_change_no_bit(table, name, data, monkeypatch):
    """How many steps go into one call of the core depends on the clock."""
    images, labels = data
    some = images[:150], labels[:150]
    wanted = trained(name, some, batch_size=2, epochs=1)
    monkeypatch.setattr("mnistc.training._CHUNK_SECONDS", 1e-9)
    assert trained(name, some, batch_size=2, epochs=1) == wanted


def test_more_threads_than_cpus(data):
    for name in ("keras-cnn", "original", "batch-norm"):
        assert trained(name, data, n_threads=64, epochs=1) == trained(name, data, epochs=1)


def test_every_table_learns_the_same(data):
    losses = []
    before = _core.kernels()
    for table in _core.available_kernels():
        _core.use_kernels(table)
        losses.append(trained("momentum", data, epochs=1)[1])
    _core.use_kernels(before)
    np.testing.assert_allclose(losses, losses[0] * np.ones_like(losses), rtol=1e-4)


OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "all": {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 0.1, "ema_decay": 0.9},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("name", TRAININGS)
def test_scratch_memory_is_never_read_before_it_is_written(table, name, optimizer, data):
    layers, settings = TRAININGS[name]
    x, labels = data[0].reshape(397, -1)[:75], data[1][:75].astype(np.int32)
    last = layers[-1].activation
    results = []
    for fill in (-1, 0x00, 0xFF, 0x7F):
        net = Sequential(layers, (28, 28, 1), seed=3).core
        trainer = _core.Trainer(net, batch_size=32, loss=f"{last}_cross_entropy", seed=1,
                                augment=settings.get("augment"), scratch_fill=fill,
                                **optimizer)  # fmt: skip
        rates = np.full(3, 0.01, np.float32)
        loss, right, finite = trainer.run(x, labels, None, np.arange(75), rates, 0, 2)
        assert finite
        _, gradient = trainer.gradients(x[:7], labels[:7])
        results.append((loss, right, net.parameters.tobytes(), net.state.tobytes(),
                        gradient.tobytes()))  # fmt: skip
    assert all(result == results[0] for result in results)


def in_threads(*works):
    """Run the works at once; what they returned or raised, in order."""
    results = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run(i, work):
        barrier.wait()
        try:
            results[i] = work()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_networks_at_once_train_as_alone(data):
    names = ("keras-cnn", "batch-norm", "original")
    wanted = [trained(name, data, n_threads=2, epochs=1) for name in names]
    works = [lambda name=name: trained(name, data, n_threads=2, epochs=1) for name in names]
    assert in_threads(*works) == wanted


def test_a_network_in_use_is_refused(data):
    """Whoever comes second is told so, and the work of the first is as if nobody had come."""
    x, labels = data[0].reshape(397, -1), data[1].astype(np.int32)
    order = np.random.default_rng(0).integers(0, 397, 1280)
    rates = np.full(20, 0.01, np.float32)

    def made():
        net = Sequential(KERAS_CNN, (28, 28, 1), seed=3).core
        options = {"batch_size": 64, "loss": "softmax_cross_entropy", "optimizer": "sgd"}
        return net, _core.Trainer(net, **options)

    net, trainer = made()
    wanted = trainer.run(x, labels, None, order, rates, 0, 2), net.parameters.tobytes()
    net, trainer = made()
    done = threading.Event()
    refused = []

    def insist():
        while True:
            try:
                return trainer.run(x, labels, None, order, rates, 0, 2)
            except RuntimeError as error:
                refused.append(str(error))

    def train():
        try:
            return insist(), net.parameters.tobytes()
        finally:
            done.set()

    def disturb():
        while not done.is_set():
            try:
                net.predict(x[:4])
            except RuntimeError as error:
                refused.append(str(error))

    assert in_threads(train, disturb, disturb)[0] == wanted
    assert set(refused) == {"the network is in use by another thread"}


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def send(pipe, work):
    pipe.send(work())
    pipe.close()


def in_fork(work):
    ours, theirs = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=send, args=(theirs, work))
    process.start()
    theirs.close()
    assert ours.poll(120), "the forked child does not answer"
    result = ours.recv()
    process.join(30)
    assert process.exitcode == 0
    return result


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_training_goes_on_after_a_fork(data):
    def work():
        return trained("keras-cnn", data, n_threads=3, epochs=1)

    wanted = work()
    assert in_fork(work) == wanted  # the child has no workers and makes its own
    assert in_fork(lambda: in_fork(work)) == wanted
    assert work() == wanted


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_others_train(data):
    """The pool is in the middle of a job of another thread when the process is forked."""

    def work():
        return trained("original", data, n_threads=2, epochs=1)

    wanted = work()
    stop = threading.Event()

    def train():
        while not stop.is_set():
            trained("original", data, n_threads=2, epochs=1)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(5):
            assert in_fork(work) == wanted
    finally:
        stop.set()
        thread.join()


def python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_bf16_without_tiles_is_chosen_only_where_it_is_fast():
    tables = _core.available_kernels()
    cpu = Path("/proc/cpuinfo")
    slow = tables[-1] == "avx512bf16" and cpu.exists() and "GenuineIntel" in cpu.read_text()
    wanted = tables[-2] if slow else tables[-1]
    program = "from mnistc import _core; print(_core.kernels())"
    assert python(program, MNISTC_KERNELS="").stdout.strip() == wanted


def test_the_environment_chooses_the_kernels():
    program = "from mnistc import _core; print(_core.kernels())"
    for table in _core.available_kernels():
        assert python(program, MNISTC_KERNELS=table).stdout.strip() == table
    missing = {"neon", "amx", "avx512bf16", "avx512"} - set(_core.available_kernels())
    for table in (*missing, "mmx"):
        done = python(program, MNISTC_KERNELS=table)
        assert done.returncode != 0
        assert f"kernel table '{table}' is not available on this machine" in done.stderr
    with pytest.raises(ValueError, match="'mmx' is not available on this machine; it can run ref"):
        _core.use_kernels("mmx")


def test_the_environment_chooses_the_threads():
    program = "from mnistc import _core; print(_core.default_threads())"
    assert python(program, MNISTC_THREADS="3").stdout.strip() == "3"
    assert int(python(program, MNISTC_THREADS="").stdout) >= 1
    for wrong in ("0", "-2", "many", "1e3", "257"):
        done = python(program, MNISTC_THREADS=wrong)
        assert f"MNISTC_THREADS must be a number from 1 to 256, got {wrong!r}" in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_affinity_limits_the_threads():
    cpu = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{cpu}}})\n"
    program += "from mnistc import _core; print(_core.default_threads())"
    assert python(program, MNISTC_THREADS="").stdout.strip() == "1"


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 9])
def test_slices_of_few_channels_keep_to_themselves(channels):
    """A thread's images lie next to another's: none writes beyond its own, in any order."""
    layers = [Conv2D(channels, 1, activation="tanh"), Conv2D(32, 3, activation="relu")]
    net = Sequential([*layers, MaxPool2D(2), Dense(3, "softmax")], (28, 28, 2), 0)
    rng = np.random.default_rng(0)
    x = rng.random((40, net.core.n_inputs), dtype=np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 40)]
    trainer = _core.Trainer(net.core, batch_size=40, loss="softmax_cross_entropy")
    _, wanted = trainer.gradients(x, y, None)
    for _ in range(60):
        np.testing.assert_array_equal(trainer.gradients(x, y, None)[1], wanted)
