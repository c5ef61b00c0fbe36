"""Our weights in the real PyTorch and the real Keras give our outputs."""

import json
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from mnist_files import mnist_test, needs_data, original
from sample_models import images, random_model

from mnistc import reference
from mnistc.formats import load_any, write_model
from mnistc.formats.interop import to_keras_weights, to_torch_state_dict
from mnistc.layers import (
    Activation,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
)

NETWORKS = {
    "convolutions": (
        [
            Conv2D(4, 3, "valid"),
            BatchNorm(activation="relu"),
            MaxPool2D(3, 2),
            DepthwiseConv2D((3, 5), "same", "tanh"),
            Conv2D(5, 1, activation="sigmoid"),
            Flatten(),
            BatchNorm(activation="tanh"),
            Dropout(0.5),
            Dense(6, "relu"),
            BatchNorm(),
            Dense(10, "softmax"),
        ],
        (12, 10, 2),
    ),
    "pooled": ([Conv2D(6, 5, "same", "relu"), GlobalAveragePool2D(), Dense(4)], (9, 11, 1)),
    "dense": ([Flatten(), Dense(8, "sigmoid"), Activation("tanh"), Dense(3)], (4, 5, 3)),
}


def torch_module(model):
    """The same network in PyTorch, channels first, by the names of our layers."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    activations = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    modules, shape = OrderedDict(), model.input_shape
    for layer in model.layers:
        channels, outputs = shape[2], layer.output_shape(shape)[2]
        if isinstance(layer, Dense):
            if shape[:2] != (1, 1):
                modules[f"{layer.name}_flatten"] = nn.Flatten()
            modules[layer.name] = nn.Linear(int(np.prod(shape)), outputs)
        elif isinstance(layer, (Conv2D, DepthwiseConv2D)):
            groups = channels if isinstance(layer, DepthwiseConv2D) else layer.groups
            modules[layer.name] = nn.Conv2d(
                channels, outputs, layer.kernel, padding=layer.padding, groups=groups
            )
        elif isinstance(layer, BatchNorm):
            kind = nn.BatchNorm1d if shape[:2] == (1, 1) else nn.BatchNorm2d
            modules[layer.name] = kind(channels, layer.epsilon)
        elif isinstance(layer, MaxPool2D):
            modules[layer.name] = nn.MaxPool2d(layer.pool_size, layer.strides)
        elif isinstance(layer, GlobalAveragePool2D):
            modules[layer.name] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        elif isinstance(layer, Flatten):
            modules[layer.name] = nn.Flatten()
        kind = layer.activation_name
        if kind == "softmax":
            modules[f"{layer.name}_softmax"] = nn.Softmax(dim=1)
        elif kind != "linear":
            modules[f"{layer.name}_{kind}"] = activations[kind]()
        shape = layer.output_shape(shape)
    module = nn.Sequential(modules).eval()
    state = {k: torch.from_numpy(v) for k, v in to_torch_state_dict(model).items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return module


def predict_in_torch(model, x):
    module = torch_module(model)
    import torch

    with torch.inference_mode():
        return module(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).numpy()


def predict_in_keras(model, x, tmp_path):
    """Run by MNISTC_KERAS_PYTHON, an interpreter with Keras, or this one."""
    python = os.environ.get("MNISTC_KERAS_PYTHON", sys.executable)
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('keras') is None)"
    if subprocess.run([python, "-c", probe], check=False).returncode:
        pytest.skip("Keras is not installed (MNISTC_KERAS_PYTHON names no interpreter with it)")
    entries, shape = [], model.input_shape
    for layer in model.layers:
        if isinstance(layer, Dense) and shape[:2] != (1, 1):
            entries.append({"type": "flatten"})
        entries.append(layer.config())
        shape = layer.output_shape(shape)
    arrays = {f"w{i}": array for i, array in enumerate(to_keras_weights(model))}
    np.savez(
        tmp_path / "model.npz",
        layers=json.dumps(entries),
        shape=model.input_shape,
        images=x.astype(np.float32),
        **arrays,
    )
    script = Path(__file__).with_name("interop") / "predict_keras.py"
    command = [python, script, tmp_path / "model.npz", tmp_path / "out.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "out.npy")


@pytest.mark.parametrize("name", NETWORKS)
def test_torch(name):
    model = random_model(*NETWORKS[name])
    x = images(model, 20)
    np.testing.assert_allclose(predict_in_torch(model, x), reference.predict(model, x), atol=1e-5)


@pytest.mark.slow
def test_keras(tmp_path):
    model = random_model(*NETWORKS["convolutions"])
    x = images(model, 20)
    got = predict_in_keras(model, x, tmp_path)
    np.testing.assert_allclose(got, reference.predict(model, x), atol=1e-5)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("quantize", [None, "float16", "int8"])
def test_widget(tmp_path, quantize):
    """The JavaScript reader passes the test vectors, strokes and pixels, of what we write."""
    layers = [Conv2D(8, 3, "same"), BatchNorm(activation="relu"), MaxPool2D(2), BatchNorm()]
    layers += [DepthwiseConv2D(3, "same", "tanh"), Conv2D(6, 1, activation="sigmoid")]
    layers += [MaxPool2D(3, 2), Flatten(), Dense(10, "softmax")]
    for encoding in ("base64", "decimal"):
        write_model(tmp_path / "m.json", random_model(layers), quantize, encoding)
        script = Path(__file__).with_name("interop") / "check_widget.mjs"
        command = ["node", script, tmp_path / "m.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) < 1e-5


def cnn_and_images():
    model = load_any(original("tfjs/model.json"))
    x = mnist_test()[0][:1000, ..., None] / np.float32(255)
    return model, x, reference.predict(model, x)


@needs_data
def test_torch_on_mnist():
    model, x, wanted = cnn_and_images()
    np.testing.assert_allclose(predict_in_torch(model, x), wanted, atol=1e-5)


@needs_data
@pytest.mark.slow
def test_keras_on_mnist(tmp_path):
    model, x, wanted = cnn_and_images()
    np.testing.assert_allclose(predict_in_keras(model, x, tmp_path), wanted, atol=1e-5)
