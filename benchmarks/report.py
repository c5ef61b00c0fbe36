"""Make the README's table and the plots from the results files, and from nothing else.

    python benchmarks/report.py            # README.md and benchmarks/results/*.svg
    python benchmarks/report.py --check    # exit status 1 if README.md is not up to date

The table stands between the lines <!-- results:begin --> and <!-- results:end -->. A figure is a
median; a ratio is the median of the rounds' ratios, each peer at its best setting of that run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
PEERS = ["PyTorch", "TensorFlow", "Keras on JAX", "JAX", "scikit-learn", "ONNX Runtime"]
# Results of peers.py on several machines, and what is said above each table.
MACHINES = {
    "peers": "On a core with AVX-512 (Zen 5):",
    "amx": "On one with AVX-512 and AMX (Intel):",
    "zen4": "On a core that takes 512 bits in two halves (Zen 4):",
    "avx2": "On one that has AVX2 only (Zen 3):",
}

Row = dict[str, Any]


def best_rows(entry: dict[str, Any]) -> dict[str, Row]:
    """Each peer's fastest setting."""
    best: dict[str, Row] = {}
    for row in entry["rows"]:
        if row["peer"] not in best or row["median"] < best[row["peer"]]["median"]:
            best[row["peer"]] = row
    return best


def ratio(row: Row, ours: Row) -> tuple[float, float, float]:
    """How many times mnistc's time the row took: median and quartiles over the rounds."""
    ratios = [a / b for a, b in zip(row["seconds"], ours["seconds"], strict=True)]
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return middle, low, high


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.4f}"


def peers_table(works: dict[str, Any]) -> list[str]:
    """One line a work: mnistc's figure, then each peer's figure and ratio."""
    columns = [p for p in PEERS if any(p in best_rows(entry) for entry in works.values())]
    lines = [
        "| work | mnistc | " + " | ".join(columns) + " |",
        "| --- " * (len(columns) + 2) + "|",
    ]
    for entry in works.values():
        best = best_rows(entry)
        ours = best.get("mnistc")
        if ours is None:
            continue
        cells = [f"{entry['title']} ({entry['unit']})", f"**{number(ours['median'])}**"]
        for peer in columns:
            if peer not in best:
                cells.append("-")
                continue
            times = ratio(best[peer], ours)[0]
            cells.append(f"{number(best[peer]['median'])} ({times:.1f}x)")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def losses(works: dict[str, Any]) -> list[str]:
    """Where a peer is faster than mnistc, by the median of the rounds' ratios."""
    found = []
    for entry in works.values():
        best = best_rows(entry)
        if "mnistc" not in best:
            left = next((m for m in entry["left_out"] if m["peer"] == "mnistc"), None)
            if left:
                found.append(f"{entry['title']}: mnistc did not take part ({left['reason']})")
            continue
        for peer, row in best.items():
            times = ratio(row, best["mnistc"])[0] if peer != "mnistc" else 1.0
            if times < 1:
                name = f"{peer} ({row['setting']})" if row["setting"] else peer
                found.append(f"{entry['title']}: {name} takes {times:.2f} of mnistc's time")
    return found


def machine_line(about: dict[str, Any]) -> str:
    """The machine, in words."""
    virtual = ", virtual" if about["virtual"] else ""
    return (
        f"{about['cpu']} (family/model {about['family_model']}{virtual}), {about['cpus_usable']} "
        f"CPUs ({', '.join(about['flags'])}), {about['memory_gib']} GiB"
    )


def setting_lines(works: dict[str, Any]) -> list[str]:
    """Machine, versions and what the figures mean, once for each run they come from."""
    seen: dict[str, list[str]] = {}
    for entry in works.values():
        versions = ", ".join(f"{k} {v}" for k, v in entry["versions"].items() if k != "matplotlib")
        text = (
            f"{machine_line(entry['machine'])}; {entry['threads']} threads; kernels: "
            f"{entry['kernels']}; dataset: {entry['dataset']}; {versions}; {entry['date'][:10]}"
        )
        seen.setdefault(text, []).append(entry["title"])
    lines = [f"Measured on {text}." for text in seen]
    rounds = sorted({entry["rounds"] for entry in works.values()})
    shown = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}"
    lines.append(
        f"Median of {shown} rounds in which the peers took turns; in brackets the time as a "
        "multiple of mnistc's. Each peer at the fastest of its settings (compiled or not, one "
        "thread or all, channels last, minibatch of inference)."
    )
    scaled = [
        f"{e['title'].split(',')[0]} {e['images']:,} images" for e in works.values()
        if e["kind"] == "train" and e["images"] != 60_000
    ]  # fmt: skip
    if scaled:
        lines.append(f"Measured on a part and scaled: {'; '.join(scaled)}.")
    missing = sorted({m["peer"] for e in works.values() for m in e["left_out"]})
    if missing:
        lines.append(f"Left out in some work (reasons in the file): {', '.join(missing)}.")
    return lines


