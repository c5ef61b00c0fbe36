"""What a training went through, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any


class History(Mapping[str, list[float]]):
    """Figures of each epoch: ``history["loss"]`` is a list with one number for every epoch.

    The names are ``loss``, ``accuracy``, ``learning_rate`` (of the last step) and ``seconds``,
    and with validation data ``val_loss`` and ``val_accuracy``. Loss and accuracy are means over
    the epoch as it was trained, with dropout and augmentation; the loss is the one that training
    lowers, with label smoothing and each image's times its weight.

    Attributes
    ----------
    epochs : list of dict
        The same, one dict an epoch, with its number under ``epoch`` (the first is 1).
    """

    def __init__(self, epochs: list[dict[str, float]] | None = None) -> None:
        self.epochs: list[dict[str, float]] = [dict(epoch) for epoch in epochs or []]

    def append(self, epoch: dict[str, float]) -> None:
        self.epochs.append(dict(epoch))

    def __getitem__(self, name: str) -> list[float]:
        values = [epoch[name] for epoch in self.epochs if name in epoch]
        if not values:
            raise KeyError(name)
        return values

    def __iter__(self) -> Iterator[str]:
        names: dict[str, None] = {}
        for epoch in self.epochs:
            names.update(dict.fromkeys(epoch))
        return iter(names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def history(self) -> dict[str, list[float]]:
        """All figures as a plain dict of lists."""
        return {name: self[name] for name in self}

    @property
    def seconds(self) -> float:
        """Seconds of training and validation together."""
        return sum(epoch.get("seconds", 0.0) for epoch in self.epochs)

    def plot(self, path: Any = None) -> Any:
        """Draw the learning curves and return the matplotlib figure (extra ``plot``).

        Parameters
        ----------
        path : path, optional
            Also write the picture there.
        """
        from mnistc.plots import learning_curves

        return learning_curves(self, path)

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(no epochs)"
        last = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, Real) else f"{name} {value}"
            for name, value in self.epochs[-1].items()  # callbacks add what they like
        )
        return f"History({len(self.epochs)} epochs; last: {last})"
