"""Seconds from nothing to an accuracy on MNIST's test set, loading the images included.

    python benchmarks/time_to_accuracy.py --seeds 10 --out benchmarks/results/time_to_accuracy.json

Each seed runs in a process of its own: the clock starts before the images are read and stops when
training ends; starting Python and importing mnistc is reported beside it. The recipes were chosen
on the last 10,000 training images (--held-out does that again); the test set only measures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from works import cpu_count

sys.path.append(str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Goal:
    """An accuracy and the training that is to reach it, in mean over the seeds."""

    wanted: float
    network: str
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adam"
    augment: dict[str, float] = field(default_factory=dict)
    ema: float = 0.0
    weight_decay: float = 0.0
    peak: float = 0.3
    label_smoothing: float = 0.0


GOALS = {
    # Plain SGD with small minibatches: the core skips the paper of images then.
    "MLP": Goal(0.98, "mlp", epochs=5, batch_size=16, learning_rate=0.3, optimizer="sgd"),
    "small CNN": Goal(0.99, "small", epochs=3, batch_size=64, learning_rate=0.01),
    "CNN": Goal(
        0.995,
        "large",
        epochs=14,
        batch_size=64,
        learning_rate=0.004,
        optimizer="adamw",
        weight_decay=0.02,
        augment={"rotation": 8.0, "scale": 0.08, "shear": 4.0, "shift": 1.5},
        ema=0.999,
    ),
}


def layers(network: str) -> list:
    from mnistc import Conv2D, Dense, Dropout, Flatten, MaxPool2D

    if network == "mlp":
        return [Dense(128, "relu"), Dense(10, "softmax")]
    if network == "small":
        return [
            Conv2D(16, 5, activation="relu"),
            MaxPool2D(2),
            Conv2D(32, 3, activation="relu"),
            MaxPool2D(2),
            Flatten(),
            Dense(10, "softmax"),
        ]
    return [
        Conv2D(16, 5, activation="relu"),
        MaxPool2D(2),
        Conv2D(48, 3, activation="relu"),
        MaxPool2D(2),
        Flatten(),
        Dropout(0.3),
        Dense(128, "relu"),
        Dense(10, "softmax"),
    ]


def run_one(goal: Goal, seed: int, threads: int, held_out: int) -> dict[str, float]:
    """Load, train, and measure the accuracy when the clock has stopped."""
    import mnistc

    began = time.perf_counter()
    train, test = mnistc.datasets.load("mnist", download=False)
    images, labels = train.images, train.labels
    loaded = time.perf_counter()
    if held_out:
        images, labels = images[:-held_out], labels[:-held_out]
    net = mnistc.Sequential(layers(goal.network), seed=seed)
    kind = {"sgd": mnistc.SGD, "adam": mnistc.Adam, "adamw": mnistc.AdamW}[goal.optimizer]
    net.fit(
        images,
        labels,
        epochs=goal.epochs,
        batch_size=goal.batch_size,
        optimizer=kind(goal.learning_rate, weight_decay=goal.weight_decay),
        schedule=mnistc.OneCycle(peak=goal.peak),
        augment=mnistc.Augment(**goal.augment) if goal.augment else None,
        ema=goal.ema,
        label_smoothing=goal.label_smoothing,
        seed=seed,
        n_threads=threads,
        verbose=0,
    )
    ended = time.perf_counter()
    if held_out:
        score = net.evaluate(train.images[-held_out:], train.labels[-held_out:])
    else:
        score = net.evaluate(test.images, test.labels)
    return {
        "seed": seed,
        "accuracy": score["accuracy"],
        "seconds": ended - began,
        "loading": loaded - began,
    }


def run_process(name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    began = time.perf_counter()
    command = [sys.executable, __file__, "--goal", name, "--one", str(seed)]
    command += ["--threads", str(options.threads), "--held-out", str(options.held_out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed}: {done.stderr[-1000:]}")
    found = json.loads(done.stdout)
    return found | {"whole_process": time.perf_counter() - began}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    names = [options.goal] if options.goal else list(GOALS)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    result = {
        "kind": "time_to_accuracy",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "held_out": options.held_out,
        "threads": options.threads,
        "load_before": machine.load(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "goals": {},
    }
    for seed in range(options.seeds):
        for name in names:
            runs[name].append(run_process(name, seed, options))
            last = runs[name][-1]
            print(f"{name:10} {last['accuracy']:.2%} in {last['seconds']:.2f} s", flush=True)
    for name in names:
        right, seconds = ([r[k] for r in runs[name]] for k in ("accuracy", "seconds"))
        result["goals"][name] = {
            "wanted": GOALS[name].wanted,
            "recipe": vars(GOALS[name]),
            "mean_accuracy": statistics.mean(right),
            "mean_seconds": statistics.mean(seconds),
            "reached": statistics.mean(right) >= GOALS[name].wanted,
            "runs": runs[name],
        }
        print(f"{name}: {statistics.mean(right):.3%} in {statistics.mean(seconds):.2f} s, mean")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--goal", default="", choices=["", *GOALS])
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--held-out", type=int, nargs="?", const=10_000, default=0)
    parser.add_argument("--one", type=int, default=-1, help="one seed in this process")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    if options.one >= 0:
        goal = GOALS[options.goal]
        print(json.dumps(run_one(goal, options.one, options.threads, options.held_out)))
        return
    result = measure(options)
    if options.out:
        machine.write(options.out, result)


if __name__ == "__main__":
    main()
