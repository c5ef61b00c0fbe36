"""The scikit-learn estimator keeps scikit-learn's contract."""

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from mnistc import Conv2D, Dense, Flatten, MaxPool2D  # noqa: E402
from mnistc.sklearn import NetworkClassifier  # noqa: E402


@parametrize_with_checks([NetworkClassifier()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X, y


def test_flat_digits(digits):
    X, y = digits
    model = NetworkClassifier(epochs=15, random_state=0).fit(X[:1200], y[:1200])
    assert model.score(X[1200:], y[1200:]) > 0.88
    p = model.predict_proba(X[1200:])
    assert p.shape == (len(X) - 1200, 10)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    same = pickle.loads(pickle.dumps(model))
    assert np.array_equal(same.predict_proba(X), model.predict_proba(X))


def test_labels_of_any_type(digits):
    X, y = digits
    names = np.array([f"digit {i}" for i in range(10)])[y]
    model = NetworkClassifier(epochs=3, random_state=0).fit(X[:500], names[:500])
    assert model.predict(X[:5])[0].startswith("digit ")
    assert model.classes_.tolist() == sorted(set(names))


def test_images(digits):
    X, y = digits
    layers = [Conv2D(8, 3, activation="relu"), MaxPool2D(2), Flatten(), Dense(32, "relu")]
    model = NetworkClassifier(layers, input_shape=(8, 8, 1), epochs=10, random_state=0)
    assert model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.85


def test_in_a_pipeline_and_a_search(digits):
    X, y = digits[0][:400], digits[1][:400]
    pipeline = make_pipeline(StandardScaler(), NetworkClassifier(epochs=5, random_state=0))
    assert cross_val_score(pipeline, X, y, cv=2).mean() > 0.7
    search = GridSearchCV(
        NetworkClassifier(epochs=2, random_state=0), {"learning_rate": [1e-5, 0.01]}, cv=2
    ).fit(X, y)
    assert search.best_params_ == {"learning_rate": 0.01}


def test_partial_fit_goes_on(digits):
    X, y = digits[0][:400], digits[1][:400]
    model = NetworkClassifier(random_state=0)
    with pytest.raises(ValueError, match="first call"):
        model.partial_fit(X, y)
    for _ in range(5):
        model.partial_fit(X, y, classes=range(10))
    assert model.n_iter_ == 5
    assert model.score(X, y) > 0.8
    with pytest.raises(ValueError, match="not the same"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="labels of classes only"):
        model.partial_fit(X, y + 5)


@pytest.mark.parametrize(("options", "labels"), [({}, [7]), ({"batch_size": 0}, [0])])
def test_a_first_partial_fit_that_fails_is_none(digits, options, labels):
    X, y = digits[0][:400], digits[1][:400]
    model = NetworkClassifier(random_state=0, **options)
    with pytest.raises(ValueError, match="must"):
        model.partial_fit(X[:5], labels * 5, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="first call"):
        model.partial_fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"validation_fraction": 1.0}, "validation_fraction must be in"),
        ({"learning_rate": 1e6, "layers": [Dense(9)] * 9}, "the loss is not finite"),
    ],
)
def test_nothing_is_predicted_after_a_fit_that_failed(digits, options, message):
    X, y = digits[0][:400], digits[1][:400]
    model = NetworkClassifier(epochs=2, random_state=0).fit(X, y).set_params(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert model.set_params(**NetworkClassifier(epochs=2).get_params()).fit(X, y).n_iter_ == 2


def test_early_stopping(digits):
    X, y = digits
    model = NetworkClassifier(
        epochs=200, validation_fraction=0.2, patience=2, learning_rate=0.02, random_state=0
    ).fit(X, y)
    assert model.n_iter_ < 200


def test_validation_of_sorted_rows(digits):
    X, y = digits[0][:600], digits[1][:600]
    order = np.argsort(y, kind="stable")
    model = NetworkClassifier(epochs=10, validation_fraction=0.2, patience=9, random_state=0)
    assert model.fit(X[order], y[order]).score(digits[0][600:], digits[1][600:]) > 0.75
