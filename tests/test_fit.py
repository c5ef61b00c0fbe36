"""Training: it learns, it repeats to the bit, and every option does what it says."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_data import bars

from mnistc import (
    SGD,
    Activation,
    Adam,
    AdamW,
    Augment,
    BatchNorm,
    Conv2D,
    Cosine,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Sequential,
    callbacks,
)
from mnistc.history import History


def network(seed=0, dropout=0.0):
    middle = [Dropout(dropout)] if dropout else []
    return Sequential([Dense(16, "relu"), *middle, Dense(10, "softmax")], (10, 10, 1), seed)


def fitted(seed=0, dropout=0.0, **options):
    x, y = bars()
    net = network(seed, dropout)
    options = {"epochs": 3, "batch_size": 32, "verbose": 0, **options}
    history = net.fit(options.pop("x", x), options.pop("y", y), **options)
    return net, history


def test_it_learns():
    x, y = bars(200, seed=1)
    net, history = fitted(epochs=20, optimizer=Adam(0.01), validation_data=(x, y))
    assert net.evaluate(x, y)["accuracy"] > 0.95
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["val_accuracy"][-1] == net.evaluate(x, y)["accuracy"]
    assert history["epoch"] == list(range(1, 21))
    assert history.seconds > 0
    assert set(history.history) == {
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
    }  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", SGD(0.1, 0.9, nesterov=True)])
def test_optimizers_lower_the_loss(optimizer):
    _, history = fitted(optimizer=optimizer, epochs=5)
    assert history["loss"][-1] < history["loss"][0]


def test_the_same_seed_gives_the_same_weights_to_the_bit():
    options = {"dropout": 0.3, "ema": 0.9, "schedule": Cosine(warmup=0.1), "epochs": 2}
    one, first = fitted(**options)
    two, second = fitted(**options)
    assert one.core.parameters.tobytes() == two.core.parameters.tobytes()
    assert first["loss"] == second["loss"]
    other, _ = fitted(seed=1, **options)
    assert one.core.parameters.tobytes() != other.core.parameters.tobytes()


def test_chunks_change_nothing(monkeypatch):
    wanted, _ = fitted(dropout=0.3)
    monkeypatch.setattr("mnistc.training._CHUNK_SECONDS", 1e-9)
    single, _ = fitted(dropout=0.3)
    assert single.core.parameters.tobytes() == wanted.core.parameters.tobytes()


def test_kinds_of_input_train_alike():
    x, y = bars()
    wanted, _ = fitted()
    for images in (x[..., None], x.reshape(len(x), -1), np.asfortranarray(x)):
        net, _ = fitted(x=images)
        assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()
    x.setflags(write=False)
    y.setflags(write=False)
    net, _ = fitted(x=x, y=y)
    assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()
    net, _ = fitted(x=x.astype(np.float32) / 255)
    assert np.allclose(net.core.parameters, wanted.core.parameters, atol=1e-4)
    net, _ = fitted(y=np.eye(10)[y])
    assert np.allclose(net.core.parameters, wanted.core.parameters, atol=1e-4)


def test_validation_split_takes_the_last_images():
    x, y = bars()
    net, history = fitted(validation_split=0.25)
    wanted, other = fitted(x=x[:300], y=y[:300], validation_data=(x[300:], y[300:]))
    assert net.core.parameters.tobytes() == wanted.core.parameters.tobytes()
    assert history["val_loss"] == other["val_loss"]


def test_weights_of_samples_and_classes():
    x, y = bars()
    kept = y < 5
    by_class, _ = fitted(class_weight=dict.fromkeys(range(5, 10), 0.0), epochs=1, batch_size=400)
    by_sample, _ = fitted(sample_weight=kept, epochs=1, batch_size=400)
    assert np.allclose(by_class.core.parameters, by_sample.core.parameters, atol=1e-6)
    plain, _ = fitted()
    ones, _ = fitted(sample_weight=np.ones(400))
    assert np.allclose(plain.core.parameters, ones.core.parameters, atol=1e-5)
    balanced, _ = fitted(class_weight="balanced")
    assert not np.array_equal(plain.core.parameters, balanced.core.parameters)
    weighed = network().fit(x, y, validation_data=(x, y, kept), verbose=0)
    assert "val_loss" in weighed


def test_ema_stays_in_the_network():
    class Keep(callbacks.Callback):
        def on_epoch_end(self, run, logs):
            self.raw = run.model.core.parameters.copy()
            self.kept = run.snapshot()[0]

    keep = Keep()
    net, history = fitted(ema=0.95, callbacks=keep, validation_data=bars(50, seed=2))
    assert not np.array_equal(keep.raw, keep.kept)
    assert np.array_equal(net.core.parameters, keep.kept)
    assert history["val_loss"][-1] == pytest.approx(net.evaluate(*bars(50, seed=2))["loss"])


def test_no_shuffle_and_other_seeds():
    one, _ = fitted(shuffle=False)
    two, _ = fitted()
    three, _ = fitted(seed=0, epochs=3)
    assert not np.array_equal(one.core.parameters, two.core.parameters)
    assert np.array_equal(three.core.parameters, two.core.parameters)
    x, y = bars()
    net = network()
    net.fit(x, y, epochs=3, batch_size=32, seed=5, verbose=0)
    assert not np.array_equal(net.core.parameters, two.core.parameters)


def test_augment_changes_training_only():
    plain, _ = fitted()
    changed, _ = fitted(augment=Augment(shift=1.0))
    same, _ = fitted(augment={"shift": 1.0})
    assert not np.array_equal(plain.core.parameters, changed.core.parameters)
    assert np.array_equal(same.core.parameters, changed.core.parameters)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be between 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": -5}, ValueError, "batch_size"),
        ({"optimizer": "lion"}, ValueError, "optimizer must be one of sgd, adam, adamw"),
        ({"optimizer": 3}, TypeError, "optimizer must be SGD"),
        ({"optimizer": Adam}, TypeError, r"optimizer must be SGD\(\)"),
        ({"verbose": "auto"}, TypeError, "verbose must be an integer, got 'auto'"),
        ({"verbose": None}, TypeError, "verbose must be an integer, got None"),
        ({"schedule": "zigzag"}, ValueError, "schedule must be one of"),
        ({"schedule": 3}, TypeError, "schedule must be"),
        ({"schedule": Cosine}, TypeError, "schedule must be a schedule, a name or a function"),
        ({"schedule": lambda step, total: -1}, ValueError, "at least 0"),
        ({"validation_split": 1.0}, ValueError, "validation_split"),
        ({"validation_split": 0.5, "validation_data": bars(5)}, ValueError, "validation_split"),
        ({"validation_data": bars(5)[0]}, TypeError, "validation_data must be"),
        ({"validation_data": (np.zeros((2, 3, 3)), [0, 1])}, ValueError, r"validation_data\[0\]"),
        ({"validation_data": (*bars(5), [0] * 5)}, ValueError, r"validation_data\[2\] must not"),
        ({"sample_weight": np.ones(3)}, ValueError, r"shape \(400,\), got \(3,\)"),
        ({"sample_weight": -np.ones(400)}, ValueError, "at least 0"),
        ({"sample_weight": ["1", "a"]}, ValueError, "sample_weight must be an array of 400"),
        ({"sample_weight": [[1], [2, 3]]}, ValueError, "sample_weight must be an array of 400"),
        ({"sample_weight": np.zeros(400)}, ValueError, "0 everywhere"),
        ({"class_weight": {10: 1.0}}, ValueError, "keys of 0 to 9"),
        ({"class_weight": {1: -1.0}}, ValueError, "class_weight must be in"),
        ({"class_weight": {1: 1e300}}, ValueError, "class_weight must be in"),
        ({"class_weight": {1: "2"}}, TypeError, "class_weight must be a number"),
        ({"class_weight": {1: None}}, TypeError, "class_weight must be a number"),
        ({"class_weight": np.ones(10)}, ValueError, "dict or 'balanced'"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, ValueError, "not be 0 for every class"),
        ({"class_weight": 3}, ValueError, "dict or 'balanced'"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing"),
        ({"ema": -0.1}, ValueError, "ema"),
        ({"augment": {"rotate": 3}}, ValueError, "augment has no 'rotate'"),
        ({"augment": {"rotation": -3}}, ValueError, "rotation"),
        ({"augment": 3}, TypeError, "augment must be"),
        ({"callbacks": [3]}, TypeError, "callbacks must be"),
        ({"n_threads": -1}, ValueError, "n_threads"),
        ({"precision": "float64"}, ValueError, "precision"),
        ({"resume": "nowhere.npz"}, FileNotFoundError, "nowhere"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        fitted(**options)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_optimizers_refuse(kind):
    with pytest.raises(ValueError, match="learning_rate"):
        kind(learning_rate=-1)
    with pytest.raises(ValueError, match="clip_norm"):
        kind(clip_norm=float("nan"))
    with pytest.raises(TypeError, match="weight_decay"):
        kind(weight_decay="much")
    with pytest.raises(TypeError, match=r"learning_rate must be a number, got Cosine\("):
        kind(Cosine())
    if kind is not SGD:
        with pytest.raises(ValueError, match=r"epsilon must be in \[1e-30, 1\.0\], got 2\.0"):
            kind(epsilon=2.0)
    assert kind(0.5).config()["learning_rate"] == 0.5


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="momentum above 0"):
        SGD(nesterov=True)
    with pytest.raises(TypeError, match="nesterov"):
        SGD(momentum=0.9, nesterov=1)


def test_a_rate_far_too_high_leaves_good_weights():
    x, y = bars()
    net = Sequential([Dense(16), Dense(16), Dense(10, "softmax")], (10, 10, 1))
    with pytest.raises(ValueError, match="learning_rate 1e\\+06 may be too high"):
        net.fit(x, y, optimizer=SGD(1e6, momentum=0.99), epochs=50, ema=0.5, verbose=0)
    assert np.isfinite(net.core.parameters).all()


def test_it_is_silent(capfd):
    fitted(verbose=0)
    fitted(verbose=1)  # no terminal
    assert capfd.readouterr() == ("", "")
    fitted(verbose=2, validation_split=0.1)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 3
    assert "val_accuracy" in err


def test_the_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    fitted(verbose=1)
    assert "epoch 3/3" in capsys.readouterr().err


def test_history_of_nothing():
    history = History()
    assert len(history) == 0
    assert "no epochs" in repr(history)
    with pytest.raises(KeyError):
        history["loss"]
    assert "1 epochs" in repr(History([{"loss": 1.0}]))
    added = History([{"loss": 0.123456, "note": "warm", "counts": np.arange(2)}])
    assert repr(added) == "History(1 epochs; last: loss 0.1235, note warm, counts [0 1])"


INTERRUPTED = """
    import sys
    import numpy as np
    import mnistc
    from mnistc import Dense, callbacks
    x = np.random.default_rng(0).integers(0, 256, (20000, 28, 28), dtype=np.uint8)
    y = x[:, 0, 0] % 10
    net = mnistc.Sequential([Dense(300, "relu"), Dense(10, "softmax")])
    class Started(callbacks.Callback):
        def on_chunk_end(self, run):
            print("started", flush=True)
    ended = False
    try:
        net.fit(x, y, epochs=10**6, callbacks=[Started(), callbacks.Checkpoint(sys.argv[1])])
    except KeyboardInterrupt:
        ended = True
    assert ended and net.predict(x[:2]).shape == (2, 10)
    net.fit(x, y, epochs=1, verbose=0)
    print("usable", flush=True)
