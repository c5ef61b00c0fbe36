"""Names of the losses, which last activation each one goes with, and their value in NumPy.

Training computes its loss in the C core, from the last layer's logits; these functions serve
`evaluate`, where only the network's outputs are at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.layers import check_choice

LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error")

# The activation that a cross-entropy undoes, so that the core can start from the logits.
_ACTIVATION = {"softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "sigmoid"}

_SMALLEST = 1e-12


def default_loss(activation: str) -> str:
    """The loss that fits a last layer with `activation`."""
    for loss, wanted in _ACTIVATION.items():
        if activation == wanted:
            return loss
    return "softmax_cross_entropy" if activation == "linear" else "mean_squared_error"


def check_loss(loss: object, activation: str) -> str:
    """Return the name of the loss, or say why it does not fit the last layer.

    Parameters
    ----------
    loss : str or None
        None stands for the one that fits.
    activation : str
        Of the last layer.

    Raises
    ------
    ValueError
    """
    if loss is None:
        return default_loss(activation)
    name = check_choice("loss", loss, LOSSES)
    wanted = _ACTIVATION.get(name)
    if wanted is not None and activation not in (wanted, "linear"):
        raise ValueError(
            f"loss {name!r} needs a last layer with activation {wanted!r} or 'linear', "
            f"got {activation!r}"
        )
    return name


def loss_values(
    loss: str, outputs: npt.NDArray[Any], targets: npt.NDArray[Any], activation: str
) -> npt.NDArray[np.float64]:
    """Loss of each image.

    Parameters
    ----------
    loss : str
    outputs : (n, classes) array
        What the network predicts, after its last activation.
    targets : (n,) int32 array or (n, classes) float32 array
    activation : str
        Of the last layer: "linear" outputs are taken as logits by the cross-entropies.

    Returns
    -------
    (n,) float64 array
    """
    z = outputs.astype(np.float64)
    if targets.ndim == 1:
        t = np.zeros_like(z)
        t[np.arange(len(z)), targets] = 1.0
    else:
        t = targets.astype(np.float64)
    if loss == "mean_squared_error":
        return np.asarray(np.mean((z - t) ** 2, axis=1))
    if loss == "softmax_cross_entropy":
        if activation == "linear":
            z = z - z.max(axis=1, keepdims=True)
            logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        else:
            logs = np.log(np.maximum(z, _SMALLEST))
        return np.asarray(-(t * logs).sum(axis=1))
    if activation == "linear":  # log(1 + exp(z)) - t z, without overflow
        terms = np.logaddexp(0.0, z) - t * z
    else:
        z = np.clip(z, _SMALLEST, 1 - 1e-9)
        terms = -(t * np.log(z) + (1 - t) * np.log1p(-z))
    return np.asarray(terms.sum(axis=1))


def right_answers(
    loss: str, outputs: npt.NDArray[Any], targets: npt.NDArray[Any], activation: str
) -> npt.NDArray[np.bool_]:
    """Whether each image's largest output is its class, (n,); arguments as of `loss_values`.

    One output alone is always the largest: it is right on its target's side of 1/2.
    """
    if outputs.shape[1] > 1:
        labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
        return np.asarray(outputs.argmax(axis=1) == labels)
    if loss == "softmax_cross_entropy":  # of one output it is always 1
        outputs = np.ones_like(outputs)
    middle = 0.0 if loss == "sigmoid_cross_entropy" and activation == "linear" else 0.5
    wanted = targets > 0.5 if targets.ndim == 2 else np.ones((len(outputs), 1), np.bool_)
    return np.asarray((outputs > middle) == wanted)[:, 0]
