"""mnistc itself."""

from __future__ import annotations

from works import Data, Work, mnistc_layers


class Runner:
    def __init__(self, work: Work, data: Data, threads: int, options: dict) -> None:
        import mnistc

        self.work, self.threads = work, threads
        self.net = mnistc.Sequential(mnistc_layers(work.network), (28, 28, 1), seed=0)
        self.data = data
        if work.kind == "train":
            self._prepare_training(mnistc)
        else:
            self.x = data.float_images(work.images)
            self.image = self.x[:1].copy()

    def _prepare_training(self, mnistc) -> None:
        work = self.work
        self.x = self.data.uint8_images(work.images)
        self.y = self.data.first_labels(work.images)
        optimizer = {"sgd": mnistc.SGD, "adam": mnistc.Adam}[work.optimizer]
        self.settings = {
            "batch_size": work.batch_size,
            "optimizer": optimizer(work.learning_rate),
            "n_threads": self.threads,
            "precision": work.precision,
            "verbose": 0,
        }
        self.unit = 0

    def train(self) -> None:
        self.unit += 1
        self.net.fit(self.x, self.y, epochs=1, seed=self.unit, **self.settings)

    def latency(self) -> None:
        net, image = self.net, self.image
        for _ in range(self.work.images):
            net.predict(image, 1)

    def throughput(self) -> None:
        self.net.predict(self.x, self.threads)

    def accuracy(self) -> float:
        return self.net.evaluate(self.data.test_images, self.data.test_labels)["accuracy"]

    def detail(self) -> dict:
        return {"kernels": self.net.core.kernels}
