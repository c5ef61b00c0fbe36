"""Measure the machine: multiply-adds from registers, bytes from each level of the memory.

    python benchmarks/peak.py --out benchmarks/results/peak.json

The loops are C, compiled when needed with the system's compiler. Where there is none, one large
dense layer of mnistc stands for the peak, and the file says that it is a lower bound.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
from works import cpu_count

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
CHAINS = 12
# Name of the C function, floats in a vector, whether multiply and add are one operation of one
# rounding (FLOPs are counted the same either way), CPU flags.
X86 = {"sse2": (4, {"sse2"}), "avx2": (8, {"avx2", "fma"}), "avx512": (16, {"avx512f"})}
LEVELS = {"L1": 16 << 10, "L2": 256 << 10, "L3": 4 << 20, "memory": 256 << 20}


def best(call: Callable[[], object], repeats: int) -> float:
    """Shortest seconds of several calls: a peak is what the machine can do undisturbed."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def in_threads(call: Callable[[], object], threads: int) -> None:
    """Run the same in several threads (ctypes lets go of the GIL)."""
    if threads == 1:
        call()
        return
    workers = [threading.Thread(target=call) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def compile_library(folder: Path, amx: bool) -> ctypes.CDLL | None:
    """The C loops, or None without a compiler."""
    flags = ["-O2", "-std=gnu11", "-ffp-contract=fast", "-shared", "-fPIC"]
    extra = ["-DMNISTC_AMX"] if amx else []
    target = folder / "peak.so"
    for compiler in ("cc", "gcc", "clang"):
        for chosen in (extra, []):
            command = [compiler, *flags, *chosen, str(HERE / "peak.c"), "-o", str(target)]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                continue
            return ctypes.CDLL(str(target))
    return None


def tables(flags: set[str]) -> dict[str, int]:
    """Loops that this CPU can run, with their floats in a vector."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return {"neon": 4}
    return {name: lanes for name, (lanes, needs) in X86.items() if needs <= flags}


def measure_flops(library: ctypes.CDLL, name: str, lanes: int, threads: int, seconds: float):
    """GFLOP/s of fp32 multiply-adds."""
    function = getattr(library, name)
    function.argtypes, function.restype = [ctypes.c_int64], ctypes.c_float
    rounds = 1 << 20
    rounds = int(rounds * seconds / best(lambda: function(rounds), 2)) + 1
    elapsed = best(lambda: in_threads(lambda: function(rounds), threads), 5)
    return 2 * rounds * CHAINS * lanes * threads / elapsed / 1e9


def measure_amx(library: ctypes.CDLL, threads: int, seconds: float) -> float | None:
    """GFLOP/s of bf16 products in tiles, or None where the system refuses them."""
    function = library.amx
    function.argtypes, function.restype = [ctypes.c_int64], ctypes.c_float
    if function(1) < 0:
        return None
    rounds = 1 << 16
    rounds = int(rounds * seconds / best(lambda: function(rounds), 2)) + 1
    elapsed = best(lambda: in_threads(lambda: function(rounds), threads), 5)
    return 2 * rounds * 4 * 16 * 16 * 32 * threads / elapsed / 1e9


def measure_bandwidth(library: ctypes.CDLL, name: str, size: int, threads: int, seconds: float):
    """GB/s read, each thread from memory of its own."""
    function = getattr(library, f"{name}_read")
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_float
    blocks = [np.ones(size // 4 + 64, dtype=np.float32) for _ in range(threads)]
    addresses = [block.ctypes.data + -block.ctypes.data % 64 for block in blocks]
    once = best(lambda: function(addresses[0], size, 4), 3) / 4
    repeats = max(1, int(seconds / once))
    pending: list[int] = []

    def run() -> None:
        pending[:] = addresses
        in_threads(lambda: function(pending.pop(), size, repeats), threads)

    return size * repeats * threads / best(run, 5) / 1e9


def dense_flops(threads: int) -> float:
    """GFLOP/s of a large dense layer of mnistc: a lower bound of the peak."""
    from mnistc import Dense, Sequential

    net = Sequential([Dense(512, "relu"), Dense(512, "relu")], 512, seed=0)
    x = np.random.default_rng(0).random((2048, 512), dtype=np.float32)
    elapsed = best(lambda: net.predict(x, threads), 10)
    return 2 * 2 * 512 * 512 * len(x) / elapsed / 1e9


def measure(seconds: float = 0.2) -> dict:
    """All peaks with 1 thread and with all."""
    about = machine.describe()
    flags = set(about["flags"])
    result = {
        "kind": "peak",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_before": machine.load(),
        "machine": about,
        "levels_bytes": LEVELS,
        "gflops": {},
        "gbytes_per_second": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder), "amx_bf16" in flags)
        result["lower_bound"] = library is None
        for threads in sorted({1, cpu_count()}):
            flops, bytes_ = {}, {}
            if library is None:
                flops["dense layer"] = dense_flops(threads)
            else:
                available = tables(flags)
                for name, lanes in available.items():
                    flops[name] = measure_flops(library, name, lanes, threads, seconds)
                if hasattr(library, "amx"):
                    amx = measure_amx(library, threads, seconds)
                    flops |= {} if amx is None else {"amx bf16": amx}
                widest = list(available)[-1]
                for level, size in LEVELS.items():
                    bytes_[level] = measure_bandwidth(library, widest, size, threads, seconds)
            result["gflops"][str(threads)] = {k: round(v, 2) for k, v in flops.items()}
            result["gbytes_per_second"][str(threads)] = {k: round(v, 2) for k, v in bytes_.items()}
    return result


def peak_of(result: dict, kernels: str, threads: int) -> float | None:
    """GFLOP/s that a kernel table could reach at most, told from a results file."""
    found = result.get("gflops", {}).get(str(threads), {})
    names = {"baseline": "sse2", "ref": "sse2", "avx512bf16": "avx512", "amx": "avx512"}
    return found.get(names.get(kernels, kernels)) or (max(found.values()) if found else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="")
    parser.add_argument("--seconds", type=float, default=0.2, help="of one measurement")
    options = parser.parse_args()
    result = measure(options.seconds)
    for threads, flops in result["gflops"].items():
        print(f"{threads} threads: GFLOP/s {flops}")
        print(f"{threads} threads: GB/s {result['gbytes_per_second'][threads]}")
    if options.out:
        machine.write(options.out, result)


if __name__ == "__main__":
    main()
