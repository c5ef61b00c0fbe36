"""Pictures of digits, such as photographs and uploads, to the images that the networks read.

The way is MNIST's own: find paper and ink, crop to the ink, average it into a box of 20 x 20
pixels, and bring its centre of mass to (14, 14). Hairlines are thickened on the way, since a
line of a photograph may be a hundredth of a digit wide.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnistc.errors import FormatError

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float32]

MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 1 << 27
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")

_SIZE, _BOX, _CENTRE = 28, 20, 14
_LONGEST = 2000  # longer side of the picture that is worked on
_COARSE = 128  # longer side of the picture in which paper, ink and specks are told apart
_FINE = 160  # longer side of the ink while strokes are measured and thickened
_MIN_CONTRAST = 0.06  # of the range from black to white; below, the picture is blank
_MIN_STROKE, _STROKE = 1.6, 2.2  # pixels of the result: thinner strokes are thickened

__all__ = ["FORMATS", "MAX_PIXELS", "from_bitmap", "load_image"]


def load_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture file as greys.

    Orientation marks are followed, 16-bit greys scaled, and transparent parts laid on white, or
    on black where what is visible is bright. Of several frames the first is read.

    Parameters
    ----------
    path : path
        PNG, JPEG, GIF, BMP, WebP, TIFF or PPM.
    max_pixels : int

    Returns
    -------
    ndarray of shape (height, width), uint8

    Raises
    ------
    FileNotFoundError
    FormatError
        If it is no such picture, damaged, or too large.
    """
    import warnings

    from PIL import Image

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.is_file():
        raise FormatError(f"{path}: wanted a picture file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise FormatError(f"{path}: oversized, wanted at most {MAX_FILE_BYTES:,} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise FormatError(
                        f"{path}: {width} x {height} pixels, wanted at most {max_pixels:,}"
                    )
                return _greys(picture)
    except FormatError:
        raise
    except MemoryError:
        raise FormatError(f"{path}: too large for this machine's memory") from None
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        reason = str(error).replace(str(path), "it").split("\n")[0][:100]
        raise FormatError(f"{path}: no readable picture ({reason})") from None


def _greys(picture: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture) or picture
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, np.float64))
        low, high = float(values.min()), float(values.max())
        if picture.mode != "F":
            low, high = 0.0, 65535.0 if 255 < high <= 65535 else max(high, 255.0)
        scaled = (values - low) * (255 / max(high - low, 1e-30))
        return np.clip(scaled, 0, 255).astype(np.uint8)
    if picture.has_transparency_data:
        layered = picture.convert("LA")
        grey, alpha = (np.asarray(band, np.float32) for band in layered.split())
        visible = alpha.sum()
        bright = visible > 0 and (grey * alpha).sum() > 127.5 * visible
        paper = 0.0 if bright and alpha.min() < 255 else 255.0
        return np.rint(paper + (grey - paper) * (alpha / 255)).astype(np.uint8)
    if picture.mode not in ("L", "1"):
        picture = picture.convert("RGB")
    return np.asarray(picture.convert("L", dither=Image.Dither.NONE))


def from_bitmap(gray: ArrayLike) -> Floats:
    """Bring a picture of one digit into MNIST's form.

    Paper is what the edge of the picture shows, ink what differs from it most: black on white
    and white on black are both read. Uneven light and specks are taken out.

    Parameters
    ----------
    gray : array_like of shape (height, width)
        Greys, uint8 or float from 0 to 1, of any size up to 64 megapixels.

    Returns
    -------
    ndarray of shape (28, 28), float32
        Ink 1, paper 0; all 0 where no ink is found.

    Raises
    ------
    ValueError
        If the shape, type or range is another, or the picture is too large.
    """
    ink = _find_ink(_check(gray))
    ink = _remove_specks(ink)
    box = _bounding_box(ink > 0.3)
    if box is None:
        return np.zeros((_SIZE, _SIZE), np.float32)
    ink = ink[box]
    if max(ink.shape) > 3 * _BOX:  # edges are thin: sharpen them, and lose the paper's grain
        ink = np.clip((ink - 0.2) / 0.6, 0, 1)
    return _centre(_thicken(ink))


def _check(gray: ArrayLike) -> Floats:
    array = np.asarray(gray)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"gray: got shape {array.shape}, wanted (height, width)")
    if array.size > MAX_PIXELS:
        raise ValueError(f"gray: got {array.size:,} pixels, wanted at most {MAX_PIXELS:,}")
    white = 255 if array.dtype == np.uint8 else 1
    if array.dtype != np.uint8 and array.dtype != np.bool_ and array.dtype.kind != "f":
        raise ValueError(f"gray: got {array.dtype}, wanted uint8 or float from 0 to 1")
    if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError("gray: floats must be finite and from 0 to 1; pass 0 to 255 as uint8")
    return _shrink(array, _LONGEST) / np.float32(white)


