"""mnistc: train a digit recogniser on an ordinary CPU in seconds, and put it on a web page."""

from mnistc.errors import FormatError, MissingExtraError
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

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "FormatError",
    "GlobalAveragePool2D",
    "MaxPool2D",
    "MissingExtraError",
]
