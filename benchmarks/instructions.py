"""Count instructions of fixed pieces of work, and compare with the counts that were committed.

    python benchmarks/instructions.py            # exit status 1 if a count has grown
    python benchmarks/instructions.py --update   # write the baseline

Seconds on a shared machine say little; the number of instructions is the same every time. So this
is what guards against slow-downs in CI. It needs a C compiler and valgrind; without them it says
so and exits 0. A count is compared only with that of the same kernel table; with another compiler
than the baseline's the table is printed and nothing fails.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import machine

HERE = Path(__file__).parent
ROOT = HERE.parent
BASELINE = HERE / "instructions.json"
COMPILER = shutil.which(os.environ.get("CC", "cc").split()[0])


def setup_constant(name: str) -> object:
    """A constant of setup.py, which cannot be imported without building."""
    for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def build(folder: Path) -> Path:
    """Compile the core as setup.py does, and link it with instructions.c."""
    flags = [*setup_constant("COMMON_FLAGS"), "-D_GNU_SOURCE", "-pthread", f"-I{ROOT / 'csrc'}"]
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    kernel_flags = setup_constant("KERNEL_FLAGS") if x86 else {}

    def compile_one(source: Path) -> Path:
        target = folder / (source.stem + str(len(source.parts)) + ".o")
        name = source.relative_to(ROOT / "csrc").as_posix() if source != driver else ""
        run(COMPILER, *flags, *kernel_flags.get(name, []), "-c", source, "-o", target)
        return target

    driver = HERE / "instructions.c"
    sources = [*sorted((ROOT / "csrc").rglob("*.c")), driver]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    program = folder / "instructions"
    run(COMPILER, *objects, "-o", program, "-pthread", "-lm")
    return program


def count(program: Path, work: str, kernels: str, folder: Path) -> int:
    """Instructions of the function `measured`, and of all that it calls."""
    output = run(
        "valgrind",
        "--tool=callgrind",
        "--toggle-collect=measured",
        f"--callgrind-out-file={folder / work}.out",
        program,
        work,
        kernels,
    )
    found = re.search(r"Collected : (\d+)", output)
    if not found or not int(found[1]):
        raise RuntimeError(f"valgrind counted nothing:\n{output[-2000:]}")
    return int(found[1])


def measure(kernels: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(folder)
        works = run(program).split()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            counts = pool.map(lambda work: count(program, work, kernels, folder), works)
            return dict(zip(works, counts, strict=True))


def compare(counts: dict[str, int], expected: dict[str, int], tolerance: float) -> bool:
    """Print a table; True if nothing has grown by more than the tolerance."""
    good = True
    print(f"{'work':16}{'instructions':>14}{'baseline':>14}{'change':>9}")
    for work, found in counts.items():
        base = expected.get(work)
        change = found / base - 1 if base else 0.0
        verdict = "" if base else "new"
        if change > tolerance:
            verdict, good = "too many", False
        print(f"{work:16}{found:14,}{base or 0:14,}{change:9.1%} {verdict}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kernels", default="", help="kernel table (default: avx2, baseline)")
    parser.add_argument("--tolerance", type=float, default=0.10)
    parser.add_argument("--update", action="store_true", help="write the baseline")
    options = parser.parse_args()
    for tool, path in {"valgrind": shutil.which("valgrind"), "a C compiler": COMPILER}.items():
        if path is None:
            print(f"skipped: this needs {tool}")
            return 0
    baseline = machine.read(BASELINE)
    flags = machine.describe()["flags"]
    tables = [options.kernels] if options.kernels else ["baseline"]
    if not options.kernels and {"avx2", "fma"} <= set(flags):
        tables.insert(0, "avx2")  # the most that valgrind knows
    good = True
    for kernels in tables:
        counts = measure(kernels)
        print(f"\n{kernels}")
        good &= compare(counts, baseline.get(kernels, {}), options.tolerance)
        if options.update:
            baseline[kernels] = counts
    compiler = run(COMPILER, "--version").splitlines()[0]
    if options.update:
        baseline["compiler"] = compiler
        machine.write(BASELINE, baseline)
        return 0
    if baseline.get("compiler") != compiler:
        print(f"\nThe baseline is of {baseline.get('compiler')}, this is {compiler}: not compared.")
        return 0
    if not good:
        print("\nMore instructions than before. If they are worth it: --update, and say why.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
