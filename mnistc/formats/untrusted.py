"""JSON from strangers: parsed within limits, turned into float32 arrays with care.

A limit is there so that a file cannot cost much more memory than its own size: every value of a
JSON text takes at most some 64 bytes, and a text holds at most `MAX_VALUES` of them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mnistc.errors import FormatError

F32 = npt.NDArray[np.float32]

MAX_VALUES = 1 << 22
MAX_METADATA_VALUES = 100_000
MAX_METADATA_DEPTH = 32
MAX_STRING = 1 << 16


def short(value: object, limit: int = 60) -> str:
    """Return ``repr(value)`` on one line and cut to `limit` characters, whatever `value` is."""
    if isinstance(value, str):
        value = value[: limit + 1]
    elif isinstance(value, int) and abs(value) >= 10**18:
        return "a huge integer"
    elif isinstance(value, (list, tuple, dict)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} values"
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def one_line(text: str, limit: int = 240) -> str:
    """`text` as printable ASCII on one line, cut to `limit` characters."""
    text = "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in text[:limit])
    return text if len(text) < limit else text[: limit - 3] + "..."


def parse_json(data: bytes, source: str) -> Any:
    """Parse UTF-8 JSON, refusing what the JSON standard or plain sense refuses.

    Raises
    ------
    FormatError
        Not UTF-8, not JSON, NaN or Infinity, a key given twice, nested too deeply or more than
        `MAX_VALUES` values.
    """
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAX_VALUES:
        raise FormatError(f"{source}: more than {MAX_VALUES} values, the most that is read")
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise FormatError(f"{source}: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormatError(f"{source}: not JSON at {where}: {error.msg}") from None
    except ValueError as error:
        raise FormatError(f"{source}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        double = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {short(double)} is given twice in one object")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number; all numbers must be finite")


def check_metadata(value: object, source: str) -> None:
    """Refuse metadata that is deep, large, not finite or not printable as UTF-8."""
    todo: list[tuple[object, int]] = [(value, 0)]
    seen = 0
    while todo:
        item, depth = todo.pop()
        seen += 1
        if seen > MAX_METADATA_VALUES:
            raise FormatError(f"{source}: more than {MAX_METADATA_VALUES} values of metadata")
        if depth > MAX_METADATA_DEPTH:
            raise FormatError(f"{source}: nested more than {MAX_METADATA_DEPTH} deep")
        if isinstance(item, dict):
            todo += [(child, depth + 1) for child in item.values()]
            for key in item:
                _check_string(key, source)
        elif isinstance(item, list):
            todo += [(child, depth + 1) for child in item]
        elif isinstance(item, str):
            _check_string(item, source)
        elif isinstance(item, float) and not math.isfinite(item):
            raise FormatError(f"{source}: holds a number beyond the range of a double")
        elif isinstance(item, int) and abs(item) > 2**53:
            raise FormatError(f"{source}: holds an integer beyond 2^53")


def _check_string(text: str, source: str) -> None:
    if len(text) > MAX_STRING:
        raise FormatError(f"{source}: a string of {len(text)} characters, at most {MAX_STRING}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{source}: a string with half a surrogate pair") from None


def to_floats(values: object, where: str, count: int | None = None) -> F32:
    """Turn a flat JSON list of numbers into a float32 array (n,).

    Raises
    ------
    FormatError
        Not a list, not `count` values, not all numbers, or not finite as float32.
    """
    if not isinstance(values, list):
        raise FormatError(f"{where}: wanted a list of numbers, got {short(values)}")
    if count is not None and len(values) != count:
        raise FormatError(f"{where}: wanted {count} numbers, got {len(values)}")
    if not {type(value) for value in values} <= {int, float}:
        index = next(i for i, v in enumerate(values) if type(v) not in (int, float))
        raise FormatError(f"{where}: wanted a number at {index}, got {short(values[index])}")
    try:
        doubles = np.array(values, np.float64)
    except OverflowError:
        raise FormatError(f"{where}: an integer too large for float32") from None
    with np.errstate(over="ignore"):
        floats = doubles.astype(np.float32)
    return check_finite(floats, where)


def check_finite(array: F32, where: str) -> F32:
    """Return `array`, or say at which index it is not finite."""
    finite = np.isfinite(array)
    if not finite.all():
        index = int(np.argmin(finite))
        raise FormatError(f"{where}: not a finite float32 number at {index}")
    return array


def shortest(array: F32) -> list[float]:
    """Doubles with the fewest digits that read back as the float32 values of `array` (flat).

    A reader that parses them as doubles and rounds to float32 gets the same bits.
    """
    flat = np.ascontiguousarray(array, np.float32).ravel()
    doubles = flat.astype("U32").astype(np.float64)
    # Rounding twice, to double and to float32, can miss by one bit: then all digits.
    exact = doubles.astype(np.float32) == flat
    values: list[float] = np.where(exact, doubles, flat.astype(np.float64)).tolist()
    return values
