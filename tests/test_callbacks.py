"""Callbacks, and checkpoints: a training that was killed goes on as if it had not been."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from small_data import bars

from mnistc import (
    SGD,
    Adam,
    Augment,
    Checkpoint,
    Cosine,
    CSVLog,
    Dense,
    Dropout,
    EarlyStopping,
    FormatError,
    Sequential,
)
from mnistc.callbacks import Callback, LambdaCallback, LearningRateLog


class Stop(Exception):
    pass


class StopAt(Callback):
    """Break off after a number of steps in all."""

    def __init__(self, steps):
        self.steps = steps

    def on_chunk_end(self, run):
        if run.trainer.step >= self.steps:
            raise Stop


OPTIONS = {
    "epochs": 4,
    "batch_size": 32,
    "optimizer": Adam(0.01, clip_norm=1.0),
    "schedule": Cosine(warmup=0.2),
    "ema": 0.9,
    "augment": Augment(shift=0.5),
    "verbose": 0,
}


def network(seed=0):
    layers = [Dense(16, "relu"), Dropout(0.2), Dense(10, "softmax")]
    return Sequential(layers, input_shape=(10, 10, 1), seed=seed)


def train(net, **options):
    x, y = bars()
    return net.fit(x, y, validation_data=bars(50, seed=1), **{**OPTIONS, **options})


@pytest.fixture
def single_steps(monkeypatch):
    monkeypatch.setattr("mnistc.training._CHUNK_SECONDS", 1e-9)


@pytest.mark.parametrize("steps", [2, 12, 13, 14, 30, 51, 52])
def test_resumed_at_any_step_to_the_bit(tmp_path, single_steps, steps):
    wanted = network()
    whole = train(wanted, callbacks=EarlyStopping(patience=9))
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        train(
            network(),
            callbacks=[EarlyStopping(patience=9), Checkpoint(path, every_seconds=0), StopAt(steps)],
        )
    net = network(seed=0)
    net.core.parameters[:] = 7  # nothing of the network itself matters
    history = train(net, callbacks=[EarlyStopping(patience=9), Checkpoint(path)], resume=path)
    assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()
    assert [{**e, "seconds": 0} for e in history.epochs] == [
        {**e, "seconds": 0} for e in whole.epochs
    ]


def test_callbacks_may_come_and_go_between_interruption_and_resumption(tmp_path, single_steps):
    path, early = tmp_path / "run.npz", [EarlyStopping("loss", min_delta=9) for _ in range(3)]
    train(network(), callbacks=early[0])
    assert early[0].best_epoch == 1
    with pytest.raises(Stop):
        train(network(), callbacks=[LearningRateLog(), early[1], Checkpoint(path), StopAt(30)])
    callbacks = [CSVLog(tmp_path / "log.csv"), early[2], Checkpoint(path)]
    train(network(), callbacks=callbacks, resume=path)
    assert (early[2].best, early[2].best_epoch) == (early[0].best, 1)


class Interrupted(Callback):
    """Ctrl-C, after the folder of the checkpoints has gone."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_end(self, run, logs):
        shutil.rmtree(self.folder)
        raise KeyboardInterrupt


