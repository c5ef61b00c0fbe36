"""scikit-learn's MLPClassifier. Its last layer is a softmax, not ten sigmoids: it has no choice."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier
from works import NETWORKS, Data, Work


class Runner:
    def __init__(self, work: Work, data: Data, threads: int, options: dict) -> None:
        warnings.simplefilter("ignore")
        self.work, self.data = work, data
        hidden = tuple(layer[1] for layer in NETWORKS[work.network] if layer[0] == "dense")[:-1]
        self.model = MLPClassifier(
            hidden,
            activation="logistic",
            solver=work.optimizer or "sgd",
            batch_size=work.batch_size if work.kind == "train" else 200,
            learning_rate_init=work.learning_rate or 0.1,
            momentum=0.0,
            alpha=0.0,
            random_state=0,
        )
        self.x = data.float_images(work.images).reshape(work.images, -1)
        self.y = data.first_labels(work.images)
        if work.kind != "train":
            self.model.partial_fit(self.x[:1000], self.y[:1000], classes=np.arange(10))

    def train(self) -> None:
        # One pass over the images in minibatches of batch_size, shuffled.
        self.model.partial_fit(self.x, self.y, classes=np.arange(10))

    def latency(self) -> None:
        image, predict = self.x[:1].copy(), self.model.predict_proba
        for _ in range(self.work.images):
            predict(image)

    def throughput(self) -> None:
        self.model.predict_proba(self.x)

    def accuracy(self) -> float:
        x = self.data.test_images.reshape(len(self.data.test_images), -1).astype(np.float32) / 255
        return float((self.model.predict(x) == self.data.test_labels).mean())

    def detail(self) -> dict:
        return {"last_layer": "softmax"}
