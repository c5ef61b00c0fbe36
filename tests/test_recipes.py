"""Recipes: complete, documented, and able to start."""

import dataclasses
import json

import numpy as np
import pytest
from small_data import bars

import mnistc
from mnistc import SGD, Augment, BatchNorm, Conv2D, Dense, MaxPool2D, Sequential, recipes
from mnistc.callbacks import Callback, Checkpoint, CSVLog
from mnistc.datasets import Dataset, synthetic
from mnistc.recipes.distil import Distillation, harden, soften
from mnistc.recipes.examples import Examples
from mnistc.recipes.strokes import Drawings, WithStrokes


def dataset(n=300):
    images, labels = bars(n)
    large = np.zeros((n, 28, 28), np.uint8)
    large[:, 4:24, 4:24] = images.repeat(2, axis=1).repeat(2, axis=2)
    return Dataset(large, labels, name="bars")


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_whole(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    network = recipe.network()
    assert network.classes == 10
    assert network.input_shape == (28, 28, 1)


def test_parameters_of_the_originals():
    assert recipes.get("original-mlp").network().n_parameters == 81_840
    assert recipes.get("keras-cnn").network().n_parameters == 34_826


def test_a_recipe_trains_and_repeats():
    data = dataset()
    one = recipes.get("quick").train(data, epochs=2, validation=dataset(50), seed=4, verbose=0)
    two = recipes.get("quick").train(data, epochs=2, seed=4, verbose=0)
    assert one.network.core.parameters.tobytes() == two.network.core.parameters.tobytes()
    assert len(one.history["val_accuracy"]) == 2
    assert one.seconds_per_epoch == one.seconds / 2
    assert one.network.metadata["labels"] == list("0123456789")


class Shifted(Examples):
    """The images moved by as many pixels as epochs have gone by; keeps what was asked for."""

    def __init__(self, data):
        super().__init__(data.images.copy(), data.labels)
        self.original, self.epochs = data.images, []

    def renew(self, epoch):
        self.images[...] = np.roll(self.original, epoch, axis=2)
        self.epochs.append(epoch)


def shifted(data, seed, data_dir):
    shifted.last = Shifted(data)
    return shifted.last


def test_examples_are_renewed_before_each_epoch():
    data = dataset()
    recipe = dataclasses.replace(recipes.get("quick"), prepare=shifted)
    one = recipe.train(data, epochs=3, verbose=0)
    assert shifted.last.epochs == [0, 1, 2]
    assert (shifted.last.images == np.roll(data.images, 2, axis=2)).all()
    same = recipes.get("quick").train(data, epochs=3, verbose=0)
    assert one.network.core.parameters.tobytes() != same.network.core.parameters.tobytes()


def test_a_resumed_training_renews_from_where_it_was(tmp_path):
    data, path = dataset(), tmp_path / "kept.npz"
    recipe = dataclasses.replace(recipes.get("quick"), prepare=shifted)
    whole = recipe.train(data, verbose=0).network

    class Stop(Callback):
        def on_epoch_end(self, run, logs):
            run.stop = True

    def train_an_epoch(resume):
        recipe.train(data, callbacks=[Stop(), Checkpoint(path)], resume=resume, verbose=0)
        with np.load(path) as file:
            arrays = dict(file)
        state = json.loads(arrays["json"].tobytes())
        state["stop"] = False  # as if it had been killed
        arrays["json"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        np.savez(path, **arrays)

    train_an_epoch(None)
    train_an_epoch(path)
    resumed = recipe.train(data, resume=path, verbose=0).network
    assert shifted.last.epochs[0] == 2
    assert resumed.core.parameters.tobytes() == whole.core.parameters.tobytes()


def test_other_classes_and_sizes():
    images, labels = bars(60)
    data = Dataset(images[labels < 3], labels[labels < 3], ("a", "b", "c"), "small")
    result = recipes.get("quick").train(data, epochs=1, verbose=0)
    assert result.network.input_shape == (10, 10, 1)
    assert result.network.classes == 3


def test_drawings_ask_for_digits():
    images, labels = dataset(20).images, dataset(20).labels
    letters = Dataset(images, labels, tuple("abcdefghij"), "letters")
    with pytest.raises(ValueError, match="the classes 0 to 9, got a, b, c"):
        WithStrokes(1, 0, 0)(letters, 0, None)


def test_unknown_recipe():
    with pytest.raises(ValueError, match="recipe must be one of quick"):
        recipes.get("cake")


@pytest.fixture
def teacher(tmp_path):
    """A model file that knows the bars."""
    data = dataset()
    network = Sequential([Dense(10, "softmax")], (28, 28, 1), seed=0)
    network.fit(data.images, data.labels, epochs=5, optimizer=SGD(0.1), verbose=0)
    network.save(tmp_path / "teacher.json")
    return str(tmp_path / "teacher.json")


def test_softened_outputs_have_the_label_on_top():
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], np.float32)
    labels = np.array([1, 1])
    np.testing.assert_allclose(
        soften(outputs, labels, 1.0), [[0.2, 0.7, 0.1], [0.1, 0.6, 0.3]], rtol=1e-6
    )
    roots = np.sqrt([[0.2, 0.7, 0.1], [0.1, 0.6, 0.3]])
    np.testing.assert_allclose(
        soften(outputs, labels, 2.0), roots / roots.sum(axis=1, keepdims=True), rtol=1e-6
    )