def accuracy_table(result: dict[str, Any]) -> list[str]:
    if not result:
        return []
    lines = [
        "",
        "| wanted | seconds, mean | slowest | accuracy, mean | worst | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, goal in result["goals"].items():
        seconds, right = ([r[k] for r in goal["runs"]] for k in ("seconds", "accuracy"))
        lines.append(
            f"| {goal['wanted']:.1%}, {name} | {statistics.mean(seconds):.2f} | "
            f"{max(seconds):.2f} | {statistics.mean(right):.2%} | {min(right):.2%} | {len(right)} |"
        )
    return lines


def kernels_table(result: dict[str, Any]) -> list[str]:
    """Useful work of each kernel as a share of what bounds it, a column for each table."""
    if not result:
        return []
    tables = list(dict.fromkeys(row["table"] for row in result["rows"]))
    lines = [
        "",
        "Kernels, one thread: GFLOP/s of useful work, in brackets the share of what bounds them "
        "(arithmetic at the measured peak, or reading from a level of memory):",
        "",
        "| kernel | shape | " + " | ".join(tables) + " |",
        "| --- " * (2 + len(tables)) + "|",
    ]
    found = {(row["kernel"], row["shape"], row["table"]): row for row in result["rows"]}
    for kernel, shape in dict.fromkeys((row["kernel"], row["shape"]) for row in result["rows"]):
        cells = [kernel, shape]
        for table in tables:
            row = found[kernel, shape, table]
            where = "" if row["limit"] == "arithmetic" else f" of {row['limit']}"
            cells.append(f"{row['gflops_per_second']:.0f} ({row['fraction']:.0%}{where})")
        lines.append("| " + " | ".join(cells) + " |")
    about = machine_line(result["machine"])
    return [*lines, "", f"Measured on {about}; {result['rounds']} rounds; {result['date'][:10]}."]


def section(results: dict[str, dict[str, Any]]) -> str:
    """The text between the markers."""
    lines: list[str] = []
    for name, heading in MACHINES.items():
        works = results.get(name, {}).get("works", {})
        if not works:
            continue
        lines += ["", heading, "", *peers_table(works), "", *setting_lines(works)]
        lost = losses(works)
        if lost:
            lines += ["", "Where mnistc is slower:", "", *(f"- {line}" for line in lost)]
        else:
            lines += ["", "mnistc is slower in none of these works."]
    lines += accuracy_table(results.get("time_to_accuracy", {}))
    lines += kernels_table(results.get("kernels", {}))
    for image in ("ratios", "roofline", "scaling"):
        if (machine.RESULTS / f"{image}.svg").exists():
            lines += ["", f"![{image}](benchmarks/results/{image}.svg)"]
    return "\n".join(lines)


def place(text: str, inner: str) -> str:
    """README with what is between the markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"README.md must have one line {BEGIN} and one {END}")
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + inner + "\n" + END + rest.split(END)[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--readme", default=str(ROOT / "README.md"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--no-plots", action="store_true")
    options = parser.parse_args()
    names = (*MACHINES, "peak", "scaling", "time_to_accuracy", "kernels")
    results = {name: machine.read(machine.RESULTS / f"{name}.json") for name in names}
    if not (options.check or options.no_plots):
        import plots

        plots.draw_all(results)
    inner = section(results)
    readme = Path(options.readme)
    if not readme.exists():
        print(inner)
        return 0
    text = readme.read_text("utf-8")
    updated = place(text, inner)
    if options.check:
        return int(updated != text)
    readme.write_text(updated, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
