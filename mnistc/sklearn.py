"""A scikit-learn estimator (extra ``sklearn``): networks in pipelines and grid searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.errors import MissingExtraError
from mnistc.layers import Dense, Layer, check_float
from mnistc.model import Sequential
from mnistc.optimizers import Adam

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        check_is_fitted,
        validate_data,
    )
except ImportError:
    raise MissingExtraError("scikit-learn", "sklearn") from None

Array = npt.NDArray[Any]


class NetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A neural network as a scikit-learn classifier.

    Features of any range do: they are scaled to 0 to 1 by the smallest and largest values seen
    in training, all together for images (so that they stay images) and each on its own otherwise.
    There is no ``sample_weight``: in minibatches a row of weight 2 is not quite the same as two
    rows, which is what scikit-learn asks for. `Sequential.fit` has it.

    Parameters
    ----------
    layers : list of Layer, optional
        All but the last layer, which is a `Dense` with one softmax output for each class; one
        hidden layer of 100 rectified units unless told.
    input_shape : (int, int, int), optional
        Height, width and channels, where rows of features are images: (28, 28, 1) for MNIST.
    epochs, batch_size : int
    learning_rate, weight_decay : float
        Of `mnistc.Adam`.
    validation_fraction : float
        Share of the rows kept for early stopping; 0 trains all epochs on all rows.
    patience : int
        Epochs without improvement before an early stop.
    random_state : int, RandomState or None
    n_threads : int
        0 takes as many as the process may use.
    verbose : int

    Attributes
    ----------
    classes_ : (n_classes,) array
    network_ : Sequential
    history_ : History
    n_features_in_ : int
    n_iter_ : int
        Epochs trained.
    """

    def __init__(
        self,
        layers: list[Layer] | None = None,
        input_shape: tuple[int, int, int] | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 0.003,
        weight_decay: float = 0.0,
        validation_fraction: float = 0.0,
        patience: int = 10,
        random_state: Any = None,
        n_threads: int = 0,
        verbose: int = 0,
    ) -> None:
        self.layers = layers
        self.input_shape = input_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> NetworkClassifier:
        """Train a new network.

        Parameters
        ----------
        X : (n, features) array_like
        y : (n,) array_like
            Class labels of any type.
        """
        X, y = validate_data(self, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        self._begin(X)
        try:
            self._train(X, targets, self.epochs, 0)
        except Exception:
            del self.network_  # so that nothing is predicted by chance
            raise
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> NetworkClassifier:
        """Train for one more epoch, on these rows.

        Parameters
        ----------
        X : (n, features) array_like
        y : (n,) array_like
        classes : array_like
            All labels that will ever come; needed at the first call.
        """
        first = not hasattr(self, "network_")
        X, y = validate_data(self, X, y, dtype=[np.float32, np.float64], reset=first)
        check_classification_targets(y)
        if first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"`classes={classes!r}` is not the same as on the last call")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y must hold labels of classes only, got {unknown[0]!r}")
        if first:
            self._begin(X)
        try:
            self._train(X, np.searchsorted(self.classes_, y), self.n_iter_ + 1, self.n_iter_)
        except Exception:
            if first:
                del self.network_  # the next call is the first one still
            raise
        return self

    def _begin(self, X: Array) -> None:
        """Make the network and learn the range of the features."""
        if len(self.classes_) < 2:
            raise ValueError(
                f"this classifier needs at least 2 classes, got 1 class: {self.classes_[0]!r}"
            )
        axis = None if self.input_shape is not None else 0
        self._low = np.asarray(X.min(axis=axis), dtype=np.float64)
        # In halves, as the difference of two huge numbers may overflow.
        half = np.asarray(X.max(axis=axis), dtype=np.float64) / 2 - self._low / 2
        self._half_range = np.where(half > 0, half, 0.5)
        if isinstance(self.random_state, (int, np.integer)) and self.random_state >= 0:
            seed = int(self.random_state)
        else:
            from sklearn.utils import check_random_state

            seed = int(check_random_state(self.random_state).randint(1 << 31))
        hidden = [Dense(100, "relu")] if self.layers is None else list(self.layers)
        shape = self.input_shape if self.input_shape is not None else (self.n_features_in_,)
        self.network_ = Sequential([*hidden, Dense(len(self.classes_), "softmax")], shape, seed)
        self.n_iter_ = 0

    def _scale(self, X: Array) -> Array:
        """Features as float32, 0 to 1 where they are as in training, never beyond -10 or 10."""
        scaled = (X / 2 - self._low / 2) / self._half_range
        return np.ascontiguousarray(np.clip(scaled, -10.0, 10.0), dtype=np.float32)

    def _train(self, X: Array, targets: Array, epochs: int, initial: int) -> None:
        from mnistc.callbacks import EarlyStopping

        share = check_float(
            "validation_fraction", self.validation_fraction, 0.0, 1.0, open_high=True
        )
        stop = None
        if share:  # of rows in random order: they may come class by class
            stop = EarlyStopping("val_loss", self.patience)
            order = np.random.default_rng(self.network_.seed).permutation(len(X))
            X, targets = X[order], targets[order]
        self.history_ = self.network_.fit(
            self._scale(X),
            targets,
            epochs=epochs,
            initial_epoch=initial,
            batch_size=self.batch_size,
            optimizer=Adam(self.learning_rate, weight_decay=self.weight_decay),
            validation_split=share,
            callbacks=stop,
            n_threads=self.n_threads,
            verbose=self.verbose,
            check_range=False,
        )
        self.n_iter_ = initial + len(self.history_.epochs)

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, in the order of `classes_`: (n, n_classes) float32."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return self.network_.predict(self._scale(X), self.n_threads, check_range=False)

    def predict(self, X: Any) -> Array:
        """The most probable label of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])