def test_the_pool_is_changed_copies_with_a_teachers_answers(teacher):
    data = dataset(40)
    distillation = Distillation(teacher, 3, Augment(shift=2), temperature=2.0)
    images, targets = distillation.pool(data.images, data.labels, 10, seed=1)
    assert images.shape == (120, 28, 28) and images.dtype == np.uint8
    assert targets.shape == (120, 10) and targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
    assert (targets.argmax(axis=1) == np.tile(data.labels, 3)).all()
    assert len({images[i : i + 40].tobytes() for i in (0, 40, 80)}) == 3
    again = distillation.pool(data.images, data.labels, 10, seed=1)
    assert again[0].tobytes() == images.tobytes() and again[1].tobytes() == targets.tobytes()


def test_a_pupil_ends_at_temperature_one(teacher):
    """A pupil of the teacher's own shape comes to say what the teacher says, as surely."""
    data = dataset()
    recipe = dataclasses.replace(
        recipes.get("draw-mlp"),
        build=lambda shape, classes: [Dense(classes, "softmax")],
        prepare=None,
        augment=None,
        ema=0.0,
        epochs=30,
        optimizer=SGD(0.5),
        distillation=Distillation(teacher, 1, Augment(), temperature=3.0),
    )
    pupil = recipe.train(data, verbose=0).network
    taught, own = mnistc.load(teacher).predict(data.images), pupil.predict(data.images)
    right = taught.argmax(1) == data.labels
    assert np.abs(taught - own)[right].mean() < 0.02


def test_an_interrupted_pupil_is_at_temperature_one_too(teacher):
    kept = {}

    class Interrupt(Callback):
        def on_epoch_end(self, run, logs):
            kept.update({key: value.copy() for key, value in run.model.weights.items()})
            raise KeyboardInterrupt

    data = dataset(50)
    recipe = dataclasses.replace(
        recipes.get("quick"),
        build=lambda shape, classes: [Dense(classes, "softmax")],
        distillation=Distillation(teacher, 1, Augment(), temperature=3.0),
    )
    network = recipe.network_for(data)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(data, callbacks=[Interrupt()], network=network, verbose=0)
    for key, value in network.weights.items():
        np.testing.assert_allclose(value, 3 * kept[key], rtol=1e-6)


def test_harden_scales_logits():
    network = Sequential([Dense(4, "relu"), Dense(3)], (2, 2, 1), seed=0)
    x = np.random.default_rng(0).random((5, 2, 2), np.float32)
    before = network.predict(x)
    harden(network, 3.0)
    np.testing.assert_allclose(network.predict(x), 3 * before, rtol=1e-5)


def test_a_teacher_of_other_classes_is_refused(teacher):
    data = dataset()
    data = dataclasses.replace(data, class_names=(*"0123456789", "ten"))
    recipe = dataclasses.replace(
        recipes.get("quick"), distillation=Distillation(teacher, 1, Augment())
    )
    with pytest.raises(ValueError, match="knows 10 classes, the data has 11"):
        recipe.train(data, verbose=0)


