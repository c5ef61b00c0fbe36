"""Outputs of a Keras model: python predict_keras.py MODEL.npz OUTPUTS.npy

The archive holds `layers` (JSON, the entries of a model file), `shape`, `images` and the arrays
`w0`, `w1`, ... for set_weights. Run by an interpreter that has Keras, which need not be the one
that runs the tests.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np


def layer(entry):
    from keras import layers

    kind, activation = entry["type"], entry.get("activation", "linear")
    padding, kernel = entry.get("padding"), entry.get("kernel_size")
    make = {
        "dense": lambda: layers.Dense(entry["units"], activation),
        "conv2d": lambda: layers.Conv2D(
            entry["filters"],
            kernel,
            padding=padding,
            activation=activation,
            groups=entry.get("groups", 1),
        ),
        "depthwise_conv2d": lambda: layers.DepthwiseConv2D(
            kernel, padding=padding, activation=activation
        ),
        "max_pool2d": lambda: layers.MaxPooling2D(entry["pool_size"], entry["strides"]),
        "global_average_pool2d": layers.GlobalAveragePooling2D,
        "batch_norm": lambda: layers.BatchNormalization(epsilon=entry["epsilon"]),
        "dropout": lambda: layers.Dropout(entry["rate"]),
        "flatten": layers.Flatten,
        "activation": lambda: layers.Activation(activation),
    }
    built = [make[kind]()]
    if kind == "batch_norm" and activation != "linear":
        built.append(layers.Activation(activation))
    return built


def main(source, target):
    import keras

    with np.load(source) as archive:
        entries = json.loads(str(archive["layers"]))
        weights = [archive[f"w{i}"] for i in range(sum(k.startswith("w") for k in archive.files))]
        model = keras.Sequential([keras.Input(archive["shape"].tolist())])
        for entry in entries:
            for built in layer(entry):
                model.add(built)
        model.set_weights(weights)
        np.save(target, model.predict(archive["images"], batch_size=100, verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
