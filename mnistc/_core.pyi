"""The C core, as Python sees it. Arrays are checked and converted by the caller (mnistc.arrays)."""

from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

def kernels() -> str:
    """Name of the active kernel table: ref, baseline, avx2, avx512, avx512bf16, amx or neon."""

def available_kernels() -> list[str]:
    """Tables that this machine (CPU and OS) can run, the most demanding last."""

def use_kernels(name: str) -> None:
    """Make `name` the active table for networks made from now on; ValueError if not available."""

def cpu_features() -> dict[str, bool]: ...
def default_threads() -> int:
    """Threads used when none are asked for: MNISTC_THREADS, else the CPUs of the affinity mask."""

def uniform(seed: int, stream: int, n: int) -> F32:
    """`n` numbers in [0, 1) from Philox4x32-10, a function of seed and stream alone."""

def permutation(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A shuffle of 0..n-1 that depends on seed and epoch alone."""

class Network:
    """Layers, one flat block of parameters (trained) and one of state (running statistics)."""

    def __init__(self, input_shape: tuple[int, int, int], layers: list[dict[str, Any]]) -> None:
        """`layers` are Layer.config() dicts; ValueError for a spec that does not fit together."""

    n_parameters: int
    n_state: int
    n_outputs: int
    kernels: str
    parameters: F32  # (n_parameters,) live view; order: layer by layer, as Layer.weight_shapes
    state: F32  # (n_state,) live view; order: layer by layer, as Layer.state_shapes
    def initialize(self, seed: int) -> None:
        """Glorot uniform (He uniform before relu), zero biases, unit gammas, fresh statistics."""

    def predict(self, x: npt.NDArray[Any], n_threads: int = 0) -> F32:
        """Outputs (n, n_outputs) for x (n, inputs) float32, or uint8 taken as 0..255 -> 0..1.

        RuntimeError if the network is in use by another thread.
        """

    def predict_ready(self, x: object, n_threads: int = 0, check_range: bool = True) -> F32 | None:
        """As `predict`, for images of this network's shape, floats in 0 to 1 (or finite).

        None where `x` is anything else, and has to be checked or converted first.
        """

class Trainer:
    """Everything one training needs beyond the network; allocated once, no allocation after."""

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int,
        loss: str,  # softmax_cross_entropy | sigmoid_cross_entropy | mean_squared_error
        label_smoothing: float = 0.0,
        optimizer: str,  # sgd | adam | adamw
        momentum: float = 0.0,
        nesterov: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,  # L2, added to the gradient; decoupled for adamw
        clip_norm: float = 0.0,  # 0: off
        ema_decay: float = 0.0,  # 0: off
        seed: int = 0,
        augment: dict[str, float] | None = None,
        precision: str = "float32",  # or "bf16"
    ) -> None:
        """The loss takes the last layer's logits: the last activation must be softmax for
        softmax_cross_entropy, sigmoid for sigmoid_cross_entropy (or linear for either)."""

    def run(
        self,
        x: npt.NDArray[Any],  # (n, inputs) uint8 or float32, C-contiguous
        targets: npt.NDArray[Any],  # int32 (n,) classes, or float32 (n, outputs)
        sample_weight: F32 | None,
        order: npt.NDArray[
            np.int64
        ],  # the images of these steps, in order (a slice of the epoch's permutation)
        learning_rates: F32,  # one per step; steps = ceil(len(order) / batch_size)
        epoch: int,  # augmentation is a function of (seed, epoch, index of the image)
        n_threads: int = 0,
    ) -> tuple[float, int, bool]:
        """Run the steps; returns (sum of the losses, number right, all finite).

        Call it for chunks of a fraction of a second: signals and progress are the caller's.
        """

    grain: int  # calls of `run` may be cut at multiples of so many steps; elsewhere bits may change
    step: int  # optimiser steps done; drives Adam's bias correction and dropout
    ema: F32 | None  # (n_parameters,) averaged weights, live view
    ema_state: F32 | None
    def state_dict(self) -> dict[str, Any]:
        """Copies of moments, EMA and step: with parameters and state, all that a resume needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def gradients(
        self,
        x: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        sample_weight: F32 | None = None,
        epoch: int = 0,
        n_threads: int = 0,
    ) -> tuple[float, F32]:
        """Mean loss and gradient (n_parameters,) of one minibatch, no update: for tests."""

def augment(
    images: npt.NDArray[Any], options: dict[str, float], seed: int = 0, epoch: int = 0
) -> F32:
    """What training sees of images (n, h, w) or (n, h, w, channels), uint8 or float32 0..1.

    Float32 of the same shape, 0..1; image i is changed as image i of a training set in that epoch.
    ValueError for an option that is unknown or out of range.
    """
