"""Train the shipped networks: every seed of a recipe, weights/NAME.json and its card.

    MNISTC_DATA=... python benchmarks/train_weights.py cnn --work /some/folder

Each seed's network is kept in the work folder and not trained again. The first seed is shipped
as int8, whatever its accuracy: a choice by the test set would be worth less than it looks.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import machine
import numpy as np
import numpy.typing as npt

import mnistc
from mnistc import _core, datasets, metrics, recipes
from mnistc.datasets import pendigits

WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class Shipped:
    """A shipped network: where it comes from and what it is for."""

    recipe: str
    seeds: int
    purpose: str
    goal: str


MODELS = {
    "mlp": Shipped(
        "draw-mlp", 3, "The original project's network, 784-100-30-10, for images like MNIST's "
        "and for what people draw on a screen.",
        "mean of 3 at least 98.9 % on MNIST, 97 % on drawings of strangers",
    ),
    "cnn": Shipped(
        "draw", 2, "A small convolutional network for what people draw on a screen, and for "
        "images like MNIST's; the widget's.",
        "at least 99.4 % on MNIST, 98.5 % on drawings of strangers",
    ),
    "cnn-mnist": Shipped(
        "cnn-mnist", 5, "The network of `cnn`, for images like MNIST's alone.",
        "mean of 5 at least 99.6 %",
    ),
    "cnn-tiny": Shipped(
        "cnn-tiny", 5, "The smallest: fewer than 2,000 weights.", "mean of 5 at least 99.0 %"
    ),
    "mlp-large": Shipped(
        "mlp-large", 3, "A large fully connected network.", "mean of 3 at least 99.5 %"
    ),
    "cnn-large": Shipped("cnn-large", 3, "The most accurate.", "mean of 3 at least 99.73 %"),
}  # fmt: skip


def train_seed(name: str, seed: int, work: Path, threads: int) -> Path:
    """Train one seed, unless it is there already; float32 weights in the work folder."""
    path = work / f"{name}-s{seed}.json"
    if path.exists():
        return path
    recipe = recipes.get(MODELS[name].recipe)
    train, _ = datasets.load("mnist", download=False)
    began = time.process_time()
    result = recipe.train(train, seed=seed, n_threads=threads, verbose=0)
    training = {
        "dataset": "mnist",
        "dataset_sha256": dict(train.sha256),
        "recipe": recipe.name,
        "epochs": len(result.history.epochs),
        "seed": seed,
        "cpu_seconds": round(time.process_time() - began),
        "machine": machine_name(),
    }
    result.network.save(path, name=name, training=training)
    return path


def machine_name() -> str:
    """The CPU and the kernels that train, for the card."""
    return f"{machine.describe()['cpu']}, kernels {_core.kernels()}"


@cache
def training_images() -> npt.NDArray[np.uint8]:
    """What rounding to int8 is calibrated with."""
    train, _ = datasets.load("mnist", download=False)
    return train.images


def quantized(path: Path, name: str, work: Path) -> Path:
    """The int8 file of a float32 one."""
    out = work / f"{path.stem}-int8.json"
    mnistc.load(path).save(out, quantize="int8", calibration=training_images(), name=name)
    return out


def strangers(network: mnistc.Sequential, pen: float = 2.4) -> float:
    """Accuracy on the drawings of the six pendigits writers that no recipe trains on."""
    _, drawn = pendigits.writer_split(pendigits.load_strokes(download=False))
    return network.evaluate(drawn.images(pen), drawn.labels)["accuracy"]


def pen_changes(network: mnistc.Sequential) -> dict[str, float]:
    """Share of strangers' drawings that are read differently with another pen than 2.4."""
    _, drawn = pendigits.writer_split(pendigits.load_strokes(download=False))
    usual = network.predict(drawn.images()).argmax(1)
    return {
        f"{pen:g}": float((network.predict(drawn.images(pen)).argmax(1) != usual).mean())
        for pen in (1.2, 1.8, 3.6, 4.8)
    }