def test_drawings_are_new_in_each_epoch_and_repeat():
    data, drawn = dataset(20), synthetic.strokes(400, seed=5)
    amounts = WithStrokes(bent=1, mixtures=1, synthetic=50)
    one, two = Drawings(data, drawn, amounts, 3), Drawings(data, drawn, amounts, 3)
    first = one.images.copy(), one.targets.copy()
    assert (one.images[:20] == data.images).all() and (one.targets[:20] == data.labels).all()
    assert (one.targets[20:420] == drawn.labels).all()
    assert (one.images[20:].max((1, 2)) > 200).all()  # none is blank
    one.renew(4)
    assert (one.images[:20] == data.images).all()
    changed = (one.images != first[0]).any((1, 2))
    assert not changed[:20].any() and changed[20:].all()
    two.renew(2)
    two.renew(4)
    assert (two.images == one.images).all() and (two.targets == one.targets).all()
    two.renew(0)
    assert (two.images == first[0]).all() and (two.targets == first[1]).all()
    other = Drawings(data, drawn, amounts, 4)
    assert (other.images[20:] != first[0][20:]).any((1, 2)).all()


SMALL = [Conv2D(4, 5, activation="relu"), MaxPool2D(4), Dense(10, "softmax")]


def three(**changes):
    """A recipe of three networks."""
    return dataclasses.replace(
        recipes.get("quick"), build=lambda shape, classes: SMALL, members=3, epochs=2, **changes
    )


def test_members_are_trained_apart_and_joined():
    data = dataset()
    result = three().train(data, seed=2, verbose=0)
    alone = [
        dataclasses.replace(three(), members=1).train(data, seed=seed, verbose=0).network
        for seed in (6, 7, 8)
    ]
    joined = mnistc.ensemble(alone)
    assert result.network.core.parameters.tobytes() == joined.core.parameters.tobytes()
    assert [epoch["epoch"] for epoch in result.history.epochs] == [1, 2, 3, 4, 5, 6]
    assert result.network.metadata["labels"] == list("0123456789")


def test_statistics_of_normalisations_are_those_of_the_images_as_they_are():
    data = dataset()
    layers = [Conv2D(4, 3), BatchNorm(activation="relu"), MaxPool2D(4), Dense(10, "softmax")]
    recipe = three(augment=Augment(shift=3))
    recipe = dataclasses.replace(recipe, build=lambda shape, classes: layers)
    network = recipe.train(data, verbose=0).network
    variance = network.weights["batch_norm.running_var"].copy()
    mnistc.update_batch_norm(network, data.images)
    assert (network.weights["batch_norm.running_var"] == variance).all()


class Interrupt(Callback):
    """Ctrl-C at the end of the n-th epoch."""

    def __init__(self, n):
        self.left = n

    def on_epoch_end(self, run, logs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_members_go_on_from_their_checkpoints(tmp_path):
    data, path = dataset(), tmp_path / "kept.npz"
    whole = three().train(data, verbose=0, callbacks=[CSVLog(tmp_path / "log.csv")]).network
    logs = [(tmp_path / f"log-{i}.csv").read_text().splitlines() for i in (1, 2, 3)]
    assert [len(lines) for lines in logs] == [3, 3, 3]
    begun = three().network_for(data)
    with pytest.raises(KeyboardInterrupt):
        three().train(data, network=begun, callbacks=[Checkpoint(path), Interrupt(3)], verbose=0)
    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["kept-1.npz", "kept-2.npz"]
    filters = begun.weights["conv2d.weight"]
    assert (filters[..., :4] == whole.weights["conv2d.weight"][..., :4]).all()
    assert (filters[..., 8:] != whole.weights["conv2d.weight"][..., 8:]).all()
    resumed = three().train(data, resume=path, verbose=0).network
    assert resumed.core.parameters.tobytes() == whole.core.parameters.tobytes()
    with pytest.raises(FileNotFoundError, match=r"other-1\.npz"):
        three().train(data, resume=tmp_path / "other.npz", verbose=0)


class Counted(Examples):
    """Images that are other ones in each epoch."""

    def renew(self, epoch):
        self.images[:10] = epoch


def test_members_with_renewed_examples_go_on_from_their_checkpoints(tmp_path):
    data, path = dataset(), tmp_path / "kept.npz"
    prepare = lambda data, seed, data_dir: Counted(data.images.copy(), data.labels)  # noqa: E731
    recipe = three(prepare=prepare)
    whole = recipe.train(data, verbose=0).network
    for epochs in (3, 4, 5):
        with pytest.raises(KeyboardInterrupt):
            recipe.train(data, callbacks=[Checkpoint(path), Interrupt(epochs)], verbose=0)
        resumed = recipe.train(data, resume=path, verbose=0).network
        assert resumed.core.parameters.tobytes() == whole.core.parameters.tobytes()