def test_ctrl_c_is_heard_of_where_the_checkpoint_cannot_be_written(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    net, callbacks = network(), [Checkpoint(folder / "run.npz"), Interrupted(folder)]
    before = net.core.parameters.copy()
    with pytest.warns(UserWarning, match="Checkpoint: .*run"), pytest.raises(KeyboardInterrupt):
        train(net, callbacks=callbacks)
    assert (net.core.parameters != before).any()


def test_a_callback_that_fails_on_ctrl_c_takes_no_checkpoint_away(tmp_path):
    class Failing(Callback):
        def on_epoch_end(self, run, logs):
            raise KeyboardInterrupt

        def on_interrupt(self, run):
            raise ZeroDivisionError("broken")

    path = tmp_path / "run.npz"
    with pytest.warns(UserWarning, match="Failing: broken"), pytest.raises(KeyboardInterrupt):
        train(network(), callbacks=[Failing(), Checkpoint(path)])
    assert len(train(network(), resume=path).epochs) == 4


KILLED = """
    import sys
    sys.path.insert(0, sys.argv[2])
    import test_callbacks as t
    from mnistc.callbacks import Callback, Checkpoint
    import mnistc.training
    mnistc.training._CHUNK_SECONDS = 1e-9
    class Tell(Callback):
        def on_chunk_end(self, run):
            if run.trainer.step == 30:
                print("now", flush=True)
                import time
                time.sleep(60)
    t.train(t.network(), callbacks=[Checkpoint(sys.argv[1]), Tell()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_and_resumed_to_the_bit(tmp_path, request):
    wanted = network()
    train(wanted)
    path = tmp_path / "run.npz"
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(request.path.parent)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    net = network()
    train(net, resume=path)
    assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()


def test_resuming_a_training_that_was_done(tmp_path):
    wanted = network()
    train(wanted, callbacks=Checkpoint(tmp_path / "run.npz"))
    net = network()
    assert len(train(net, resume=tmp_path / "run.npz").epochs) == 4
    assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()


def test_more_epochs_where_the_schedule_does_not_mind(tmp_path):
    wanted = network()
    train(wanted, schedule=None, epochs=5)
    train(network(), schedule=None, epochs=2, callbacks=Checkpoint(tmp_path / "run.npz"))
    net = network()
    train(net, schedule=None, epochs=5, resume=tmp_path / "run.npz")
    assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("batch_size", {"batch_size": 16}),
        ("optimizer", {"optimizer": SGD(0.1)}),
        ("epochs", {"epochs": 5}),
        ("seed", {"seed": 3}),
        ("augment", {"augment": None}),
        ("data", {"class_weight": None, "shuffle": True}),
    ],
)
def test_another_training_is_not_resumed(tmp_path, name, options):
    train(network(), callbacks=Checkpoint(tmp_path / "run.npz"))
    x, y = bars(seed=4 if name == "data" else 0)
    with pytest.raises(ValueError, match=f"a training with {name}"):
        network().fit(x, y, **{**OPTIONS, **options}, resume=tmp_path / "run.npz")


class Keeper(Callback):
    """Keeps an array."""

    def __init__(self, array=None):
        self.array = array

    def state_dict(self):
        return {"array": self.array}

    def load_state_dict(self, state):
        self.array = state["array"]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6.0).reshape(3, 2).T,
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(10)[::-3],
        np.array([True, False]),
        np.array(["one", "three"]),
        np.zeros((0, 3)),
        np.array(3.0),
    ],
)
def test_arrays_of_callbacks_come_back_as_they_were(tmp_path, array):
    path, found = tmp_path / "run.npz", Keeper()
    train(network(), epochs=1, schedule=None, callbacks=[Keeper(array), Checkpoint(path)])
    train(network(), epochs=2, schedule=None, callbacks=found, resume=path)
    assert found.array.dtype == array.dtype and np.array_equal(found.array, array)
    found.array[...] = found.array  # callbacks may write on


def test_arrays_that_no_checkpoint_can_hold_are_refused_at_once(tmp_path):
    callbacks = [Keeper(np.array([None])), Checkpoint(tmp_path / "run.npz")]
    with pytest.raises(TypeError, match=r"state_dict must hold arrays .*, got object 'array'"):
        train(network(), callbacks=callbacks)


def test_files_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    train(network(), callbacks=Checkpoint(path))
    good = path.read_bytes()
    bad = {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "noise": bytes(range(256)) * 10,
    }
    for name, data in bad.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(FormatError, match="checkpoint"):
            train(network(), resume=tmp_path / f"{name}.npz")
    np.savez_compressed(tmp_path / "packed.npz", json=np.zeros(10, np.uint8))
    np.savez(tmp_path / "other.npz", parameters=np.zeros(10))
    np.savez(tmp_path / "text.npz", json=np.frombuffer(b"[3]", np.uint8))
    np.savez(tmp_path / "object.npz", json=np.array([{}], dtype=object))
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + bytes([len(header), 0]) + header)
    for name in ("packed", "other", "text", "object", "huge"):
        with pytest.raises(FormatError, match="checkpoint"):
            train(network(), resume=tmp_path / f"{name}.npz")


def test_weights_of_another_size_in_a_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    train(network(), callbacks=Checkpoint(path))
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **{**arrays, "parameters": arrays["parameters"][:-1]})
    with pytest.raises(FormatError, match="parameters has shape"):
        train(network(), resume=path)
    meta = json.loads(arrays["json"].tobytes())
    meta["version"] = 99
    arrays["json"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(FormatError, match="version 99"):
        train(network(), resume=path)


def test_a_checkpoint_without_a_folder_is_no_surprise_at_the_end(tmp_path):
    net = network()
    before = net.core.parameters.copy()
    with pytest.raises(FileNotFoundError, match=r"a folder that exists, got .*run"):
        train(net, callbacks=Checkpoint(tmp_path / "none" / "run.npz", every_epochs=4))
    assert np.array_equal(net.core.parameters, before)


def test_checkpoint_refuses():
    with pytest.raises(ValueError, match=r"end in \.npz"):
        Checkpoint("run.pt")
    with pytest.raises(ValueError, match="every_epochs"):
        Checkpoint("run.npz", every_epochs=0)


def test_early_stopping_restores_the_best():
    class Keep(Callback):
        def __init__(self):
            self.weights = []

        def on_epoch_end(self, run, logs):
            self.weights.append(run.snapshot()[0])

    keep, stop = Keep(), EarlyStopping("val_loss", patience=2)
    net = network()
    history = train(net, epochs=200, optimizer=SGD(3.0), ema=0.0, callbacks=[keep, stop])
    losses = history["val_loss"]
    assert len(losses) < 200
    assert len(losses) == stop.best_epoch + 2
    assert stop.best_epoch == int(np.argmin(losses)) + 1
    assert np.array_equal(net.core.parameters, keep.weights[stop.best_epoch - 1])
    last = EarlyStopping("val_accuracy", patience=2, restore_best=False)
    train(net := network(), epochs=50, callbacks=[keep, last])
    assert np.array_equal(net.core.parameters, keep.weights[-1])


def test_early_stopping_knows_of_one_training_only(tmp_path):
    """What it kept of another network never comes into this one."""
    stop, path = EarlyStopping("loss", patience=9), tmp_path / "run.npz"
    train(network(), epochs=9, callbacks=stop)  # a lower loss than the others reach
    net = network(seed=1)
    before = net.core.parameters.copy()
    with pytest.raises(FileNotFoundError):
        train(net, callbacks=[CSVLog(tmp_path / "missing" / "log.csv"), stop])
    assert np.array_equal(net.core.parameters, before)
    with pytest.raises(Stop):
        train(network(seed=1), callbacks=[Checkpoint(path), StopAt(30)])
    train(resumed := network(seed=1), callbacks=stop, resume=path)
    train(alone := network(seed=1))
    assert np.array_equal(resumed.core.parameters, alone.core.parameters)


def test_a_checkpoint_that_is_refused_late_changes_nothing(tmp_path):
    path = tmp_path / "run.npz"
    train(network(), callbacks=Checkpoint(path))
    with np.load(path) as saved:
        arrays = dict(saved)
    net = network()
    before = net.core.parameters.copy()
    meta = json.loads(arrays["json"].tobytes())
    for changes in (
        {"history": [3]},
        {"history": None},
        {"epoch": "x"},
        {"callbacks": [["Checkpoint"]]},
    ):
        text = np.frombuffer(json.dumps({**meta, **changes}).encode(), np.uint8)
        np.savez(path, **{**arrays, "json": text})
        with pytest.raises(FormatError, match="not a whole checkpoint"):
            train(net, resume=path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    path.write_bytes(data)
    with pytest.raises(FormatError, match="not a whole checkpoint"):
        train(net, resume=path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "trainer.v"})
    with pytest.raises(FormatError, match="not a whole checkpoint"):
        train(net, resume=path)
    assert np.array_equal(net.core.parameters, before)


def test_early_stopping_needs_its_figure():
    x, y = bars()
    with pytest.raises(ValueError, match="needs validation_data"):
        network().fit(x, y, callbacks=EarlyStopping(), verbose=0)
    with pytest.raises(ValueError, match="monitor must be one of epoch, loss"):
        network().fit(x, y, callbacks=EarlyStopping("f1"), verbose=0)
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)


def test_csv_log(tmp_path):
    path = tmp_path / "log.csv"
    history = train(network(), callbacks=[CSVLog(path), Checkpoint(tmp_path / "run.npz")])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == history["val_loss"]
    train(network(), callbacks=[CSVLog(path)], resume=tmp_path / "run.npz")
    assert len(path.read_text().splitlines()) == 5


def test_csv_log_of_figures_that_come_late(tmp_path):
    class Sometimes(Callback):
        def on_epoch_end(self, run, logs):
            if run.epoch == 2:
                logs["score"] = 0.5

    path = tmp_path / "log.csv"
    history = train(network(), callbacks=[Sometimes(), CSVLog(path)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["score"] for row in rows] == ["", "0.5", "", ""]
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert len(path.read_text().splitlines()) == 5


def test_learning_rates_are_logged():
    log = LearningRateLog()
    history = train(network(), callbacks=log)
    assert [len(rates) for rates in log.rates] == [13] * 4
    assert [rates[-1] for rates in log.rates] == pytest.approx(history["learning_rate"])
    assert max(rates.max() for rates in log.rates) <= np.float32(0.01)


@pytest.mark.parametrize("kind", [bool, np.bool_])
def test_functions_as_callbacks(kind):
    seen = []

    def look(epoch, logs):
        seen.append(logs["loss"])
        return kind(epoch == 2)

    history = train(network(), callbacks=[LambdaCallback(look)])
    assert seen == history["loss"]
    assert len(seen) == 2


def test_figures_and_settings_may_be_numpys(tmp_path):
    """A checkpoint holds what other callbacks added, and settings of any kind of number."""

    class Adds(Callback):
        def on_epoch_end(self, run, logs):
            logs["extra"] = np.float32(0.5)

    path = tmp_path / "run.npz"
    x, y = bars()
    net = Sequential([Dropout(np.float32(0.5)), Dense(10, "softmax")], (10, 10, 1), 0)
    net.fit(x, y, verbose=0, callbacks=[Checkpoint(path), Adds()])
    again = Sequential([Dropout(np.float32(0.5)), Dense(10, "softmax")], (10, 10, 1), 0)
    history = again.fit(x, y, epochs=2, verbose=0, callbacks=[Adds()], resume=path)
    assert history["extra"] == [0.5, 0.5]
