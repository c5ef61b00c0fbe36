"""Learning-rate schedules: the rate of every step of a training.

A schedule turns step numbers into factors of the optimiser's learning rate. It is computed for
a whole epoch at a time, so the rate of a step does not depend on how the steps are grouped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mnistc.layers import check_float, check_int

Steps = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """Base of the schedules.

    Subclasses give `factors(steps, total, per_epoch)`: the factor of the learning rate at each
    of `steps` (0 is the first), of `total` steps with `per_epoch` to the epoch.
    """

    name: ClassVar[str] = ""

    def factors(self, steps: Steps, total: int, per_epoch: int) -> Steps:
        raise NotImplementedError

    def rates(
        self, learning_rate: float, start: int, count: int, total: int, per_epoch: int
    ) -> npt.NDArray[np.float32]:
        """Learning rates, shape (count,) float32, of the steps from `start` on."""
        steps = np.arange(start, start + count, dtype=np.float64)
        return np.asarray(learning_rate * self.factors(steps, total, per_epoch), np.float32)

    def config(self) -> dict[str, Any]:
        """Name and hyper-parameters as JSON-ready values."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate from the first step to the last."""

    name: ClassVar[str] = "constant"

    def factors(self, steps: Steps, total: int, per_epoch: int) -> Steps:
        return np.ones_like(steps)


@dataclass(frozen=True)
class Step(Schedule):
    """Multiply the rate by `factor` after every `epochs` epochs."""

    epochs: int = 10
    factor: float = 0.1
    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", check_int("epochs", self.epochs, 1, 1 << 30))
        check_float("factor", self.factor, 0.0, 1.0)

    def factors(self, steps: Steps, total: int, per_epoch: int) -> Steps:
        return np.power(float(self.factor), np.floor(steps / (self.epochs * per_epoch)))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Rise linearly for `warmup` of the training, then fall as a cosine to `final`.

    Parameters
    ----------
    warmup : float
        Share of all steps, in [0, 1).
    final : float
        Factor of the learning rate at the end.
    """

    warmup: float = 0.0
    final: float = 0.0
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        check_float("warmup", self.warmup, 0.0, 1.0, open_high=True)
        check_float("final", self.final, 0.0, 1.0)

    def factors(self, steps: Steps, total: int, per_epoch: int) -> Steps:
        rising = self.warmup * total
        rise = (steps + 1) / max(rising, 1.0)
        progress = np.clip((steps - rising) / max(total - rising, 1.0), 0.0, 1.0)
        fall = self.final + (1 - self.final) * 0.5 * (1 + np.cos(np.pi * progress))
        return np.asarray(np.where(steps < rising, np.minimum(rise, 1.0), fall))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle (Smith, arXiv:1708.07120): up to the full rate, then down to almost none.

    Parameters
    ----------
    peak : float
        Share of all steps at which the full rate is reached, in (0, 1).
    start, final : float
        Factors of the learning rate at the first and the last step.
    """

    peak: float = 0.3
    start: float = 0.04
    final: float = 0.0004
    name: ClassVar[str] = "one_cycle"

    def __post_init__(self) -> None:
        check_float("peak", self.peak, 1e-6, 1.0, open_high=True)
        check_float("start", self.start, 0.0, 1.0)
        check_float("final", self.final, 0.0, 1.0)

    def factors(self, steps: Steps, total: int, per_epoch: int) -> Steps:
        top = self.peak * (total - 1)
        up = np.clip(steps / max(top, 1e-9), 0.0, 1.0)
        down = np.clip((steps - top) / max(total - 1 - top, 1e-9), 0.0, 1.0)
        rising = self.start + (1 - self.start) * 0.5 * (1 - np.cos(np.pi * up))
        falling = self.final + (1 - self.final) * 0.5 * (1 + np.cos(np.pi * down))
        return np.asarray(np.where(steps <= top, rising, falling))


@dataclass(frozen=True)
class Custom(Schedule):
    """A function of the step and the number of all steps that gives a factor of the rate."""

    function: Callable[[int, int], float]
    name: ClassVar[str] = "custom"

    def factors(self, steps: Steps, total: int, per_epoch: int) -> Steps:
        factors = np.array([self.function(int(step), total) for step in steps], dtype=np.float64)
        if not (np.isfinite(factors).all() and (factors >= 0).all()):
            raise ValueError("schedule must give finite factors of at least 0")
        return factors

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "function": getattr(self.function, "__qualname__", "?")}


SCHEDULES: dict[str, type[Schedule]] = {
    kind.name: kind for kind in (Constant, Step, Cosine, OneCycle)
}


def as_schedule(value: Schedule | str | Callable[[int, int], float] | None) -> Schedule:
    """Return the schedule that `value` stands for: itself, a name, a function or None (constant).

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For anything else.
    """
    if value is None:
        return Constant()
    if isinstance(value, Schedule):
        return value
    if isinstance(value, str):
        if value not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; got {value!r}")
        return SCHEDULES[value]()
    if callable(value) and not isinstance(value, type):  # a class: its () were forgotten
        return Custom(value)
    raise TypeError(f"schedule must be a schedule, a name or a function, got {value!r}")
