"""Training in float64 NumPy, every gradient derived by hand: the oracle of the C core.

Nothing here comes from the package but the layers' descriptions. Images are (n, h, w, c).
A network is run as a chain of `Step`s: each gives an output and a function that turns the gradient
of the output into those of the input and of the step's own parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Back = Callable[[Array], tuple[Array, list[Array]]]


@dataclass
class Forward:
    """What a forward pass leaves behind.

    `margin` is how far the nearest value is from a kink (of relu or max), where float32 and
    float64 may take different sides and the gradient jumps.
    """

    logits: Array
    backs: list[Back]
    norms: list[tuple[Array, Array]] = field(default_factory=list)
    margin: float = np.inf


class Rounding:
    """Operands of products in bf16: 8 significant bits, to nearest, ties to even.

    `margin` is how far the nearest operand is from a tie, relative to the largest of its array;
    only those count that would move by more than the bound of the tests. Where there are `tiles`,
    images of whole ones take no part in Winograd's products.
    """

    def __init__(self, tiles: bool = False) -> None:
        self.margin = np.inf
        self.tiles = tiles

    def winograd(self, shape: tuple[int, ...]) -> bool:
        """Whether a pooled convolution with weights of this shape has such products."""
        whole = self.tiles and shape[2] % 32 == 0
        return shape[:2] == (3, 3) and min(shape[2:]) >= 16 and not whole

    def __call__(self, values: Array, exact: bool = False) -> Array:
        """Rounded values; `exact` ones are the same in float32 and float64."""
        fractions, exponents = np.frexp(values)
        steps = fractions * 256
        if not exact and values.size:
            step, most = np.ldexp(1 / 256, exponents), np.abs(values).max()
            ties = np.abs(np.abs(steps - np.floor(steps)) - 0.5) * step
            ties = ties[step > 3e-6 * most]
            self.margin = min(self.margin, ties.min() / most if ties.size else np.inf)
        return np.ldexp(np.round(steps), exponents - 8)


def sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * z))


def softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def activate(name: str, z: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Activated values, and the way back."""
    if name == "relu":
        return np.maximum(z, 0), lambda dy: dy * (z > 0)
    if name == "sigmoid":
        s = sigmoid(z)
        return s, lambda dy: dy * s * (1 - s)
    if name == "tanh":
        t = np.tanh(z)
        return t, lambda dy: dy * (1 - t * t)
    if name == "softmax":
        y = softmax(z)
        return y, lambda dy: y * (dy - (dy * y).sum(-1, keepdims=True))
    return z, lambda dy: dy


def dense(
    x: Array, weight: Array, bias: Array, low: Rounding | None = None, first: bool = False
) -> tuple[Array, Back]:
    """`low` rounds the operands of the product and of the input gradient, not of the other."""
    flat = x.reshape(len(x), -1)
    used = low(weight, exact=True) if low else weight

    def back(dy: Array) -> tuple[Array, list[Array]]:
        g = dy.reshape(len(x), -1)
        rounded = low(g) if low and not first else g
        return (rounded @ used.T).reshape(x.shape), [flat.T @ g, g.sum(0)]

    seen = low(flat, exact=first) if low else flat
    return (seen @ used + bias)[:, None, None, :], back


def winograd(padded: Array, weight: Array, low: Rounding, first: bool) -> Array:
    """F(2x2, 3x3) on whole windows, with the operands of its products rounded; the weights are
    such that their transform is exact."""
    b = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    g = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2
    a = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    n, height, width, _ = padded.shape
    out = np.zeros((n, height - 2, width - 2, weight.shape[-1]))
    used = low(np.einsum("iy,jx,yxco->ijco", g, g, weight), exact=True)
    for y in range(0, height - 3, 2):
        for x in range(0, width - 3, 2):
            patch = padded[:, y : y + 4, x : x + 4]
            seen = low(np.einsum("iy,jx,nyxc->nijc", b, b, patch), exact=first)
            products = np.einsum("nijc,ijco->nijo", seen, used)
            out[:, y : y + 2, x : x + 2] = np.einsum("yi,xj,nijo->nyxo", a, a, products)
    return out


