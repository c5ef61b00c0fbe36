"""The shipped networks are what their cards say."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from mnist_files import DATA, mnist_test, needs_data

import mnistc
from mnistc import formats, recipes
from mnistc.datasets import pendigits

WEIGHTS = Path(__file__).parents[1] / "weights"
NAMES = formats.shipped_names()
LIMITS = {
    "mlp": 81_940,
    "mlp-large": 3_000_000,
    "cnn": 35_000,
    "cnn-mnist": 35_000,
    "cnn-tiny": 2_000,
    "cnn-large": 400_000,
}


def test_the_widgets_networks_are_shipped():
    assert {"mlp", "cnn"} <= set(NAMES) <= set(LIMITS)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_whole(name):
    model = formats.load_any(name)
    network = mnistc.load(name)
    assert model.name == name
    assert model.license == "MIT"
    assert model.labels == list("0123456789")
    assert network.n_parameters <= LIMITS[name]
    assert model.training["recipe"] in recipes.names()
    kinds = {kind for vector in model.test_vectors for kind in ("strokes", "input") & vector.keys()}
    assert kinds == {"strokes", "input"}
    formats.verify(model, network.predict)


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_makes_the_same_network(name):
    network = mnistc.load(name)
    recipe = recipes.get(network.metadata["training"]["recipe"])
    folded = recipe.network().model_file().folded()
    assert {key: array.shape for key, array in folded.weights.items()} == {
        key: view.shape for key, view in network.weights.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_the_file_says(name):
    metrics = mnistc.load(name).metadata["metrics"]
    card = (WEIGHTS / f"{name}.md").read_text()
    assert f"**{metrics['test_accuracy']:.2%}**" in card
    assert f"{metrics['mean_accuracy']:.3%}" in card
    assert metrics["mean_accuracy"] == pytest.approx(np.mean(metrics["seed_accuracies"]))
    matrix = np.array(metrics["confusion_matrix"])
    assert matrix.sum() == 10_000
    assert np.trace(matrix) / 10_000 == metrics["test_accuracy"]


def test_the_convolutional_network_fits_a_page():
    """The one-tag widget with it may have 45 KB; its code takes 12 KB."""
    document = json.loads((WEIGHTS / "cnn.json").read_text())
    text = json.dumps(document["tensors"], separators=(",", ":"))
    assert len(gzip.compress(text.encode(), 9, mtime=0)) < 32_000


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_mnist_to_the_digit(name):
    images, labels = mnist_test()
    network = mnistc.load(name)
    scores = network.evaluate(images, labels)
    wanted = network.metadata["metrics"]
    # Another kernel table rounds otherwise, which may turn an image on the edge.
    assert scores["accuracy"] == pytest.approx(wanted["test_accuracy"], abs=2e-4)
    if network.core.kernels == "avx2":
        assert scores["accuracy"] == wanted["test_accuracy"]


@pytest.fixture(scope="module")
def strangers():
    """Drawings of the six pendigits writers that no recipe trains on."""
    if DATA is None or pendigits.find(DATA) is None:
        pytest.skip("MNISTC_DATA has no pendigits")
    return pendigits.writer_split(pendigits.load_strokes(DATA, download=False))[1]


@pytest.mark.parametrize(("name", "wanted"), [("mlp", 0.97), ("cnn", 0.985)])
def test_drawings_of_strangers(name, wanted, strangers):
    network = mnistc.load(name)
    accuracy = network.evaluate(strangers.images(), strangers.labels)["accuracy"]
    assert accuracy >= wanted
    recorded = network.metadata["metrics"]["strangers_accuracy"]
    assert accuracy == pytest.approx(recorded, abs=2 / len(strangers))


def test_size_and_place_of_a_drawing_do_not_matter(strangers):
    network = mnistc.load("cnn")
    some = strangers.select(range(0, len(strangers), 5))
    usual = network.predict(some.images()).argmax(1)
    for size, place in ((0.1, 0.9), (1.0, 0.0), (0.37, -3.0)):
        moved = [[stroke * size + place for stroke in drawing] for drawing in some.strokes]
        images = mnistc.strokes.rasterize_many(moved)
        assert (network.predict(images).argmax(1) == usual).mean() >= 0.997
