"""Write TensorFlow.js layers models: ``model.json`` and one weight shard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from mnistc.formats.files import PathLike, write_atomic
from mnistc.formats.model_file import ModelFile
from mnistc.formats.tensors import MAX_PARAMETERS, stored_float
from mnistc.formats.tfjs import Config, keras_array
from mnistc.formats.untrusted import F32
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

SHARD = "group1-shard1of1.bin"


def write_tfjs(path: PathLike, model: ModelFile, quantize: str | None = None) -> None:
    """Write a layers model: the directory `path`, or the ``.json`` file `path` and its shard.

    Parameters
    ----------
    quantize : {None, "float16"}
        How kernels are stored; TensorFlow.js computes in float32 all the same.

    Raises
    ------
    ValueError
        For another `quantize`, or weights too large for float16.
    """
    path = Path(path)
    target = path if path.suffix == ".json" else path / "model.json"
    topology, manifest, data = _document(model.folded(), quantize)
    from mnistc import __version__

    document = {
        "format": "layers-model",
        "generatedBy": f"mnistc {__version__}",
        "convertedBy": None,
        "modelTopology": topology,
        "weightsManifest": [{"paths": [_shard(target)], "weights": manifest}],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target.parent / _shard(target), data)
    write_atomic(target, text.encode())


def _shard(target: Path) -> str:
    """Name of the shard of ``model.json``, and of other files one of their own: another model in
    the same folder keeps its weights.
    """
    if target.name == "model.json":
        return SHARD
    # What every server and reader takes for a name.
    return re.sub(r"[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):x}", target.stem) + ".bin"


def _document(model: ModelFile, quantize: str | None) -> tuple[Config, list[Config], bytes]:
    """Topology, weights manifest and the bytes of the one shard."""
    inputs = {"batch_input_shape": [None, *model.input_shape], "dtype": "float32"}
    layers = [{"class_name": "InputLayer", "config": {**inputs, "sparse": False, "name": "image"}}]
    manifest, parts = [], []
    shape, flat = model.input_shape, False
    for layer in model.layers:
        if flat and isinstance(layer, (Conv2D, DepthwiseConv2D, MaxPool2D, GlobalAveragePool2D)):
            raise ValueError(f"tfjs cannot hold {layer.type} after a layer that gives a vector")
        if flat and isinstance(layer, Flatten):
            continue  # does nothing, and TensorFlow.js refuses to flatten a vector
        if isinstance(layer, Dense) and not flat:  # ours flattens by itself
            layers.append(_entry("Flatten", f"{layer_name(layer)}_input"))
        flat = flat or isinstance(layer, (Dense, Flatten, GlobalAveragePool2D))
        layers += _entries(layer)
        for role in [*layer.weight_shapes(shape), *layer.state_shapes(shape)]:
            array = model.weights[f"{layer_name(layer)}.{role}"]
            if isinstance(layer, DepthwiseConv2D) and role == "weight":
                array = array[..., None]
            elif isinstance(layer, Conv2D) and role == "weight":
                array = _ungrouped(array, layer.groups)
            entry: Config = {
                "name": f"{layer_name(layer)}/{keras_array(layer, role)}",
                "shape": list(array.shape),
                "dtype": "float32",
            }
            if quantize and array.ndim >= 2:
                entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            stored = stored_float(array, quantize, entry["name"])
            manifest.append(entry)
            parts.append(stored.tobytes())
        shape = layer.output_shape(shape)
    if not flat:
        layers.append(_entry("Flatten", "output"))
    topology = {
        "class_name": "Sequential",
        "config": {"name": _keras_name(model.name), "layers": layers},
        "keras_version": "tfjs-layers",
        "backend": "tensor_flow.js",
    }
    return topology, manifest, b"".join(parts)


def _ungrouped(weight: F32, groups: int) -> F32:
    """Kernel (kh, kw, in, out) for one (kh, kw, in / groups, out), as TensorFlow.js knows no
    groups: 0 where a filter does not see an input.
    """
    if weight.size * groups > MAX_PARAMETERS:
        raise ValueError(f"tfjs knows no groups; a kernel without its {groups} is too large")
    kh, kw, seen, out = weight.shape
    whole = np.zeros((kh, kw, groups, seen, groups, out // groups), np.float32)
    each = np.arange(groups)
    whole[:, :, each, :, each] = np.moveaxis(weight.reshape(kh, kw, seen, groups, -1), 3, 0)
    return whole.reshape(kh, kw, groups * seen, out)


def _keras_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name) or "model"


def _entry(kind: str, name: str, **config: Any) -> Config:
    return {"class_name": kind, "config": {"name": name, "trainable": True, **config}}


def _entries(layer: Layer) -> list[Config]:
    """Keras' description of one layer; a batch norm's activation becomes a layer of its own."""
    name, last = layer_name(layer), {"data_format": "channels_last"}
    activation: Config = {"activation": layer.activation_name}
    if isinstance(layer, (Conv2D, DepthwiseConv2D)):
        config = {
            "kernel_size": list(layer.kernel),
            "strides": [1, 1],
            "padding": layer.padding,
            "dilation_rate": [1, 1],
            "use_bias": True,
            **activation,
            **last,
        }
        if isinstance(layer, Conv2D):
            return [_entry("Conv2D", name, filters=layer.filters, **config)]
        return [_entry("DepthwiseConv2D", name, depth_multiplier=1, **config)]
    if isinstance(layer, Dense):
        return [_entry("Dense", name, units=layer.units, use_bias=True, **activation)]
    if isinstance(layer, MaxPool2D):
        size, strides = [layer.pool_size] * 2, [layer.strides or layer.pool_size] * 2
        pool = {"pool_size": size, "strides": strides, "padding": "valid"}
        return [_entry("MaxPooling2D", name, **pool, **last)]
    if isinstance(layer, GlobalAveragePool2D):
        return [_entry("GlobalAveragePooling2D", name, **last)]
    if isinstance(layer, Flatten):
        return [_entry("Flatten", name, **last)]
    if isinstance(layer, BatchNorm):
        config = {"axis": -1, "epsilon": layer.epsilon, "center": True, "scale": True}
        entries = [_entry("BatchNormalization", name, **config)]
        if layer.activation != "linear":
            entries.append(_entry("Activation", f"{name}_activation", **activation))
        return entries
    return [_entry("Activation", name, **activation)]