def measure(paths: list[Path], name: str, work: Path) -> dict[str, Any]:
    """What the card tells; accuracies are those of the int8 files unless told otherwise."""
    _, test = datasets.load("mnist", download=False)
    accuracies, float_accuracies, networks = [], [], []
    for path in paths:
        network = mnistc.load(quantized(path, name, work))
        networks.append(network)
        accuracies.append(network.evaluate(test.images, test.labels)["accuracy"])
        wide = mnistc.load(path).evaluate(test.images, test.labels)["accuracy"]
        float_accuracies.append(wide)
    first = networks[0]
    outputs = first.predict(test.images)
    spread = float(np.std(accuracies, ddof=1)) if len(paths) > 1 else None
    return {
        "test_accuracy": accuracies[0],
        "test_loss": first.evaluate(test.images, test.labels)["loss"],
        "calibration_error": metrics.expected_calibration_error(outputs, test.labels),
        "seed_accuracies": accuracies,
        "seed_accuracies_float32": float_accuracies,
        "mean_accuracy": float(np.mean(accuracies)),
        "std_accuracy": spread,
        "strangers_accuracy": strangers(first),
        "pen_changes": pen_changes(first),
        "confusion_matrix": metrics.confusion_matrix(
            test.labels, outputs.argmax(1), first.classes
        ).tolist(),
    }


def matrix_table(matrix: list[list[int]]) -> str:
    """Rows are the true digits."""
    head = "|   | " + " | ".join(str(i) for i in range(len(matrix))) + " |\n"
    rule = "|---" * (len(matrix) + 1) + "|\n"
    rows = (f"| **{i}** | " + " | ".join(map(str, row)) + " |" for i, row in enumerate(matrix))
    return head + rule + "\n".join(rows)


def card(name: str, values: dict[str, Any], training: dict[str, Any], network: Any) -> str:
    """The card, Markdown."""
    model, recipe = MODELS[name], recipes.get(MODELS[name].recipe)
    seeds = ", ".join(f"{a:.2%}" for a in values["seed_accuracies"])
    wide = ", ".join(f"{a:.2%}" for a in values["seed_accuracies_float32"])
    spread = values["std_accuracy"]
    mean = f"{values['mean_accuracy']:.3%}"
    mean += f", standard deviation {spread:.3%}" if spread is not None else " (one seed)"
    pens = ", ".join(f"{share:.2%} at {pen}" for pen, share in values["pen_changes"].items())
    return f"""# {name}

{model.purpose} {network.n_parameters:,} weights, stored as int8 (a scale for each channel).

| measured on | result |
|---|---|
| MNIST test set, this file | **{values["test_accuracy"]:.2%}**, loss {values["test_loss"]:.4f} |
| calibration error (15 bins) | {values["calibration_error"]:.4f} |
| seeds 0 to {len(values["seed_accuracies"]) - 1}, int8 | {seeds} |
| mean | {mean} |
| the same before quantisation | {wide} |
| drawings of 6 strangers (pendigits) | {values["strangers_accuracy"]:.2%} |
| read differently with another pen than 2.4 px | {pens} |

Goal: {model.goal}. Seed 0 is the one shipped; how settings were chosen is told in
`benchmarks/accuracy.md`.

Training: `mnistc train --recipe {recipe.name} --dataset mnist`: {recipe.description}
{training["epochs"]} epochs, minibatches of {recipe.batch_size}. One seed took
{training["cpu_seconds"]} seconds of CPU time (one core of {training["machine"]}).

`mnistc evaluate {name} --dataset mnist` prints the first line of the table. Confusion matrix
(rows: true digit, columns: prediction):

{matrix_table(values["confusion_matrix"])}

MIT licence. MNIST: Y. LeCun, C. Cortes, C. Burges. Drawings: E. Alpaydin and F. Alimoglu, UCI
Machine Learning Repository, dataset 81, CC BY 4.0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--work", type=Path, required=True, help="folder for each seed's network")
    parser.add_argument("--seeds", type=int, help="how many, from 0")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    count = options.seeds or MODELS[options.name].seeds
    paths = [train_seed(options.name, s, options.work, options.threads) for s in range(count)]
    values = measure(paths, options.name, options.work)
    first = mnistc.load(paths[0])
    training = first.metadata["training"]
    first.save(
        WEIGHTS / f"{options.name}.json", quantize="int8", calibration=training_images(),
        name=options.name, metrics=values, license="MIT",
    )  # fmt: skip
    (WEIGHTS / f"{options.name}.md").write_text(card(options.name, values, training, first))
    print(json.dumps(values))


if __name__ == "__main__":
    main()
