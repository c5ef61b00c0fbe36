"""Shapes, parameters and multiply-adds of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mnistc.layers import Layer, Shape, layer_name


@dataclass(frozen=True)
class LayerSummary:
    """Name, type, output shape, trained parameters and multiply-adds of one layer."""

    name: str
    type: str
    output_shape: Shape
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """What `Sequential.summary` tells; as a string it is a table."""

    layers: tuple[LayerSummary, ...]
    parameters: int
    multiply_adds: int

    def __repr__(self) -> str:
        return f"Summary(parameters={self.parameters}, multiply_adds={self.multiply_adds})"

    def __str__(self) -> str:
        rows = [("layer", "type", "output", "parameters", "multiply-adds")]
        for layer in self.layers:
            shape = " x ".join(str(size) for size in layer.output_shape if size > 1) or "1"
            numbers = (f"{layer.parameters:,}", f"{layer.multiply_adds:,}")
            rows.append((layer.name, layer.type, shape, *numbers))
        rows.append(("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = []
        for row in rows:
            cells = [
                text.ljust(width) if column < 3 else text.rjust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        rule = "-" * (sum(widths) + 2 * 4)
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summarize(layers: Iterable[Layer], input_shape: Shape) -> Summary:
    """Summary of named `layers`."""
    rows, shape = [], input_shape
    for layer in layers:
        count = sum(int(np.prod(sizes)) for sizes in layer.weight_shapes(shape).values())
        work = layer.multiply_adds(shape)
        shape = layer.output_shape(shape)
        rows.append(LayerSummary(layer_name(layer), type(layer).__name__, shape, count, work))
    return Summary(
        tuple(rows), sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    )
