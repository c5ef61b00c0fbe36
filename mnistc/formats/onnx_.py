"""Export to ONNX, opset 17.

The graph takes ``image`` (n, height, width, channels) float32, as this package does, and gives
``probabilities`` (n, classes), the last activation included. ONNX convolves channels first, so
images are transposed where the first such layer wants it, and back before they are flattened.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistc.errors import MissingExtraError
from mnistc.formats.files import PathLike, write_atomic
from mnistc.formats.model_file import ModelFile
from mnistc.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    layer_name,
)

OPSET = 17
IR_VERSION = 8
CHANNELS_FIRST = (Conv2D, DepthwiseConv2D, MaxPool2D, GlobalAveragePool2D, BatchNorm)
ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax"}


def write_onnx(path: PathLike, model: ModelFile) -> None:
    """Write `model` as ONNX.

    Raises
    ------
    MissingExtraError
        If the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "onnx") from None
    from mnistc import __version__

    graph = _Graph(model.folded())
    metadata = {
        "labels": json.dumps(model.labels),
        "preprocessing": json.dumps(model.preprocessing),
    }
    proto = onnx.helper.make_model(
        graph.build(),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mnistc",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(path, proto.SerializeToString())


class _Graph:
    """Nodes and initialisers, added layer by layer.

    `layout` is what `value`, the last output, looks like: "nhwc", "nchw" or "flat" (n, k).
    """

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.value = "image"
        self.layout = "nhwc"

    def build(self) -> Any:
        from onnx import TensorProto, helper

        for layer in self.model.layers:
            self._add_layer(layer)
        self._to("flat", "/output")
        self._add("Identity", "probabilities")
        shape: list[str | int | None] = ["n", *self.model.input_shape]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        sizes: list[str | int | None] = ["n", len(self.model.labels)]
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, sizes)
        name = self.model.name or "model"
        return helper.make_graph(self.nodes, name, [image], [output], self.initializers)

    def _add(self, kind: str, output: str, *constants: str, **attributes: Any) -> None:
        from onnx import helper

        inputs = [self.value, *constants]
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        self.value = output

    def _constant(self, name: str, array: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _to(self, layout: str, name: str) -> None:
        """Bring `value` into `layout`."""
        if layout == self.layout:
            return
        if self.layout == "flat":
            sides = self._constant(f"{name}/sides", np.array([0, -1, 1, 1], np.int64))
            self._add("Reshape", f"{name}/nchw", sides)
        elif layout == "nchw":
            self._add("Transpose", f"{name}/nchw", perm=[0, 3, 1, 2])
        elif self.layout == "nchw":
            self._add("Transpose", f"{name}/nhwc", perm=[0, 2, 3, 1])
        if layout == "flat":
            self._add("Flatten", f"{name}/flat", axis=1)
        self.layout = layout

    def _add_layer(self, layer: Layer) -> None:
        name = layer_name(layer)
        if isinstance(layer, (Dense, Flatten)):
            self._to("flat", name)
        elif isinstance(layer, BatchNorm) and self.layout == "flat":
            pass  # works on the last axis as it is
        elif isinstance(layer, CHANNELS_FIRST):
            self._to("nchw", name)
        if isinstance(layer, Dense):
            weight, bias = self._arrays(name, "weight", "bias")
            self._add(
                "Gemm",
                f"{name}/linear",
                self._constant(f"{name}.weight", weight),
                self._constant(f"{name}.bias", bias),
            )
        elif isinstance(layer, (Conv2D, DepthwiseConv2D)):
            self._add_convolution(layer)
        elif isinstance(layer, MaxPool2D):
            side, stride = layer.pool_size, layer.strides or layer.pool_size
            self._add(
                "MaxPool", f"{name}/pool", kernel_shape=[side, side], strides=[stride, stride]
            )
        elif isinstance(layer, GlobalAveragePool2D):
            self._add("GlobalAveragePool", f"{name}/pool")
        elif isinstance(layer, BatchNorm):
            self._add_batch_norm(layer)
        self._add_activation(layer)

    def _arrays(self, name: str, *roles: str) -> list[npt.NDArray[np.float32]]:
        return [self.model.weights[f"{name}.{role}"] for role in roles]

    def _add_convolution(self, layer: Conv2D | DepthwiseConv2D) -> None:
        name = layer_name(layer)
        weight, bias = self._arrays(name, "weight", "bias")
        if isinstance(layer, Conv2D):
            weight, group = weight.transpose(3, 2, 0, 1), layer.groups
        else:
            weight, group = weight.transpose(2, 0, 1)[:, None], weight.shape[2]
        height, width = layer.kernel
        pads = [height // 2, width // 2] * 2 if layer.padding == "same" else [0] * 4
        self._add(
            "Conv",
            f"{name}/linear",
            self._constant(f"{name}.weight", weight),
            self._constant(f"{name}.bias", bias),
            kernel_shape=[height, width],
            pads=pads,
            group=group,
        )

    def _add_batch_norm(self, layer: BatchNorm) -> None:
        name = layer_name(layer)
        roles = ("gamma", "beta", "running_mean", "running_var")
        arrays = zip(roles, self._arrays(name, *roles), strict=True)
        constants = [self._constant(f"{name}.{role}", array) for role, array in arrays]
        self._add("BatchNormalization", f"{name}/linear", *constants, epsilon=layer.epsilon)

    def _add_activation(self, layer: Layer) -> None:
        kind = layer.activation_name
        if kind == "linear":
            return
        attributes = {}
        if kind == "softmax":  # over the channels
            attributes["axis"] = 1 if self.layout == "nchw" else -1
        self._add(ACTIVATIONS[kind], f"{layer_name(layer)}/{kind}", **attributes)
