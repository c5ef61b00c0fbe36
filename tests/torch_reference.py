"""The same network in PyTorch, float64: the second opinion on every gradient."""

import torch
import torch.nn.functional as F

ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: torch.softmax(z, 1),
}


def split(flat, shapes):
    """Cut a flat vector into arrays of the given shapes."""
    arrays, at = [], 0
    for shape in shapes:
        n = 1
        for s in shape:
            n *= s
        arrays.append(flat[at : at + n].reshape(shape))
        at += n
    return arrays


def forward(layers, input_shape, flat, x, raw):
    """Outputs (n, ...) in channels-last order; training statistics; no dropout."""
    shape = input_shape
    at = 0
    x = x.reshape(-1, *input_shape).permute(0, 3, 1, 2)
    for i, layer in enumerate(layers):
        shapes = list(layer.weight_shapes(shape).values())
        size = sum(torch.Size(s).numel() for s in shapes)
        arrays = split(flat[at : at + size], shapes)
        at += size
        activation = ACTIVATIONS[
            "linear" if raw and i == len(layers) - 1 else layer.activation_name
        ]
        if layer.type == "dense":
            x = x.permute(0, 2, 3, 1).reshape(len(x), -1) @ arrays[0] + arrays[1]
            x = activation(x)[:, :, None, None]
        elif layer.type in {"conv2d", "depthwise_conv2d"}:
            kh, kw = layer.kernel
            if layer.type == "conv2d":
                weight, groups = arrays[0].permute(3, 2, 0, 1), layer.groups
            else:
                weight, groups = arrays[0].permute(2, 0, 1)[:, None], shape[2]
            padding = (kh // 2, kw // 2) if layer.padding == "same" else 0
            x = activation(F.conv2d(x, weight, arrays[1], padding=padding, groups=groups))
        elif layer.type == "max_pool2d":
            x = F.max_pool2d(x, layer.pool_size, layer.strides)
        elif layer.type == "global_average_pool2d":
            x = x.mean((2, 3), keepdim=True)
        elif layer.type == "batch_norm":
            x = activation(F.batch_norm(x, None, None, *arrays, training=True, eps=layer.epsilon))
        elif layer.type == "flatten":
            x = x.permute(0, 2, 3, 1).reshape(len(x), -1)[:, :, None, None]
        elif layer.type == "activation":
            x = activation(x)
        shape = layer.output_shape(shape)
    return x.permute(0, 2, 3, 1).reshape(len(x), -1)


def loss_rows(name, logits, layers, targets):
    if name == "softmax_cross_entropy":
        return -(targets * torch.log_softmax(logits, 1)).sum(1)
    if name == "sigmoid_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    return ((ACTIVATIONS[layers[-1].activation_name](logits) - targets) ** 2).mean(1)


def gradient(layers, input_shape, parameters, x, targets, loss, weights=None):
    """Mean (weighted) loss and its gradient as float64 NumPy arrays."""
    flat = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
    logits = forward(layers, input_shape, flat, torch.tensor(x, dtype=torch.float64), raw=True)
    rows = loss_rows(loss, logits, layers, torch.tensor(targets, dtype=torch.float64))
    if weights is not None:
        rows = rows * torch.tensor(weights, dtype=torch.float64)
    mean = rows.mean()
    mean.backward()
    return float(mean.detach()), flat.grad.numpy()
