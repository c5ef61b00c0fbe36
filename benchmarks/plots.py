"""The plots of report.py: bars of ratios, a roofline, scaling curves. Small SVG files."""

from __future__ import annotations

from typing import Any

import machine
import matplotlib
import report

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "mnistc", "font.size": 9, "svg.fonttype": "none"})
import matplotlib.pyplot as plt  # noqa: E402

OURS, THEIRS = "#0b7a75", "#c06014"


def save(figure: Any, name: str) -> None:
    figure.tight_layout()
    machine.RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(machine.RESULTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def draw_ratios(works: dict[str, Any]) -> None:
    """How many times mnistc's time each peer takes."""
    bars = []
    for entry in works.values():
        best = report.best_rows(entry)
        if "mnistc" in best:
            bars += [
                (f"{entry['title']}: {peer}", *report.ratio(row, best["mnistc"]))
                for peer, row in best.items()
                if peer != "mnistc"
            ]
    if not bars:
        return
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.22 * len(bars)))
    places = range(len(bars))
    for place, (_, middle, low, high) in zip(places, bars, strict=True):
        axes.barh(place, middle, color=OURS if middle >= 1 else THEIRS, height=0.7)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
        axes.text(max(middle, high) * 1.06, place, f"{middle:.1f}", va="center", fontsize=7)
    axes.set_yticks(list(places), [bar[0] for bar in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time as a multiple of mnistc's (line: quartiles of the rounds)")
    axes.margins(x=0.15, y=0.01)
    save(figure, "ratios")


def draw_roofline(peaks: dict[str, Any], scaling: dict[str, Any]) -> None:
    """What the machine allows for a number of operations by the byte, and what is reached."""
    points = scaling.get("roofline", [])
    if not peaks.get("gflops") or not points:
        return
    threads = str(points[0]["threads"])
    flops = max(v for k, v in peaks["gflops"][threads].items() if "bf16" not in k)
    figure, axes = plt.subplots(figsize=(6.5, 4))
    intensity = [2.0**k for k in range(-4, 11)]
    for level, bandwidth in peaks["gbytes_per_second"][threads].items():
        axes.plot(intensity, [min(flops, bandwidth * i) for i in intensity], label=level)
    for point in points:
        x, y = point["flops"] / point["bytes"], point["gflops_per_second"]
        axes.plot(x, y, "o", color="black", markersize=4)
        axes.annotate(point["name"], (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte that must move", ylabel="GFLOP/s")
    axes.set_title(f"{threads} thread(s); lines: peak and bandwidth of each level", fontsize=9)
    axes.legend(fontsize=7)
    save(figure, "roofline")


def draw_scaling(scaling: dict[str, Any]) -> None:
    """Microseconds an image over width, minibatch and threads; seconds over images."""
    curves = scaling.get("curves", {})
    if not curves:
        return
    figure, grid = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.2), squeeze=False)
    for axes, (name, curve) in zip(grid[0], curves.items(), strict=True):
        for label in sorted({point["network"] for point in curve}):
            chosen = [point for point in curve if point["network"] == label]
            x = [point["x"] for point in chosen]
            axes.plot(x, [point["gflops_per_second"] for point in chosen], "o-", label=label)
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set(xlabel=name, ylabel="useful GFLOP/s in training")
        axes.legend(fontsize=7)
    save(figure, "scaling")


def draw_all(results: dict[str, dict[str, Any]]) -> None:
    draw_ratios(results["peers"].get("works", {}))
    draw_roofline(peak_of_machine(results), results["scaling"])
    draw_scaling(results["scaling"])


def peak_of_machine(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The measured peaks, if they are of the machine that the scaling was measured on."""
    peaks, scaling = results["peak"], results["scaling"]
    told = [r.get("machine", {}) for r in (peaks, scaling)]
    same = all(told[0].get(key) == told[1].get(key) for key in ("cpu", "family_model"))
    return peaks if same else {}
