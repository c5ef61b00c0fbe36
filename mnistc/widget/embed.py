"""Models inside classic scripts: JSON in a JavaScript string, int8 weights as dense text."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

# As in src/model.ts: a character for each value from -44 to 43; the two last ones say that the
# value is below or above, by as much as the next character. None of them needs an escape.
ALPHABET = (
    " !#$%&()*+,-./0123456789:;=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz{|}~"
)
_LOWEST, _HIGHEST = -44, 43
# What a page needs of a model file; the rest stays in the file.
_KEYS = ("format", "version", "name", "labels", "license", "input", "preprocessing", "layers")


def register_statement(name: str, text: str) -> str:
    """JavaScript that makes a model known to the widget under `name`.

    Parameters
    ----------
    name : str
        For the element's attribute ``model``.
    text : str
        What `embedded_text` made of a model file that was checked before.

    Returns
    -------
    str
        One statement, ASCII, safe inside a ``<script>`` element too.
    """
    return f"mnistc.register({_literal(name)},{_literal(text)});\n"


def embedded_text(document: dict[str, Any]) -> str:
    """What a page needs of a model file, as ASCII; where int8 values are wide, longer than that."""
    small = {key: document[key] for key in _KEYS if key in document}
    small["tensors"] = {key: _dense(tensor) for key, tensor in document["tensors"].items()}
    return json.dumps(small, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def claim_statement(element: str, name: str) -> str:
    """JavaScript that comes before the model `name` is registered, for the elements that want it.

    Those that another script has defined, as they stand before both, took what model was there;
    they ask again as soon as this script has run.
    """
    return (
        f"customElements.get('{element}')&&Promise.resolve().then(()=>"
        f"document.querySelectorAll('{element}').forEach(e=>e.hasAttribute('model')||"
        f"e.hasAttribute('src')||e.setAttribute('model','{name}')));\n"
    )


def _literal(text: str) -> str:
    """A JavaScript string of ASCII text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("<", "\\x3c") + "'"


def _dense(tensor: dict[str, Any]) -> dict[str, Any]:
    """The tensor with int8 values in encoding "ascii", which compresses better than base64."""
    if tensor["dtype"] != "i8":
        return tensor
    data = tensor["data"]
    if tensor["encoding"] == "base64":
        values = np.frombuffer(base64.b64decode(data), np.int8)
    else:
        values = np.array(data, np.int8)
    return {**tensor, "encoding": "ascii", "data": encode_ascii(values.tolist())}


def encode_ascii(values: list[int]) -> str:
    """Text of int8 values, most of them one character each."""
    return "".join(map(_CODES.__getitem__, values))


def _code(value: int) -> str:
    if value < _LOWEST:
        return ALPHABET[-2] + ALPHABET[_LOWEST - 1 - value]
    if value > _HIGHEST:
        return ALPHABET[-1] + ALPHABET[value - _HIGHEST - 1]
    return ALPHABET[value - _LOWEST]


_CODES = {value: _code(value) for value in range(-128, 128)}