def convolution(
    x: Array,
    weight: Array,
    bias: Array,
    same: bool,
    depthwise: bool,
    low: Rounding | None = None,
    first: bool = False,
    pooled: bool = False,
) -> tuple[Array, Back]:
    """`low` rounds the operands of all products, but in a first layer with a pooling behind it
    (`pooled`) not those of the way back. In groups nothing is rounded."""
    if not depthwise and x.shape[3] > weight.shape[2]:
        return grouped(x, weight, bias, same)
    kh, kw = weight.shape[:2]
    top, left = (kh // 2, kw // 2) if same else (0, 0)
    padded = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))
    rows, columns = padded.shape[1] - kh + 1, padded.shape[2] - kw + 1
    spots = [(i, j) for i in range(kh) for j in range(kw)]

    def window(array: Array, i: int, j: int) -> Array:
        return array[:, i : i + rows, j : j + columns]

    def back(dy: Array) -> tuple[Array, list[Array]]:
        dweight, dpadded = np.zeros_like(weight), np.zeros_like(padded)
        rounded, turned, values = dy, weight, padded
        if low and not (first and pooled):
            rounded, turned, values = low(dy), used, seen
        for i, j in spots:
            if depthwise:
                dweight[i, j] = (window(padded, i, j) * dy).sum((0, 1, 2))
                window(dpadded, i, j)[...] += dy * weight[i, j]
            else:
                part = np.tensordot(window(values, i, j), rounded, ((0, 1, 2), (0, 1, 2)))
                dweight[i, j] = part
                window(dpadded, i, j)[...] += rounded @ turned[i, j].T
        dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
        return dx, [dweight, dy.sum((0, 1, 2))]

    seen, used = (low(padded, exact=first), low(weight, exact=True)) if low else (padded, weight)
    if low and pooled and low.winograd(weight.shape):
        return winograd(padded, weight, low, first) + bias, back
    total = bias
    for i, j in spots:
        part = window(seen, i, j)
        total = total + (part * used[i, j] if depthwise else part @ used[i, j])
    return np.asarray(total), back


def grouped(x: Array, weight: Array, bias: Array, same: bool) -> tuple[Array, Back]:
    """A convolution for each group of channels and filters."""
    n = x.shape[3] // weight.shape[2]
    cut = zip(np.split(x, n, 3), np.split(weight, n, 3), np.split(bias, n), strict=True)
    outputs, backs = zip(*(convolution(*group, same, False) for group in cut), strict=True)

    def back(dy: Array) -> tuple[Array, list[Array]]:
        pairs = zip(backs, np.split(dy, n, 3), strict=True)
        inputs, gradients = zip(*(one(part) for one, part in pairs), strict=True)
        dweights, dbiases = zip(*gradients, strict=True)
        return np.concatenate(inputs, 3), [np.concatenate(dweights, 3), np.concatenate(dbiases)]

    return np.concatenate(outputs, 3), back


def max_pool(x: Array, size: int, stride: int) -> tuple[Array, Back, float]:
    rows, columns = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    spots = [(i, j) for i in range(size) for j in range(size)]

    def window(array: Array, i: int, j: int) -> Array:
        return array[:, i : i + stride * rows : stride, j : j + stride * columns : stride]

    stack = np.stack([window(x, i, j) for i, j in spots])
    winner = stack.argmax(0)  # the first of equals

    def back(dy: Array) -> tuple[Array, list[Array]]:
        dx = np.zeros_like(x)
        for q, (i, j) in enumerate(spots):
            window(dx, i, j)[...] += dy * (winner == q)
        return dx, []

    behind = stack.max(0) - stack
    return stack.max(0), back, smallest(behind)


def batch_norm(
    x: Array, gamma: Array, beta: Array, epsilon: float
) -> tuple[Array, Back, tuple[Array, Array]]:
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    deviation = np.sqrt(variance + epsilon)
    hat = (x - mean) / deviation

    def back(dy: Array) -> tuple[Array, list[Array]]:
        dgamma, dbeta = (dy * hat).sum((0, 1, 2)), dy.sum((0, 1, 2))
        count = x[..., 0].size
        return gamma / deviation * (dy - dbeta / count - hat * dgamma / count), [dgamma, dbeta]

    return gamma * hat + beta, back, (mean, variance)


def smallest(values: Array) -> float:
    """Smallest magnitude that is not 0: an exact tie is one in float32, too."""
    sizes = np.abs(values[values != 0])
    return float(sizes.min()) if sizes.size else np.inf


def arrays_of(layers, input_shape, flat: Array) -> list[list[Array]]:
    """The trained arrays of each layer, as views of one flat vector."""
    arrays, at, shape = [], 0, input_shape
    for layer in layers:
        arrays.append([])
        for size in layer.weight_shapes(shape).values():
            count = int(np.prod(size))
            arrays[-1].append(flat[at : at + count].reshape(size))
            at += count
        shape = layer.output_shape(shape)
    assert at == len(flat)
    return arrays


