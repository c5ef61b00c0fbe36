"""Optimisers, as plain descriptions; the arithmetic is in the C core.

Each one is a frozen dataclass, so it can be shared, compared and written into a checkpoint. The
moments belong to the training that uses it, not to the description.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from mnistc.layers import check_float

_LARGEST = 1e6


@dataclass(frozen=True)
class Optimizer:
    """Base of the optimisers: a learning rate, weight decay and gradient clipping.

    `clip_norm` scales the gradient of all weights together down to this Euclidean norm; 0 is off.
    """

    learning_rate: float = 0.01
    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in (each.name for each in fields(self)):
            value = getattr(self, field)
            if field == "nesterov":
                if not isinstance(value, bool):
                    raise TypeError(f"nesterov must be True or False, got {value!r}")
                continue
            unit = field in ("momentum", "beta_1", "beta_2")
            low = 1e-30 if field == "epsilon" else 0.0
            high = 1.0 if unit or field == "epsilon" else _LARGEST
            number = check_float(field, value, low, high, open_high=unit)
            object.__setattr__(self, field, number)

    def core_options(self) -> dict[str, Any]:
        """Keyword arguments of `_core.Trainer`; the learning rate goes in step by step."""
        options = asdict(self)
        del options["learning_rate"]
        return {"optimizer": self.name, **options}

    def config(self) -> dict[str, Any]:
        """Name and hyper-parameters as JSON-ready values."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        Share of the last step kept, in [0, 1).
    nesterov : bool
        Look ahead along the momentum before taking the gradient.
    weight_decay : float
        L2 penalty: ``weight_decay * weight`` is added to the gradient (biases excepted).
    clip_norm : float
        Largest norm of the gradient; 0 is off.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov=True needs a momentum above 0, got momentum=0")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980), weight decay as L2 in the gradient.

    Parameters
    ----------
    learning_rate : float
    beta_1, beta_2 : float
        Decay of the first and second moments, in [0, 1).
    epsilon : float
        Added to the root of the second moment, up to 1.
    weight_decay, clip_norm : float
        As in `SGD`.
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    name: ClassVar[str] = "adam"


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101).

    Parameters
    ----------
    learning_rate : float
    weight_decay : float
        Each step takes ``learning_rate * weight_decay * weight`` off the weights.
    beta_1, beta_2, epsilon, clip_norm : float
        As in `Adam`.
    """

    learning_rate: float = 0.001
    weight_decay: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    clip_norm: float = 0.0
    name: ClassVar[str] = "adamw"


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Adam, AdamW)}


def as_optimizer(value: Optimizer | str) -> Optimizer:
    """Return `value` itself, or the optimiser of that name with its defaults.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For anything that is neither an optimiser nor a name.
    """
    if isinstance(value, Optimizer):
        return value
    if not isinstance(value, str):
        raise TypeError(f"optimizer must be SGD(), Adam(), AdamW() or a name, got {value!r}")
    if value not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {value!r}")
    return OPTIMIZERS[value]()
