"""mnistc: train a digit recogniser on an ordinary CPU in seconds, and put it on a web page."""

from importlib import import_module
from typing import Any

from mnistc.augment import Augment
from mnistc.batch_norm import update_batch_norm
from mnistc.callbacks import Checkpoint, CSVLog, EarlyStopping
from mnistc.ensemble import ensemble
from mnistc.errors import FormatError, MissingExtraError
from mnistc.history import History
from mnistc.layers import (
    Activation,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
)
from mnistc.model import Sequential, load
from mnistc.optimizers import SGD, Adam, AdamW
from mnistc.schedules import Constant, Cosine, OneCycle, Step

__version__ = "0.1.0"

# Imported when they are first used: `import mnistc` stays quick.
_SUBMODULES = (
    "datasets",
    "formats",
    "metrics",
    "plots",
    "recipes",
    "reference",
    "sklearn",
    "strokes",
    "widget",
)

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Augment",
    "BatchNorm",
    "CSVLog",
    "Checkpoint",
    "Constant",
    "Conv2D",
    "Cosine",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "EarlyStopping",
    "Flatten",
    "FormatError",
    "GlobalAveragePool2D",
    "History",
    "MaxPool2D",
    "MissingExtraError",
    "OneCycle",
    "Sequential",
    "Step",
    "ensemble",
    "load",
    "update_batch_norm",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"mnistc.{name}")
    raise AttributeError(f"module 'mnistc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES])