def _shrink(image: NDArray[Any], longest: int, pool: np.ufunc = np.add) -> Floats:
    """Average blocks (or take their maxima) so that the longer side is at most `longest`."""
    block = -(-max(image.shape) // longest)
    if block == 1:
        return np.asarray(image, np.float32)
    starts = [np.arange(0, n, block) for n in image.shape]
    pooled = pool.reduceat(image, starts[0], 0, dtype=np.float32)
    pooled = pool.reduceat(pooled, starts[1], 1)
    if pool is np.add:  # the last block of a row or column may be smaller
        counts = [np.minimum(n - s, block) for n, s in zip(image.shape, starts, strict=True)]
        pooled /= np.outer(*counts).astype(np.float32)
    return np.asarray(pooled, np.float32)


def _find_ink(gray: Floats) -> Floats:
    """Difference from the paper, 0 to about 1; the paper's brightness may slope."""
    coarse = _shrink(gray, _COARSE)
    slope = _paper(coarse)
    paper = [np.linspace(-1, 1, n, dtype=np.float32) for n in coarse.shape]
    difference = coarse - (slope[0] + slope[1] * paper[0][:, None] + slope[2] * paper[1])
    sign = -1 if -difference.min() >= difference.max() else 1
    contrast = float((sign * difference).max())
    if contrast < _MIN_CONTRAST:
        return np.zeros((1, 1), np.float32)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in gray.shape)
    ink = (gray - (slope[0] + slope[1] * y[:, None] + slope[2] * x)) * (sign / contrast)
    return np.asarray(np.clip(ink, 0, 1), np.float32)


def _paper(coarse: Floats) -> Floats:
    """A plane a + b y + c x through the greys of the picture's edge, ink left out."""
    rows, columns = coarse.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    depth = max(1, min(rows, columns) // 20)
    edge = np.ones(coarse.shape, bool)
    if rows > 2 * depth and columns > 2 * depth:
        edge[depth:-depth, depth:-depth] = False
    values, terms = coarse[edge], np.stack([np.ones(edge.sum()), y[edge], x[edge]], 1)
    middle = float(np.median(values))
    plane = np.array([middle, 0, 0])
    for _ in range(3):
        error = np.abs(values - terms @ plane)
        inside = error <= max(0.1, 2 * float(np.median(error)))
        if inside.sum() < max(8, 0.5 * len(values)):
            return np.array([middle, 0, 0], np.float32)
        plane = np.linalg.lstsq(terms[inside], values[inside], rcond=None)[0]
    return plane.astype(np.float32)


def _remove_specks(ink: Floats) -> Floats:
    """Clear what belongs to no blob of a thirtieth of the ink or more."""
    coarse = _shrink(ink, _COARSE)
    mask = coarse > 0.15
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # a blob takes the largest number in it
        grown = np.pad(labels, 1)
        for axis in (0, 1):
            grown = np.maximum(np.maximum(grown, np.roll(grown, 1, axis)), np.roll(grown, -1, axis))
        grown = np.where(mask, grown[1:-1, 1:-1], 0)
        if np.array_equal(grown, labels):
            break
        labels = grown
    weight = np.bincount(labels.ravel(), coarse.ravel(), minlength=mask.size + 1)
    weight[0] = 0
    speck = mask & (weight[labels] < weight.sum() / 30)
    if not speck.any():
        return ink
    block = -(-max(ink.shape) // _COARSE)
    rows, columns = (np.arange(n) // block for n in ink.shape)
    cleared: Floats = np.where(speck[np.ix_(rows, columns)], np.float32(0), ink)
    return cleared


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _thicken(ink: Floats) -> Floats:
    """Widen strokes that would come out thinner than a pen's."""
    width = _stroke_width(ink)
    if width * _BOX >= _MIN_STROKE * max(ink.shape):
        return _shrink(ink, _FINE)
    block = -(-max(ink.shape) // _FINE)
    ink = _shrink(ink, _FINE, np.maximum)  # an average would thin out a hairline
    width = width / block + (1 if block > 1 else 0)
    radius = max(_STROKE * max(ink.shape) / _BOX - width, 0) / 2
    reach = int(np.ceil(radius))
    padded = np.pad(ink / ink.max(), 2 * reach)
    thick = np.zeros_like(padded)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            cover = min(max(radius + 0.5 - float(np.hypot(dy, dx)), 0), 1)
            if cover > 0:
                np.maximum(thick, cover * np.roll(padded, (dy, dx), (0, 1)), out=thick)
    box = _bounding_box(thick > 0.3)
    return thick if box is None else thick[box]


def _stroke_width(ink: Floats) -> float:
    """Mean width of strokes: an area of length x width has an edge of twice the length."""
    padded = np.pad(ink, 1)
    edges = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    return 2 * float(ink.sum()) / (float(edges) * np.pi / 4)  # they run in all directions


def _centre(ink: Floats) -> Floats:
    """Average into 20 x 20, the centre of mass at (14, 14)."""
    scale = _BOX / max(ink.shape)
    image = _average(ink, scale, (0.0, 0.0))
    index = np.arange(_SIZE)
    mass = float(image.sum())
    shift = tuple(_CENTRE - float(image.sum(1 - axis) @ index) / mass for axis in (0, 1))
    return np.clip(_average(ink, scale, (shift[0], shift[1])), 0, 1).astype(np.float32)


def _average(ink: Floats, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    rows, columns = (_overlaps(n, scale, s) for n, s in zip(ink.shape, shift, strict=True))
    average: NDArray[np.float64] = rows @ ink @ columns.T
    return average


def _overlaps(n: int, scale: float, shift: float) -> NDArray[np.float64]:
    """How much of each of n source pixels lies in each pixel of the result: (28, n)."""
    edges = (np.arange(n + 1) - n / 2) * scale + _CENTRE + shift
    low, high = np.arange(_SIZE)[:, None] - 0.5, np.arange(_SIZE)[:, None] + 0.5
    overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.asarray(np.maximum(overlap, 0))
