"""The random distortions of csrc/augment.h once more, in NumPy and float64: the tests' oracle.

Same random numbers (Philox4x32-10), same formulas, none of the tricks: displacements by matrix
products, samples by indexing, pen width by SciPy-like shifts of the whole image.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

OPTIONS = (
    "rotation", "scale", "aspect", "shear", "shift", "elastic_alpha", "elastic_sigma",
    "thickness", "erase", "erase_size", "noise",
)  # fmt: skip

AUGMENT_DOMAIN = 3
FIELD_BLOCK = 1 << 28
NOISE_BLOCK = 2 << 28


def philox(seed: int, counters: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Philox4x32-10 of counters (n, 4) -> words (n, 4)."""
    c = [counters[:, i].astype(np.uint64) for i in range(4)]
    k = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p = np.uint64(0xD2511F53) * c[0]
        q = np.uint64(0xCD9E8D57) * c[2]
        c = [
            (q >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            q & low,
            (p >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            p & low,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=1)


def words(seed: int, epoch: int, index: int, block: int, n: int) -> npt.NDArray[np.uint64]:
    """The first n words of an image's blocks from `block`, block after block."""
    counters = np.zeros((-(-n // 4), 4), np.uint64)
    counters[:, 0] = block + np.arange(len(counters))
    counters[:, 1] = index & 0xFFFFFFFF
    counters[:, 2] = epoch
    counters[:, 3] = AUGMENT_DOMAIN | (index >> 32 << 8 & 0xFFFFFFFF)
    return philox(seed, counters).ravel()[:n]


def grouped_words(seed: int, epoch: int, index: int, block: int, n: int) -> npt.NDArray[np.uint64]:
    """The same in the order of 16 blocks side by side: all first words, all second words..."""
    groups = -(-n // 64)
    blocks = words(seed, epoch, index, block, groups * 64).reshape(groups, 16, 4)
    return blocks.transpose(0, 2, 1).ravel()[:n]


def draw(options: dict[str, float], shape: tuple[int, int], seed: int, epoch: int, index: int):
    """What is drawn for an image: forward map's parts, pen growth, erased rectangle or None."""
    o = {name: float(np.float32(options.get(name, 0.0))) for name in OPTIONS}
    h, w = shape
    raw = words(seed, epoch, index, 0, 12)
    unit = (raw >> np.uint64(8)).astype(float) / 2**24
    signed = 2 * unit - 1
    parts = {
        "angle": np.radians(signed[0] * o["rotation"]),
        "size": 1 + signed[1] * o["scale"],
        "aspect": 1 + signed[2] * o["aspect"],
        "slant": np.radians(signed[3] * o["shear"]),
        "shift": np.array([signed[4], signed[5]]) * o["shift"],
        "grow": signed[6] * o["thickness"] / 2,
        "erase": None,
    }
    if unit[7] < o["erase"] and o["erase_size"] > 0:
        height = min(h, int(unit[8] * o["erase_size"] * h + 1))
        width = min(w, int(unit[9] * o["erase_size"] * w + 1))
        top = int(raw[10]) * (h - height + 1) >> 32
        left = int(raw[11]) * (w - width + 1) >> 32
        parts["erase"] = (slice(top, top + height), slice(left, left + width))
    return parts


def forward_matrix(parts: dict[str, object]) -> Array:
    """Of (x, y), y down: scale, then slant to the right, then turn counter-clockwise."""
    size, aspect, angle = parts["size"], parts["aspect"], parts["angle"]
    scale = np.diag([size * aspect, size / aspect])
    slant = np.array([[1.0, -np.tan(parts["slant"])], [0.0, 1.0]])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return turn @ slant @ scale


def lattice(n: int, sigma: float) -> tuple[Array, float]:
    """Gaussian weights (n, K) of the lattice points for each pixel, and the lattice's step.

    The number of points is decided in float32, as in C, for it may jump with the last bit.
    """
    step = max(np.float32(1), np.float32(1.25) * np.float32(sigma))
    intervals = int(np.float32(n - 1) / step)
    size = intervals + int(np.float32(intervals) * step < n - 1) + 5
    x = (n - 1) / 2 + (np.arange(size) - (size - 1) / 2) * float(step)
    return np.exp(-((np.arange(n)[:, None] - x) ** 2) / (2 * sigma**2)), float(step)


def field(options: dict[str, float], shape: tuple[int, int], seed: int, epoch: int, index: int):
    """Displacements (2, h, w) in x and y."""
    alpha, sigma = options.get("elastic_alpha", 0.0), options.get("elastic_sigma", 0.0)
    if alpha == 0:
        return np.zeros((2, *shape))
    rows, step = lattice(shape[0], sigma)
    columns, _ = lattice(shape[1], sigma)
    count = rows.shape[1] * columns.shape[1]
    raw = grouped_words(seed, epoch, index, FIELD_BLOCK, count)
    raw = raw.reshape(rows.shape[1], columns.shape[1])
    halves = np.stack([raw & np.uint64(0xFFFF), raw >> np.uint64(16)]).astype(float)
    vectors = (halves - 32767.5) / 32768 * alpha * step / (2 * np.pi * sigma**2)
    return rows @ vectors @ columns.T


def bilinear(image: Array, x: Array, y: Array) -> Array:
    """Samples of an image (h, w) that is 0 outside."""
    h, w = image.shape
    padded = np.zeros((h + 3, w + 3))
    padded[1:-2, 1:-2] = image
    x, y = np.clip(x + 1, 0, w + 1), np.clip(y + 1, 0, h + 1)
    j, i = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - j, y - i
    upper = padded[i, j] * (1 - fx) + padded[i, j + 1] * fx
    lower = padded[i + 1, j] * (1 - fx) + padded[i + 1, j + 1] * fx
    return upper * (1 - fy) + lower * fy


def grow(image: Array, pixels: float) -> Array:
    """Pen edges moved outwards (inwards if negative) by that many pixels."""
    while pixels != 0:
        share = np.clip(pixels, -1, 1)
        h, w = image.shape
        padded = np.pad(image, 1)
        near = {(i, j): padded[i : i + h, j : j + w] for i in range(3) for j in range(3)}
        cross = [v for (i, j), v in near.items() if i == 1 or j == 1]
        most = (np.max(cross, axis=0) + np.max(list(near.values()), axis=0)) / 2
        least = (np.min(cross, axis=0) + np.min(list(near.values()), axis=0)) / 2
        soft = image + abs(share) * ((most if share > 0 else least) - image)
        depth = np.clip(most + image + least - 1 + share, 0, 1)
        sharp = min(3 * abs(share), 1)
        moved = (1 - sharp) * soft + sharp * depth
        image = np.maximum(moved, image if share > 0 else 0.6 * soft)
        pixels -= share
    return image


def augment(
    image: npt.NDArray[np.generic],
    options: dict[str, float],
    seed: int = 0,
    epoch: int = 0,
    index: int = 0,
) -> Array:
    """One image (h, w) or (h, w, channels), uint8 or float 0..1 -> the same shape, 0..1."""
    values = image / 255.0 if image.dtype == np.uint8 else image.astype(float)
    channels = values[..., None] if values.ndim == 2 else values
    h, w, _ = channels.shape
    parts = draw(options, (h, w), seed, epoch, index)

    y, x = np.mgrid[:h, :w].astype(float)
    centre = np.array([(w - 1) / 2, (h - 1) / 2])
    inverse = np.linalg.inv(forward_matrix(parts))
    place = np.stack([x, y], axis=-1) - centre - parts["shift"]
    place = place @ inverse.T + centre
    dx, dy = field(options, (h, w), seed, epoch, index)

    out = np.empty_like(channels)
    for c in range(channels.shape[2]):
        sampled = bilinear(channels[..., c], place[..., 0] + dx, place[..., 1] + dy)
        out[..., c] = grow(sampled, parts["grow"])
    if parts["erase"] is not None:
        out[parts["erase"]] = 0
    if options.get("noise", 0) != 0:
        raw = grouped_words(seed, epoch, index, NOISE_BLOCK, out.size)
        total = sum((raw >> np.uint64(s)).astype(int) & 255 for s in (0, 8, 16, 24)) - 510
        deviation = np.sqrt((256**2 - 1) / 3)
        out = np.clip(out + options["noise"] * total.reshape(out.shape) / deviation, 0, 1)
    return out.reshape(values.shape)