def forward(layers, input_shape, parameters, x, masks=(), low=None) -> Forward:
    """Training pass up to the logits; `masks` are those of the dropouts, True where kept, and
    `low` a `Rounding` for products in bf16."""
    flat = np.asarray(parameters, np.float64)
    x = np.asarray(x, np.float64).reshape(-1, *input_shape)
    done = Forward(x, [])
    masks = iter(masks)
    for i, (layer, arrays) in enumerate(
        zip(layers, arrays_of(layers, input_shape, flat), strict=True)
    ):
        back: Back
        if layer.type == "dense":
            x, back = dense(x, *arrays, low, i == 0)
        elif layer.type in {"conv2d", "depthwise_conv2d"}:
            same, depthwise = layer.padding == "same", layer.type != "conv2d"
            pooled = i + 1 < len(layers) and layers[i + 1].type == "max_pool2d"
            rounding = None if depthwise else low
            x, back = convolution(x, *arrays, same, depthwise, rounding, i == 0, pooled)
        elif layer.type == "max_pool2d":
            x, back, margin = max_pool(x, layer.pool_size, layer.strides)
            done.margin = min(done.margin, margin)
        elif layer.type == "global_average_pool2d":
            x, back = x.mean((1, 2), keepdims=True), spread_evenly(x.shape)
        elif layer.type == "batch_norm":
            x, back, moments = batch_norm(x, *arrays, layer.epsilon)
            done.norms.append(moments)
        elif layer.type == "dropout":
            kept = next(masks).reshape(x.shape) / (1 - layer.rate)
            x, back = x * kept, lambda dy, kept=kept: (dy * kept, [])
        else:
            old = x.shape
            x = x.reshape(len(x), 1, 1, -1) if layer.type == "flatten" else x
            back = lambda dy, old=old: (dy.reshape(old), [])  # noqa: E731
        done.backs.append(back)
        if i + 1 < len(layers) and layer.activation_name != "linear":
            if layer.activation_name == "relu":
                done.margin = min(done.margin, smallest(x))
            x, slope = activate(layer.activation_name, x)
            done.backs.append(lambda dy, slope=slope: (slope(dy), []))
    done.logits = x.reshape(len(x), -1)
    return done


def spread_evenly(shape: tuple[int, ...]) -> Back:
    count = shape[1] * shape[2]
    return lambda dy: (np.broadcast_to(dy / count, shape), [])


def loss_and_slope(
    name: str, last: str, logits: Array, targets: Array, smoothing: float = 0.0
) -> tuple[Array, Array]:
    """Loss of each row, and its gradient by the logits (n, width)."""
    width = logits.shape[1]
    targets = np.asarray(targets, np.float64)
    targets = targets * (1 - smoothing) + smoothing / width
    if name == "softmax_cross_entropy":
        y = softmax(logits)
        return -(targets * np.log(y)).sum(1), y * targets.sum(1, keepdims=True) - targets
    if name == "sigmoid_cross_entropy":
        rows = (np.logaddexp(0, logits) - targets * logits).sum(1)
        return rows, sigmoid(logits) - targets
    y, slope = activate(last, logits)
    return ((y - targets) ** 2).mean(1), slope(2 * (y - targets) / width)


def gradient(
    layers,
    input_shape,
    parameters,
    x,
    targets,
    loss,
    *,
    weights=None,
    smoothing=0.0,
    masks=(),
    low=None,
) -> tuple[float, Array, Forward]:
    """Mean (weighted) loss, its gradient by the flat parameters, and the forward pass."""
    done = forward(layers, input_shape, parameters, x, masks, low)
    last = layers[-1].activation_name
    rows, slope = loss_and_slope(loss, last, done.logits, targets, smoothing)
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    dy = (slope * (weights / len(rows))[:, None])[:, None, None, :]
    if layers[-1].type == "conv2d":
        dy = dy.reshape(len(rows), *output_shape(layers, input_shape))
    parts: list[Array] = []
    for back in reversed(done.backs):
        dy, grads = back(dy)
        parts[:0] = [part.ravel() for part in grads]
    return float((rows * weights).mean()), np.concatenate(parts), done


def output_shape(layers, shape):
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def update(optimizer: str, state: dict[str, Any], w: Array, g: Array, rate: float, **options):
    """New weights by the textbook; `state` holds step and moments. `decays` marks the weights."""
    o = {"momentum": 0.0, "nesterov": False, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    o |= {"weight_decay": 0.0, "clip_norm": 0.0, **options}
    decays = options["decays"]
    norm = np.sqrt((g * g).sum())
    if o["clip_norm"] and norm > o["clip_norm"]:
        g = g * (o["clip_norm"] / norm)
    t = state["step"] = state.get("step", 0) + 1
    if optimizer == "adamw":
        w = w - rate * o["weight_decay"] * w * decays
    else:
        g = g + o["weight_decay"] * w * decays
    if optimizer == "sgd":
        v = state["m"] = o["momentum"] * state.get("m", 0.0) + g
        return w - rate * (g + o["momentum"] * v if o["nesterov"] else v)
    m = state["m"] = o["beta_1"] * state.get("m", 0.0) + (1 - o["beta_1"]) * g
    v = state["v"] = o["beta_2"] * state.get("v", 0.0) + (1 - o["beta_2"]) * g * g
    m, v = m / (1 - o["beta_1"] ** t), v / (1 - o["beta_2"] ** t)
    return w - rate * m / (np.sqrt(v) + o["epsilon"])