"""


def test_ctrl_c_stops_and_leaves_a_usable_network(tmp_path):
    path = tmp_path / "interrupted.npz"
    program = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), str(path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"started\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out.endswith(b"usable\n"), err.decode()
    assert path.exists()


def test_ctrl_c_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    fitted()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("method", ["on_train_begin", "on_train_end"])
@pytest.mark.parametrize("initial_epoch", [0, 3])
def test_ctrl_c_is_heard_at_any_time(method, initial_epoch):
    callback = callbacks.Callback()
    setattr(callback, method, lambda run: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        fitted(callbacks=callback, initial_epoch=initial_epoch)


def test_ctrl_c_within_a_training_is_answered_between_chunks(tmp_path):
    class Press(callbacks.Callback):
        def on_chunk_end(self, run):
            if run.epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    net = network()
    x, y = bars()
    log = callbacks.CSVLog(tmp_path / "log.csv")
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, epochs=100, callbacks=[Press(), log], verbose=0)
    assert len(Path(log.path).read_text().splitlines()) == 2  # the heading and one epoch
    assert np.isfinite(net.predict(x)).all()


def test_a_prediction_meanwhile_is_refused_and_does_no_harm():
    x, y = bars(5000)
    net, alone = network(), network()
    alone.fit(x, y, epochs=40, verbose=0)
    trainer = threading.Thread(target=lambda: net.fit(x, y, epochs=40, verbose=0))
    trainer.start()
    refused = 0
    while trainer.is_alive():
        try:
            net.predict(x[:1])
        except RuntimeError as error:
            assert "another thread" in str(error)
            refused += 1
    trainer.join()
    assert refused
    assert net.core.parameters.tobytes() == alone.core.parameters.tobytes()


def test_a_training_within_a_training_is_refused_and_does_no_harm(tmp_path):
    x, y = bars()
    path = tmp_path / "run.npz"
    fitted(epochs=1, callbacks=callbacks.Checkpoint(path))

    class Meddler(callbacks.Callback):
        def on_epoch_end(self, run, logs):
            for options in ({"ema": 0.9}, {"loss": "mean_squared_error"}, {"resume": path}):
                with pytest.raises(RuntimeError, match="being trained"):
                    run.model.fit(x, y, verbose=0, **options)

    disturbed, _ = fitted(callbacks=Meddler())
    assert disturbed.loss == "softmax_cross_entropy"
    assert disturbed.core.parameters.tobytes() == fitted()[0].core.parameters.tobytes()
    disturbed.fit(x, y, epochs=1, verbose=0)  # and is free again


@pytest.mark.parametrize(("rate", "decay"), [(0.5, 2.0), (0.1, 10.0), (0.1, 9.9999), (0.1, 15.0)])
def test_decay_that_leaves_nothing_of_the_weights(rate, decay):
    x, y = bars()
    descent, general = network(), network()
    options = {"epochs": 1, "batch_size": 32, "verbose": 0}
    descent.fit(x, y, optimizer=SGD(rate, weight_decay=decay), **options)
    general.fit(x, y, optimizer=SGD(rate, weight_decay=decay, clip_norm=1e6), **options)
    for name, array in general.weights.items():
        np.testing.assert_allclose(descent.weights[name], array, atol=1e-5, err_msg=name)


def test_weights_are_finite_after_a_training_that_diverged():
    x, y = bars()
    net = network()
    before = net.weights["dense.weight"].copy()
    net.weights["dense.bias"][0] = np.nan  # a rectifier hides it from the loss
    with pytest.raises(ValueError, match="not finite in epoch 1"):
        net.fit(x, y, epochs=2, verbose=0)
    assert np.array_equal(net.weights["dense.weight"], before)


def test_statistics_are_finite_after_a_training_on_values_too_large():
    x, y = bars()
    net = Sequential([BatchNorm(), Dense(10, "softmax")], (10, 10, 1))
    data = x / np.float32(255)
    data[3, 4, 5] = 1e25  # its square is infinite, the loss is not: a network that no file can hold
    before = {name: array.copy() for name, array in net.weights.items()}
    with pytest.raises(ValueError, match="running statistics are not finite in epoch 1"):
        net.fit(data, y, epochs=2, check_range=False, verbose=0)
    for name, array in net.weights.items():
        assert np.array_equal(array, before[name]), name


def test_features_of_any_range_can_be_validated():
    x, y = bars()
    net = network()
    data = x / 25 - 3
    history = net.fit(data, y, check_range=False, validation_data=(data, y), verbose=0)
    assert history["val_loss"][-1] == net.evaluate(data, y, check_range=False)["loss"]
    with pytest.raises(ValueError, match="between 0 and 1"):
        net.evaluate(data, y)
    with pytest.raises(ValueError, match="too large for float32"):
        net.predict(np.full((1, 10, 10, 1), 1e300), check_range=False)


def test_weights_of_a_split_that_are_all_zero():
    weight = np.r_[np.ones(320), np.zeros(80)]
    with pytest.raises(ValueError, match="0 for a whole part of validation_split"):
        fitted(sample_weight=weight, validation_split=0.2)


def test_every_callback_is_told_of_the_end():
    ended = []

    class Failing(callbacks.Callback):
        def on_train_end(self, run):
            raise OSError("full")

    class Last(callbacks.Callback):
        def on_train_end(self, run):
            ended.append(run.epoch)

    with pytest.raises(OSError, match="full"):
        fitted(callbacks=[Failing(), Last()])
    assert ended == [3]


def test_a_training_that_cannot_begin_leaves_everything(tmp_path):
    class Never(callbacks.Callback):
        def on_train_end(self, run):
            raise AssertionError("it has not begun")

    x, y = bars()
    net, _ = fitted()
    net.metadata["metrics"] = {"accuracy": 1.0}
    before = net.core.parameters.tobytes()
    log = callbacks.CSVLog(tmp_path / "missing" / "log.csv")
    with pytest.raises(FileNotFoundError):
        net.fit(x, y, loss="mean_squared_error", callbacks=[log, Never()], verbose=0)
    assert net.metadata["metrics"] == {"accuracy": 1.0}
    assert net.loss == "softmax_cross_entropy"
    assert net.core.parameters.tobytes() == before


def test_class_weights_are_of_the_training_alone():
    x, y = bars()
    order = np.argsort(y == 0, kind="stable")  # a last part of class 0 alone
    x, y = x[order], y[order]
    split = int((y == 0).sum()) / len(y) * 0.9
    options = {"optimizer": SGD(1e-9), "epochs": 1, "x": x, "y": y, "validation_split": split}
    plain = fitted(**options)[1]
    for weight in ({0: 9.0, 1: 0.5}, {0: 0.0}, "balanced"):
        weighted = fitted(class_weight=weight, **options)[1]
        assert weighted["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("sigmoid", "sigmoid_cross_entropy"),
        ("linear", "sigmoid_cross_entropy"),
        ("sigmoid", "mean_squared_error"),
        ("tanh", "mean_squared_error"),
        ("linear", "mean_squared_error"),
    ],
)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_accuracy_of_a_single_output(table, activation, loss, n_threads):
    """Two classes by one output: right on the side of 1/2 that the target is on."""
    x, y = bars(333)
    rows = (y[:, None] > 3).astype(np.float32)
    net = Sequential([Dense(8, "relu"), Dense(1, activation)], (10, 10, 1), seed=1)
    history = net.fit(x, rows, epochs=1, loss=loss, optimizer=SGD(0.0), verbose=0)
    answers = net.predict(x, n_threads) > (activation == "linear" and loss[0] == "m") / 2
    if activation in ("sigmoid", "tanh"):
        answers = net.predict(x, n_threads) > 0.5
    wanted = np.mean(answers == (rows > 0.5))
    assert 0 < wanted < 1
    assert history["accuracy"] == [wanted]
    assert net.evaluate(x, rows)["accuracy"] == wanted
    with pytest.raises(ValueError, match=r"got 1; targets of a single output have shape \(n, 1\)"):
        net.fit(x, rows[:, 0].astype(int), verbose=0)


FIRST = [Conv2D(8, 5, activation="relu"), MaxPool2D(2)]  # 3 x 3 positions


@pytest.mark.parametrize(
    "last",
    [
        [Flatten(), Dense(10), Activation("softmax")],
        [Conv2D(10, 3), GlobalAveragePool2D()],
        [Conv2D(10, 3), Flatten()],
        [Conv2D(10, 3), GlobalAveragePool2D(), Activation("softmax")],
    ],
)
def test_other_last_layers_train_alike(last):
    """One window covers all positions, so that these networks are the usual one in disguise."""
    x, y = bars()
    wanted, net = (
        Sequential([*FIRST, *stack], (10, 10, 1))
        for stack in ([Flatten(), Dense(10, "softmax")], last)
    )
    for one, other in zip(wanted.weights, net.weights, strict=True):
        net.weights[other] = wanted.weights[one].reshape(net.weights[other].shape)
    for each in (wanted, net):
        each.fit(x, y, epochs=2, loss="softmax_cross_entropy", seed=1, verbose=0)
    for one, other in zip(wanted.weights, net.weights, strict=True):
        np.testing.assert_allclose(
            net.weights[other].ravel(), wanted.weights[one].ravel(), atol=1e-5
        )
    scores = [each.evaluate(x, y)["loss"] for each in (wanted, net)]
    np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.parametrize("last", [BatchNorm(), Dropout(0.5), MaxPool2D(1), DepthwiseConv2D(1)])
def test_last_layers_that_no_loss_fits_are_named(last):
    x, y = bars()
    net = Sequential([Dense(10), last], (10, 10, 1))
    with pytest.raises(ValueError, match=f"last layer like {type(last).__name__}"):
        net.fit(x, y, verbose=0)
    nonlinear = [Conv2D(10, 3, activation="sigmoid"), GlobalAveragePool2D()]
    with pytest.raises(ValueError, match="'sigmoid_cross_entropy' does not fit the last layers"):
        Sequential(nonlinear, (10, 10, 1)).fit(x, y, verbose=0)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("between", [[MaxPool2D(8)], [MaxPool2D(3, 5), Dropout(0.5)]])
def test_what_an_activation_made_is_no_logits(activation, between):
    x, y = bars()
    net = Sequential([Conv2D(10, 3, activation=activation), *between, Flatten()], (10, 10, 1))
    with pytest.raises(ValueError, match="_cross_entropy' does not fit the last layers"):
        net.fit(x, y, verbose=0)
    net.fit(x, y, loss="mean_squared_error", verbose=0)


def test_a_missing_checkpoint_loses_nothing(tmp_path):
    x, y = bars()
    net = network()
    net.metadata["metrics"] = {"accuracy": 1.0}
    with pytest.raises(FileNotFoundError):
        net.fit(x, y, resume=tmp_path / "none.npz", verbose=0)
    assert net.metadata["metrics"] == {"accuracy": 1.0}


def test_weights_are_assigned_all_or_none(tmp_path):
    net = network()
    before = net.weights["dense.bias"].copy()
    values = {name: array + 1 for name, array in net.weights.items()}
    values["dense_1.bias"] = object()
    with pytest.raises(TypeError):
        net.weights = values
    assert np.array_equal(net.weights["dense.bias"], before)
    path = tmp_path / "weights.npz"
    np.savez(path, **{**values, "dense_1.bias": np.arange(10, dtype=np.float32)})
    data = path.read_bytes()
    path.write_bytes(data.replace(np.arange(10, dtype=np.float32).tobytes(), bytes(40)))
    with np.load(path) as damaged, pytest.raises(zipfile.BadZipFile):
        net.weights = damaged
    assert np.array_equal(net.weights["dense.bias"], before)
