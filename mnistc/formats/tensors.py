"""Tensors of a model file: float32 arrays as text, and back.

Errors that the narrower types bring, for a weight w of an output channel whose largest magnitude
is m (all float32 results, so to within one more rounding):

==========  ==========================  =============================================
dtype       value                       error at most
==========  ==========================  =============================================
``f32``     w                           0 (to the bit)
``f16``     w rounded to binary16       max(abs(w) / 2048, 2**-25)
``i8``      int8 * scale of channel     scale / 2; scale <= 1.001 max(m / 127, 1e-37)
==========  ==========================  =============================================

Biases and the arrays of a batch_norm layer are always ``f32``: they are few, and errors in them
are not averaged out.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.errors import FormatError
from mnistc.formats.untrusted import F32, check_finite, short, shortest, to_floats

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "f16": np.dtype("<f2"),
    "i8": np.dtype("i1"),
}
QUANTIZED = {None: "f32", "float16": "f16", "int8": "i8"}
ENCODINGS = ("base64", "decimal")
MAX_PARAMETERS = 1 << 25


def dtype_for(shape: tuple[int, ...], quantize: str | None) -> str:
    """Type in which an array of this shape is stored: only kernels are ever quantised."""
    return QUANTIZED[quantize] if len(shape) >= 2 else "f32"


def encode_tensor(
    array: F32, dtype: str, encoding: str, where: str, scale: F32 | None = None
) -> dict[str, Any]:
    """Describe a finite float32 array as a JSON object of the model file.

    `scale` (channels,) is for i8; without it the array's largest values decide.
    """
    entry: dict[str, Any] = {"shape": list(array.shape), "dtype": dtype, "encoding": encoding}
    if dtype == "i8":
        scale = channel_scales(array) if scale is None else scale
        stored = np.rint(array / scale).astype(np.int8)
        entry |= {"scale": shortest(scale), "axis": array.ndim - 1}
    else:
        stored = _as_float(array, DTYPES[dtype], where)
    if encoding == "base64":
        entry["data"] = base64.b64encode(stored.tobytes()).decode("ascii")
    elif dtype == "i8":
        entry["data"] = stored.ravel().tolist()
    else:
        entry["data"] = shortest(stored.astype(np.float32))
    return entry


def stored_float(array: F32, quantize: str | None, where: str) -> npt.NDArray[Any]:
    """`array` as float32, or as float16 if it is a kernel and `quantize` says so.

    For the formats that have no integers with a scale for each channel.
    """
    if quantize not in (None, "float16"):
        raise ValueError(f"quantize must be None or 'float16' here, got {short(quantize)}")
    return _as_float(array, DTYPES[dtype_for(array.shape, quantize)], where)


def _as_float(array: F32, dtype: np.dtype[Any], where: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if not np.isfinite(stored).all():
        largest = float(np.abs(array).max())
        raise ValueError(f"{where} holds {largest:g}, too large for float16 (65504)")
    return stored


def channel_scales(array: F32) -> F32:
    """Scale (channels,) of the last axis that maps every channel into -127..127.

    Rounded up to four significant digits, which keeps the file short.
    """
    largest = np.abs(array.reshape(-1, array.shape[-1]).astype(np.float64)).max(axis=0)
    exact = np.maximum(largest / 127, 1e-37)  # a channel of zeros still needs a positive scale
    unit = 10.0 ** (np.floor(np.log10(exact)) - 3)
    scale: F32 = (np.ceil(exact / unit * (1 - 1e-12)) * unit).astype(np.float32)
    return scale


def decode_tensor(entry: dict[str, Any], shape: tuple[int, ...], where: str) -> F32:
    """Read the JSON object of a tensor that must have `shape`; the result is float32.

    Nothing is allocated before the lengths are known to agree. `entry` has passed the schema.
    """
    if tuple(entry["shape"]) != shape:
        raise FormatError(f"{where}: wanted shape {list(shape)}, got {short(entry['shape'])}")
    count, dtype = math.prod(shape), DTYPES[entry["dtype"]]
    if entry["encoding"] == "base64":
        stored = _from_base64(entry["data"], dtype, count, where)
    else:
        stored = _from_decimal(entry["data"], dtype, count, where)
    values: F32 = stored.astype(np.float32).reshape(shape)
    if entry["dtype"] != "i8":
        if "scale" in entry or "axis" in entry:
            raise FormatError(f"{where}: scale and axis belong to dtype i8, not {entry['dtype']}")
        return check_finite(values.ravel(), where).reshape(shape)
    return _scaled(values, entry, where)


def _from_base64(data: str, dtype: np.dtype[Any], count: int, where: str) -> npt.NDArray[Any]:
    wanted = count * dtype.itemsize
    if len(data) != (wanted + 2) // 3 * 4:
        raise FormatError(
            f"{where}: wanted {wanted} bytes ({(wanted + 2) // 3 * 4} characters of base64), "
            f"got {len(data)} characters"
        )
    try:
        raw = binascii.a2b_base64(data.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        reason = "not ASCII" if isinstance(error, UnicodeEncodeError) else error
        raise FormatError(f"{where}: bad base64: {reason}") from None
    if len(raw) != wanted:
        raise FormatError(f"{where}: wanted {wanted} bytes, got {len(raw)}")
    return np.frombuffer(raw, dtype)


def _from_decimal(
    data: list[Any], dtype: np.dtype[Any], count: int, where: str
) -> npt.NDArray[Any]:
    values = to_floats(data, where, count)
    whole = (np.rint(values) == values) & (values >= -128) & (values <= 127)
    if dtype.kind == "i" and not whole.all():
        raise FormatError(f"{where}: wanted integers from -128 to 127")
    if dtype.kind == "f" and dtype.itemsize == 2:
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    return values


def _scaled(values: F32, entry: dict[str, Any], where: str) -> F32:
    if values.ndim == 0 or entry.get("axis") != values.ndim - 1:
        got = short(entry.get("axis"))
        raise FormatError(f"{where}: axis must be the last, {values.ndim - 1}; got {got}")
    if "scale" not in entry:
        raise FormatError(f"{where}: dtype i8 needs a scale")
    scale = to_floats(entry["scale"], f"{where}.scale", values.shape[-1])
    if not (scale > 0).all():
        raise FormatError(f"{where}.scale: wanted positive numbers")
    with np.errstate(over="ignore"):
        values *= scale
    return check_finite(values.ravel(), where).reshape(values.shape)
