"""ONNX Runtime: inference on a graph in its own preferred layout (channels first)."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from works import NETWORKS, Data, Work, mnistc_layers

import mnistc


def build(network: str, weights: dict[str, np.ndarray]) -> bytes:
    """An ONNX model with mnistc's weights; images (n, 1, 28, 28)."""
    nodes, constants, current = [], [], "images"
    given = iter(weights.items())
    side, channels = 28, 1

    def add(operator: str, *inputs: str, **attributes: object) -> None:
        nonlocal current
        output = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, [current, *inputs], [output], **attributes))
        current = output

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    for kind, *arguments in NETWORKS[network]:
        if kind in ("conv", "dense"):
            (name, weight), (bias_name, bias) = next(given), next(given)
            bias_name = constant(bias_name, bias)
        if kind == "conv":
            add("Conv", constant(name, weight.transpose(3, 2, 0, 1)), bias_name)
            side, channels = side - arguments[1] + 1, arguments[0]
        elif kind == "dense":
            if len(weight) == side * side * channels and channels > 1:
                weight = weight.reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
                weight = weight.reshape(side * side * channels, -1)
            add("Gemm", constant(name, weight), bias_name)
            channels = 1
        elif kind == "pool":
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            side //= 2
        elif kind == "flatten":
            add("Flatten")
        if kind in ("conv", "dense"):
            add({"relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax"}[arguments[-1]])
    nodes[-1].output[0] = "probabilities"
    graph = helper.make_graph(
        nodes,
        network,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


class Runner:
    def __init__(self, work: Work, data: Data, threads: int, options: dict) -> None:
        net = mnistc.Sequential(mnistc_layers(work.network), (28, 28, 1), seed=0)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            build(work.network, dict(net.weights)), settings, providers=["CPUExecutionProvider"]
        )
        self.work, self.chunk = work, options.get("chunk", 1000)
        self.x = data.float_images(work.images)[:, None]
        ours, theirs = net.predict(self.x[:50, 0]), self._predict(self.x[:50])
        if not np.allclose(ours, theirs, atol=1e-5):
            raise AssertionError("ONNX Runtime and mnistc give different probabilities")

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"images": x})[0]

    def latency(self) -> None:
        image, run = self.x[:1].copy(), self.session.run
        for _ in range(self.work.images):
            run(None, {"images": image})

    def throughput(self) -> None:
        for start in range(0, self.work.images, self.chunk):
            self._predict(self.x[start : start + self.chunk])

    def accuracy(self) -> None:
        return None

    def detail(self) -> dict:
        return {"providers": self.session.get_providers()}
