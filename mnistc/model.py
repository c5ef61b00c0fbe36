"""`Sequential`: a network as a stack of layers, that can be trained, used, saved and loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mnistc import _core
from mnistc.arrays import (
    as_images,
    as_sample_weight,
    as_targets,
    describe,
    join_class_weight,
)
from mnistc.augment import Augment, as_options, check_fit
from mnistc.callbacks import Callback, check_callbacks
from mnistc.history import History
from mnistc.layers import (
    Activation,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    Shape,
    check_choice,
    check_float,
    check_int,
    named_layers,
)
from mnistc.losses import check_loss, loss_values, right_answers
from mnistc.optimizers import Optimizer, as_optimizer
from mnistc.parameters import Weights
from mnistc.progress import Progress
from mnistc.schedules import Schedule, as_schedule
from mnistc.summary import Summary, summarize
from mnistc.training import Plan, Run, train

_CHUNK = 4096  # images predicted between two calls of `between`

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]
PathLike = str | os.PathLike[str]


def as_input_shape(value: object) -> Shape:
    """Height, width and channels from ``(h, w, c)``, ``(h, w)``, ``(n,)`` or ``n``."""
    sizes = (value,) if hasattr(value, "__index__") else value
    if not isinstance(sizes, (tuple, list)) or not 1 <= len(sizes) <= 3:
        raise TypeError(f"input_shape must be (height, width, channels), got {value!r}")
    checked = [check_int("input_shape", size, 1, 1 << 24) for size in sizes]
    if len(checked) == 1:
        return 1, 1, checked[0]
    return checked[0], checked[1], checked[2] if len(checked) == 3 else 1


class Sequential:
    """A network: a stack of layers.

    Parameters
    ----------
    layers : list of Layer
        Each takes what the one before it gives. Those without a name get one.
    input_shape : tuple of int
        Height, width and channels of an image, or (n,) for n features.
    seed : int
        Of the first weights, and of `fit` unless told otherwise.

    Attributes
    ----------
    layers : tuple of Layer
    input_shape, output_shape : (int, int, int)
    weights : Weights
        Mapping from name to float32 array; set an entry, or assign a whole mapping.
    metadata : dict
        What goes into a model file beside layers and weights: ``name``, ``labels``,
        ``license``, ``preprocessing``, ``training``, ``metrics``, ``extra``.
    loss : str
        What `evaluate` computes: the loss of the last `fit`.

    Raises
    ------
    ValueError
        For layers that do not fit together.
    TypeError
        For something that is no layer.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        input_shape: tuple[int, ...] | int = (28, 28, 1),
        seed: int = 0,
    ) -> None:
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of layers, got {layers!r}")
        given = list(layers)
        for layer in given:
            if not isinstance(layer, Layer):
                raise TypeError(f"layers must be layers such as Dense(10), got {layer!r}")
        if not given:
            raise ValueError("layers must hold at least one layer")
        self.layers = tuple(named_layers(given))
        self.input_shape = as_input_shape(input_shape)
        self.seed = check_int("seed", seed, 0, (1 << 63) - 1)
        shape = self.input_shape
        for layer in self.layers:
            shape = layer.output_shape(shape)
        self.output_shape = shape
        self.core = _core.Network(self.input_shape, [layer.config() for layer in self.layers])
        self.core.initialize(self.seed)
        self._weights = Weights(list(self.layers), self.input_shape, self.core)
        self._training = Lock()  # held while it is trained
        self.loss = check_loss(None, self.last_activation)
        self.metadata: dict[str, Any] = {}

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return int(self.core.n_outputs)

    @property
    def last_activation(self) -> str:
        """Activation of the outputs."""
        return next(
            (layer.activation_name for layer in reversed(self.layers) if _has_activation(layer)),
            "linear",
        )

    @property
    def weights(self) -> Weights:
        return self._weights

    @weights.setter
    def weights(self, values: Mapping[str, npt.ArrayLike]) -> None:
        missing = [name for name in self._weights if name not in values]
        if missing:
            raise ValueError(f"weights lack {', '.join(missing)}")
        extra = [name for name in values if name not in self._weights]
        if extra:
            raise ValueError(f"weights have no place for {', '.join(extra)}")
        before = {name: view.copy() for name, view in self._weights.items()}
        try:
            for name in self._weights:
                self._weights[name] = np.asarray(values[name])
        except BaseException:  # the values may come out of a file as they are asked for
            for name, view in before.items():
                self._weights[name][...] = view
            raise

    @property
    def n_parameters(self) -> int:
        """Number of trained weights."""
        return int(self.core.n_parameters)

    def summary(self, print_fn: Callable[[str], object] | None = print) -> Summary:
        """Print and return shapes, parameters and multiply-adds, layer by layer.

        Parameters
        ----------
        print_fn : callable or None
            Gets the table as a string; None prints nothing.
        """
        summary = summarize(self.layers, self.input_shape)
        if print_fn is not None:
            print_fn(str(summary))
        return summary

    def predict(self, x: npt.ArrayLike, n_threads: int = 0, *, check_range: bool = True) -> F32:
        """Outputs of the network: probabilities, if its last activation is softmax.

        Parameters
        ----------
        x : array_like
            Images as for `fit`.
        n_threads : int
            0 takes as many as the process may use.
        check_range : bool
            Refuse floats outside 0 to 1.

        Returns
        -------
        (n, classes) float32 array

        Raises
        ------
        ValueError, TypeError
            As `fit`.
        RuntimeError
            If the network is in use by another thread.
        """
        self._weights.settle()
        try:
            outputs = self.core.predict_ready(x, n_threads, check_range)
        except (TypeError, OverflowError):
            check_int("n_threads", n_threads, 0, 256)  # by name; not before: it takes time
            raise
        if outputs is not None:
            return outputs
        return self._forward(as_images(x, self.input_shape, check_range=check_range), n_threads)

    def _forward(
        self, flat: Array, n_threads: int, between: Callable[[], object] | None = None
    ) -> F32:
        """Outputs for checked images, with a call of `between` now and then."""
        self._weights.settle()
        if between is None:
            return self.core.predict(flat, n_threads)
        outputs = np.empty((len(flat), self.classes), dtype=np.float32)
        for start in range(0, len(flat), _CHUNK):
            part = slice(start, start + _CHUNK)
            outputs[part] = self.core.predict(flat[part], n_threads)
            between()
        return outputs

    def evaluate(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        loss: str | None = None,
        n_threads: int = 0,
        *,
        check_range: bool = True,
    ) -> dict[str, float]:
        """Mean loss and share of images whose largest output is their class.

        Of a single output, the share of images where it lies on the target's side of 1/2.

        Parameters
        ----------
        x, y, sample_weight : array_like
            As for `fit`.
        loss : str, optional
            That of the last training unless told.
        n_threads : int
        check_range : bool
            As for `fit`.

        Returns
        -------
        dict with "loss" and "accuracy"
        """
        name = self.loss if loss is None else check_loss(loss, self.last_activation)
        flat = as_images(x, self.input_shape, check_range=check_range)
        targets = as_targets(y, len(flat), self.classes, name)
        weight = as_sample_weight(sample_weight, len(flat))
        threads = check_int("n_threads", n_threads, 0, 256)
        return self.score_arrays(flat, targets, weight, name, threads)

    def score_arrays(
        self,
        flat: Array,
        targets: Array,
        weight: F32 | None,
        loss: str,
        n_threads: int = 0,
        between: Callable[[], object] | None = None,
    ) -> dict[str, float]:
        """`evaluate` for arrays that have been checked."""
        outputs = self._forward(flat, n_threads, between)
        right = right_answers(loss, outputs, targets, self.last_activation)
        losses = loss_values(loss, outputs, targets, self.last_activation)
        if weight is None:
            return {"loss": float(losses.mean()), "accuracy": int(right.sum()) / len(right)}
        return {
            "loss": float(np.average(losses, weights=weight)),
            "accuracy": float(np.average(right, weights=weight)),
        }

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        epochs: int = 1,
        batch_size: int = 32,
        optimizer: Optimizer | str = "adam",
        loss: str | None = None,
        validation_data: tuple[npt.ArrayLike, ...] | None = None,
        validation_split: float = 0.0,
        augment: Augment | Mapping[str, float] | None = None,
        callbacks: Iterable[Callback] | Callback | None = None,
        n_threads: int = 0,
        *,
        schedule: Schedule | str | Callable[[int, int], float] | None = None,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        label_smoothing: float = 0.0,
        ema: float = 0.0,
        shuffle: bool = True,
        seed: int | None = None,
        initial_epoch: int = 0,
        resume: PathLike | None = None,
        precision: str = "float32",
        check_range: bool = True,
        verbose: int = 1,
    ) -> History:
        """Train the network.

        Parameters
        ----------
        x : array_like
            uint8 (0 to 255) or float (0 to 1) images, (n, h, w, c), (n, h, w) for one channel,
            or (n, h * w * c). Read where they lie if they are C-contiguous uint8 or float32.
        y : array_like
            Integer classes (n,), or one-hot rows or probabilities (n, classes).
        epochs : int
            The number of the last epoch: passes over the images, less `initial_epoch`.
        batch_size : int
            Images in a minibatch; the last one of an epoch may be smaller.
        optimizer : SGD, Adam, AdamW, or "sgd", "adam", "adamw"
        loss : {"softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error"}
            What fits the last activation unless told.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch.
        validation_split : float
            Share of the images, from the end, kept for validation instead.
        augment : Augment, optional
            Random changes to each image, new ones each epoch; an input without height and width
            takes noise alone.
        callbacks : list of Callback, optional
        n_threads : int
            0 takes as many as the process may use. The result does not depend on it.
        schedule : Schedule, str or callable, optional
            Learning rate over the steps; a callable gets the step and the number of all steps
            and returns a factor.
        sample_weight : (n,) array_like, optional
            Factor of each image's loss.
        class_weight : dict or "balanced", optional
            Factor by class, in training alone.
        label_smoothing : float
            Share of each target spread evenly over the classes, in [0, 1).
        ema : float
            Decay of an average of the weights, kept by the step, at most (1 + step) / (10 + step)
            so that the first weights are forgotten; validation uses it and the network ends with
            it. 0 is off.
        shuffle : bool
            Take the images in a new order each epoch.
        seed : int, optional
            Of order, augmentation and dropout; that of the network unless told.
        initial_epoch : int
            Number of epochs to count as done.
        resume : path, optional
            Go on from a checkpoint (`mnistc.callbacks.Checkpoint`), with otherwise the same
            arguments.
        precision : {"float32", "bf16"}
            What the operands of the matrix products are rounded to in training, forward and back.
            Weights, sums and updates stay float32, as do weight gradients of dense layers and of
            a first convolution with a pooling, prediction and validation. It means the same with
            all kernels, up to the order of sums (but ``amx`` rounds the operands of pooled 3x3
            convolutions as they are, the others transformed), and is faster with ``avx512bf16`` and
            ``amx`` (`mnistc info` tells what is used).
        check_range : bool
            Refuse floats outside 0 to 1, which with images mean a forgotten division by 255.
        verbose : int
            0 is silent, 1 shows a bar on standard error if that is a terminal, 2 writes a line
            an epoch.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            For arguments of a wrong shape or value, for a last layer that no loss fits, and if
            the loss or the running statistics become infinite or NaN (the network then has the
            weights of the last good epoch).
        TypeError
            For arguments of a wrong type.
        FileNotFoundError
            If there is no checkpoint to resume.
        RuntimeError
            If the network is being trained already. Predictions of other threads are waited for.
        KeyboardInterrupt
            On Ctrl-C, between two minibatches; the network can be used as it is.
        """
        last = self.layers[-1]
        if not isinstance(last, (Dense, Conv2D, Activation, Flatten, GlobalAveragePool2D)):
            raise ValueError(f"no loss fits a last layer like {last}: put a Dense after it")
        epochs = check_int("epochs", epochs, 1, 1 << 30)
        name = check_loss(loss, self.last_activation)
        flat = as_images(x, self.input_shape, check_range=check_range)
        targets = as_targets(y, len(flat), self.classes, name)
        data = (flat, targets, as_sample_weight(sample_weight, len(flat)))
        split = check_float("validation_split", validation_split, 0.0, 1.0, open_high=True)
        if validation_data is not None:
            if split:
                raise ValueError("validation_split must be 0 where validation_data is given")
            validation = self._check_validation(validation_data, name, check_range)
        elif split:
            data, validation = _split(data, split)
            if not all(part[2] is None or part[2].any() for part in (data, validation)):
                raise ValueError("sample_weight is 0 for a whole part of validation_split")
        else:
            validation = None
        flat, targets, weight = data
        changes = as_options(augment)
        beyond = not check_range and flat.dtype != np.uint8
        check_fit(changes, self.input_shape, flat if beyond else None)
        plan = Plan(
            flat,
            targets,
            join_class_weight(weight, class_weight, targets, self.classes),
            validation=validation,
            epochs=epochs,
            initial_epoch=check_int("initial_epoch", initial_epoch, 0, epochs),
            batch_size=min(check_int("batch_size", batch_size, 1, 1 << 20), len(data[0])),
            optimizer=as_optimizer(optimizer),
            schedule=as_schedule(schedule),
            loss=name,
            label_smoothing=check_float(
                "label_smoothing", label_smoothing, 0.0, 1.0, open_high=True
            ),
            ema=check_float("ema", ema, 0.0, 1.0, open_high=True),
            augment=changes,
            shuffle=bool(shuffle),
            seed=self.seed if seed is None else check_int("seed", seed, 0, (1 << 63) - 1),
            precision=check_choice("precision", precision, ("float32", "bf16")),
            n_threads=check_int("n_threads", n_threads, 0, 256),
        )
        verbose = int(verbose) if isinstance(verbose, bool) else check_int("verbose", verbose, 0, 9)
        return self._train(plan, check_callbacks(callbacks), resume, verbose)

    def _check_validation(
        self, data: tuple[npt.ArrayLike, ...], loss: str, check_range: bool
    ) -> tuple[Array, Array, F32 | None]:
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise TypeError("validation_data must be (x, y) or (x, y, sample_weight)")
        flat = as_images(data[0], self.input_shape, "validation_data[0]", check_range=check_range)
        targets = as_targets(data[1], len(flat), self.classes, loss, "validation_data[1]")
        given = data[2] if len(data) == 3 else None
        return flat, targets, as_sample_weight(given, len(flat), "validation_data[2]")

    def _train(
        self, plan: Plan, callbacks: list[Callback], resume: PathLike | None, verbose: int
    ) -> History:
        if not self._training.acquire(blocking=False):
            raise RuntimeError("this network is being trained, by another thread or a callback")
        try:
            run = Run(self, plan, plan.trainer(self.core), callbacks, epoch=plan.initial_epoch)
            if resume is not None:
                from mnistc import checkpoint

                checkpoint.resume(resume, run)
            train(run, Progress(verbose))
            return run.history
        finally:
            self._training.release()

    def save(
        self,
        path: PathLike,
        quantize: Literal["int8", "float16"] | None = None,
        calibration: npt.NDArray[Any] | None = None,
        **metadata: Any,
    ) -> None:
        """Write a model file (JSON), atomically.

        Parameters
        ----------
        path : path
        quantize : {"int8", "float16"}, optional
            Store the weights in fewer bits.
        calibration : (n, ...) uint8 or float array, optional
            For "int8": images such as those trained on. The weights are then rounded so that
            what the layers make of these images changes least.
        **metadata
            ``name``, ``labels``, ``license``, ... in place of those in `metadata`.

        Raises
        ------
        ValueError
        OSError
            If the file cannot be written; an old one is then unchanged.
        """
        from mnistc.formats import write_model

        write_model(path, self.model_file(**metadata), quantize, calibration=calibration)

    def model_file(self, **metadata: Any) -> Any:
        """The network as a `mnistc.formats.ModelFile`, ready to be written or exported."""
        from mnistc.formats import ModelFile

        values = {**self.metadata, **metadata}
        return ModelFile(
            layers=list(self.layers),
            input_shape=self.input_shape,
            weights={name: view.copy() for name, view in self.weights.items()},
            **{name: value for name, value in values.items() if value is not None},
        )

    @classmethod
    def from_model_file(cls, model: Any) -> Sequential:
        """Build the network that a `mnistc.formats.ModelFile` describes."""
        network = cls(model.layers, input_shape=model.input_shape)
        network.weights = model.weights
        names = ("name", "labels", "license", "preprocessing", "training", "metrics", "extra")
        network.metadata = {name: getattr(model, name) for name in (*names, "test_vectors")}
        return network

    def __getstate__(self) -> dict[str, Any]:
        made = ("_weights", "_training")  # by __init__; the rest may be a subclass's own
        values = {name: value for name, value in vars(self).items() if name not in made}
        return {**values, "core": (self.core.parameters.copy(), self.core.state.copy())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Sequential.__init__(self, state["layers"], state["input_shape"], state["seed"])
        self.core.parameters[:], self.core.state[:] = state["core"]
        vars(self).update({name: value for name, value in state.items() if name != "core"})

    def __repr__(self) -> str:
        return (
            f"Sequential({len(self.layers)} layers, input {describe(self.input_shape)}, "
            f"{self.n_parameters:,} parameters)"
        )


def _has_activation(layer: Layer) -> bool:
    return hasattr(layer, "activation")


def _split(data: tuple[Array, Array, F32 | None], share: float) -> tuple[Any, Any]:
    """Cut the last `share` of the images off, at least one and never all."""
    n = len(data[0])
    kept = max(1, n - max(1, round(n * share)))
    if n < 2:
        raise ValueError("validation_split needs at least 2 images, got 1")
    parts = [(a[:kept], a[kept:]) if a is not None else (None, None) for a in data]
    return tuple(part[0] for part in parts), tuple(part[1] for part in parts)


def load(path: PathLike) -> Sequential:
    """Load a model: a file of any format that mnistc reads, or a shipped one by its name.

    Parameters
    ----------
    path : path or str
        A model file, the original's JSON, a TensorFlow.js ``model.json``, or a name such as
        ``"cnn"``.

    Raises
    ------
    FileNotFoundError
    FormatError
        If the file is not what it claims to be.
    """
    from mnistc.formats import load_any

    return Sequential.from_model_file(load_any(path))
