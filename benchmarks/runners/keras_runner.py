"""Keras on TensorFlow or on JAX (environment variable KERAS_BACKEND): fit, or a whole epoch as
one TensorFlow function around the Keras model."""

from __future__ import annotations

import keras
import numpy as np
from works import NETWORKS, Data, Work


def build(network: str) -> keras.Sequential:
    """The network, without the last activation: losses take logits."""
    layers: list[keras.Layer] = [keras.Input((28, 28, 1))]
    makers = {
        "dense": lambda units, activation: keras.layers.Dense(units, activation=activation),
        "conv": lambda filters, size, activation: keras.layers.Conv2D(
            filters, size, activation=activation
        ),
        "pool": lambda: keras.layers.MaxPooling2D(2),
        "flatten": keras.layers.Flatten,
        "dropout": keras.layers.Dropout,
    }
    *body, (_, units, _) = NETWORKS[network]
    layers += [makers[kind](*arguments) for kind, *arguments in body]
    return keras.Sequential([*layers, keras.layers.Dense(units)])


def sigmoid_loss(y, logits):
    return keras.ops.sum(keras.ops.binary_crossentropy(y, logits, from_logits=True), axis=-1)


class Runner:
    def __init__(self, work: Work, data: Data, threads: int, options: dict) -> None:
        self._limit_threads(threads)
        keras.utils.set_random_seed(0)
        if work.precision == "bf16":
            keras.mixed_precision.set_global_policy("mixed_bfloat16")
        self.work, self.data, self.options = work, data, options
        self.model = build(work.network)
        self.sigmoid = work.network == "mlp"
        self.x = data.float_images(work.images)[..., None]
        if work.kind == "train":
            self._prepare_training()
        else:
            self._prepare_inference()

    def _limit_threads(self, threads: int) -> None:
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)

    def _prepare_training(self) -> None:
        work = self.work
        labels = self.data.first_labels(work.images)
        self.y = np.eye(10, dtype=np.float32)[labels] if self.sigmoid else labels
        kinds = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
        self.optimizer = kinds[work.optimizer](work.learning_rate)
        self.loss = (
            sigmoid_loss
            if self.sigmoid
            else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        if self.options.get("loop") == "function":
            self._make_function()
            return
        self.model.compile(
            self.optimizer,
            self.loss,
            jit_compile=self.options.get("jit", False),
            steps_per_execution=min(self.options.get("steps_per_execution", 1), work.steps),
        )

    def _make_function(self) -> None:
        """One epoch as one graph: no Python between minibatches."""
        import tensorflow as tf

        size, steps, loss = self.work.batch_size, self.work.steps, self.loss
        model, optimizer = self.model, self.optimizer
        optimizer.build(model.trainable_variables)

        @tf.function(jit_compile=self.options.get("jit", False))
        def step(x, y):
            with tf.GradientTape() as tape:
                value = tf.reduce_mean(loss(y, model(x, training=True)))
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(value, variables), variables)

        @tf.function
        def epoch(x, y):
            order = tf.random.shuffle(tf.range(tf.shape(x)[0]))
            x, y = tf.gather(x, order), tf.gather(y, order)
            for i in tf.range(steps):
                step(x[i * size : (i + 1) * size], y[i * size : (i + 1) * size])

        x, y = tf.constant(self.x), tf.constant(self.y)
        self.epoch = lambda: epoch(x, y)

    def train(self) -> None:
        if self.options.get("loop") == "function":
            self.epoch()
            return
        self.model.fit(self.x, self.y, batch_size=self.work.batch_size, epochs=1, verbose=0)

    def _prepare_inference(self) -> None:
        import tensorflow as tf

        last = tf.sigmoid if self.sigmoid else tf.nn.softmax
        model = self.model
        self.predictor = tf.function(
            lambda x: last(model(x, training=False)),
            input_signature=[tf.TensorSpec((None, 28, 28, 1), tf.float32)],
            jit_compile=self.options.get("jit", False),
        ).get_concrete_function()
        self.chunk = self.options.get("chunk", 1000)
        self.constant = tf.constant

    def latency(self) -> None:
        image, predictor, constant = self.x[:1].copy(), self.predictor, self.constant
        for _ in range(self.work.images):
            predictor(constant(image)).numpy()

    def throughput(self) -> None:
        for start in range(0, self.work.images, self.chunk):
            self.predictor(self.constant(self.x[start : start + self.chunk])).numpy()

    def accuracy(self) -> float:
        x = self.data.test_images[..., None].astype(np.float32) / 255
        guess = np.asarray(self.model.predict(x, batch_size=1000, verbose=0)).argmax(1)
        return float((guess == self.data.test_labels).mean())

    def detail(self) -> dict:
        return {"backend": keras.backend.backend()}
