"""Accuracy of training in bf16 beside float32: the same seeds, a recipe, pair by pair.

    python benchmarks/precision.py --seeds 5 --epochs 12 --out benchmarks/results/precision.json

A pair starts from the same weights and sees the same images in the same order. The mean difference
is told with its standard error; --threads 1 (or two runs at once) changes no figure but seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import machine
from works import cpu_count

sys.path.append(str(Path(__file__).parents[1]))

PRECISIONS = ("float32", "bf16")


def run_one(data: tuple, precision: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    from mnistc import recipes

    train, test = data
    result = recipes.get(options.recipe).train(
        train,
        epochs=options.epochs,
        seed=seed,
        n_threads=options.threads,
        precision=precision,
        verbose=0,
    )
    scores = result.network.evaluate(test.images, test.labels, n_threads=options.threads)
    return {"seed": seed, "precision": precision, "seconds": result.seconds} | scores


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means, and by how many points of accuracy bf16 is ahead."""
    right = {p: [r["accuracy"] for r in runs if r["precision"] == p] for p in PRECISIONS}
    points = [100 * (b - a) for a, b in zip(*right.values(), strict=True)]
    error = statistics.stdev(points) / len(points) ** 0.5 if len(points) > 1 else None
    return {
        "mean_accuracy": {p: statistics.mean(values) for p, values in right.items()},
        "points": points,
        "mean_points": statistics.mean(points),
        "standard_error": error,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    import mnistc
    from mnistc import _core

    name = options.dataset
    if name == "auto":
        name = "mnist" if mnistc.datasets.find("mnist") else "synthetic"
    data = mnistc.datasets.load(name, download=False)
    runs = []
    for seed in range(options.seeds):
        for precision in PRECISIONS:
            runs.append(run_one(data, precision, seed, options))
            last = runs[-1]
            print(
                f"seed {seed} {precision:8} {last['accuracy']:.2%} {last['seconds']:.1f} s",
                flush=True,
            )
    return {
        "kind": "precision",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "recipe": options.recipe,
        "epochs": options.epochs,
        "dataset": name,
        "threads": options.threads,
        "kernels": _core.kernels(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        **summary(runs),
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--recipe", default="keras-cnn")
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    result = measure(options)
    print(f"bf16 is ahead by {result['mean_points']:+.3f} points", end="")
    error = result["standard_error"]
    print("" if error is None else f" (standard error {error:.3f})")
    if options.out:
        machine.write(options.out, result)


if __name__ == "__main__":
    main()
