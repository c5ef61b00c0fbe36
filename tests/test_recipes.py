"""Recipes: complete, documented, and able to start."""

import dataclasses

import numpy as np
import pytest
from small_data import bars

from mnistc import recipes
from mnistc.datasets import Dataset


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


def test_prepared_data():
    def doubled(data, seed, data_dir):
        return np.concatenate([data.images] * 2), np.concatenate([data.labels] * 2)

    recipe = dataclasses.replace(recipes.get("quick"), prepare=doubled)
    one = recipe.train(dataset(), epochs=1, verbose=0)
    assert one.network.predict(dataset().images).shape == (300, 10)


def test_other_classes_and_sizes():
    images, labels = bars(60)
    data = Dataset(images[labels < 3], labels[labels < 3], ("a", "b", "c"), "small")
    result = recipes.get("quick").train(data, epochs=1, verbose=0)
    assert result.network.input_shape == (10, 10, 1)
    assert result.network.classes == 3


def test_unknown_recipe():
    with pytest.raises(ValueError, match="recipe must be one of quick"):
        recipes.get("cake")
