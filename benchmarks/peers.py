"""mnistc against PyTorch, TensorFlow, Keras on JAX, JAX, scikit-learn and ONNX Runtime.

    python benchmarks/peers.py --rounds 7 --out benchmarks/results/peers.json
    python benchmarks/peers.py --work mlp,cnn --kernels avx2 --out benchmarks/results/avx2.json

Every peer prepares and warms up in a process of its own; then the rounds: each peer runs the work
once, one after the other, in an order that rotates, while the others wait and their threads have
gone to sleep. So a slow minute of the machine strikes all of them. Predictions and trainings of
less than a second run once untimed before (worker.py says why). The median counts; every single
time is kept in the file, which is written after each work: a run that was cut short goes on with
--resume.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import machine
from settings import LIMITS, SETTINGS, UNLIMITED, Setting
from works import WORKS, Work, cpu_count, load_data

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
LEAST_ROUNDS = 3
SETTLE = 0.3  # seconds after which the threads of whoever ran before no longer spin


class Worker:
    """A process that runs one peer at one setting."""

    def __init__(
        self, setting: Setting, work: Work, options: argparse.Namespace, data: str
    ) -> None:
        self.setting, self.threads = setting, setting.threads or options.threads
        limit = options.kernels
        self.seconds: list[float] = []
        self.ready = 0.0
        self.detail: dict[str, Any] = {}
        order = {
            "runner": setting.runner,
            "module": setting.module,
            "work": work.name,
            "threads": self.threads,
            "data": data,
            "shrink": options.shrink,
            "options": setting.options | ({"simd_bits": 256} if limit == "avx2" else {}),
        }
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | setting.environment | LIMITS.get(limit, {}),
        )
        self.replies: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.replies.put(line)
        self.replies.put("")

    def answer(self, timeout: float, named: float = 0.0) -> dict[str, Any]:
        """The next reply; {"failed": reason} if there is none (`named`: the limit to speak of)."""
        try:
            line = self.replies.get(timeout=max(timeout, 0.1))
        except queue.Empty:
            return {"failed": f"no answer within {named or timeout:.0f} s"}
        return json.loads(line) if line else {"failed": f"it ended: {self._last_error()}"}

    def ask(self, what: str, timeout: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"failed": f"it ended: {self._last_error()}"}
        return self.answer(timeout)

    def _last_error(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "without a message"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if not self.errors.closed:
            self.errors.close()


def gather(
    settings: list[Setting], start: Callable[[Setting], Worker], timeout: float
) -> tuple[list[Worker], list[dict[str, str]]]:
    """Start all, a CPU's worth at a time; those that fail are closed and named with the reason."""
    waiting, under_way = deque(settings), deque[tuple[Worker, float]]()
    ready, left_out = [], []
    while waiting or under_way:
        while waiting and len(under_way) < cpu_count():
            under_way.append((start(waiting.popleft()), time.monotonic() + timeout))
        worker, deadline = under_way.popleft()
        reply = worker.answer(deadline - time.monotonic(), timeout)
        if "ready" in reply:
            worker.ready, worker.detail = reply["ready"], reply["detail"]
            ready.append(worker)
            continue
        reason = f"not installed: {reply['missing']}" if "missing" in reply else reply["failed"]
        left_out.append({"peer": worker.setting.name, "reason": reason})
        print(f"  left out: {worker.setting.name}: {reason}", flush=True)
        worker.close()
    return ready, left_out


def measure(work: Work, options: argparse.Namespace, data: str, seconds: float) -> dict[str, Any]:
    """Run one work: the entry of the results file."""
    started, stolen, load = time.monotonic(), machine.stolen(), machine.load()
    chosen = [s for s in SETTINGS if s.takes(work, options.threads) and options.wants(s)]
    everyone: list[Worker] = []

    def start(setting: Setting) -> Worker:
        everyone.append(Worker(setting, work, options, data))
        return everyone[-1]

    try:
        workers, left_out = gather(chosen, start, options.patience)
        rounds = run_rounds(workers, options.rounds, started + seconds, left_out)
        rows = [result_row(worker, work) for worker in workers if worker.seconds]
    finally:
        for worker in everyone:
            worker.close()
    return {
        "title": work.title,
        "kind": work.kind,
        "unit": work.unit,
        "images": work.images,
        "scale": work.scale,
        "batch_size": work.batch_size,
        "precision": work.precision,
        "threads": options.threads,
        "kernels": options.kernels or "best",
        "not_limited": UNLIMITED.get(options.kernels, []),
        "dataset": options.dataset_name,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": rounds,
        "load_before": load,
        "stolen_seconds": round(machine.stolen() - stolen, 2),
        "elapsed_seconds": round(time.monotonic() - started, 1),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "rows": rows,
        "left_out": left_out,
    }


def run_rounds(
    workers: list[Worker], rounds: int, deadline: float, left_out: list[dict[str, str]]
) -> int:
    """Let each run once a round; fewer rounds, but at least 3, where time runs out."""
    done = 0
    for number in range(rounds):
        began = time.monotonic()
        for place in range(len(workers)):
            worker = workers[(place + number) % len(workers)]
            time.sleep(SETTLE)
            reply = worker.ask("run", 600)
            if "seconds" in reply:
                worker.seconds.append(reply["seconds"])
            else:
                left_out.append({"peer": worker.setting.name, "reason": reply["failed"]})
                worker.seconds.clear()
        workers[:] = [worker for worker in workers if len(worker.seconds) == number + 1]
        done = number + 1
        now = time.monotonic()
        if done >= LEAST_ROUNDS and now + (now - began) > deadline:
            break
    return done


def result_row(worker: Worker, work: Work) -> dict[str, Any]:
    """Raw seconds of the unit; median and quartiles of the reported figure."""
    figures = [s * work.scale for s in worker.seconds]
    low, high = figures[0], figures[0]
    if len(figures) > 1:
        low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    accuracy = worker.ask("accuracy", 300).get("accuracy")
    return {
        "peer": worker.setting.peer,
        "setting": worker.setting.label,
        "threads": worker.threads,
        "median": statistics.median(figures),
        "quartiles": [low, high],
        "accuracy": accuracy,
        "ready_seconds": round(worker.ready, 2),
        "detail": worker.detail,
        "seconds": worker.seconds,
    }


def print_table(results: dict[str, Any]) -> None:
    for entry in results["works"].values():
        print(
            f"\n{entry['title']} [{entry['unit']}], {entry['threads']} threads, "
            f"{entry['rounds']} rounds, median (quartiles)"
        )
        ours = next((r["median"] for r in entry["rows"] if r["peer"] == "mnistc"), None)
        for row in sorted(entry["rows"], key=lambda row: row["median"]):
            name = f"{row['peer']} ({row['setting']})" if row["setting"] else row["peer"]
            low, high = row["quartiles"]
            ratio = f"{row['median'] / ours:8.2f} x" if ours else ""
            accuracy = f"  {row['accuracy']:.2%}" if row["accuracy"] else ""
            print(f"  {name:42} {row['median']:9.3f} ({low:.3f}-{high:.3f}){ratio}{accuracy}")
        for missing in entry["left_out"]:
            print(f"  left out: {missing['peer']}: {missing['reason']}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", default=",".join(WORKS), help=f"some of {','.join(WORKS)}")
    parser.add_argument("--peer", default="", help="only these peers, such as PyTorch,JAX")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds: a look, not a result")
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--kernels", default="", choices=["", *LIMITS], help="instruction set")
    parser.add_argument("--dataset", default="auto", choices=["auto", "mnist", "synthetic"])
    parser.add_argument("--budget", type=float, default=720, help="seconds for all works")
    parser.add_argument("--shrink", type=int, default=1, help="fewer images: a test of the script")
    parser.add_argument(
        "--patience", type=float, default=180, help="seconds for a peer to be ready"
    )
    parser.add_argument("--resume", action="store_true", help="skip works that --out has")
    parser.add_argument("--out", default="", help="JSON file; works in it are replaced one by one")
    options = parser.parse_args(arguments)
    options.works = [name for name in options.work.split(",") if name]
    unknown = [name for name in options.works if name not in WORKS]
    if unknown:
        parser.error(f"--work must be some of {', '.join(WORKS)}; got {', '.join(unknown)}")
    if options.quick:
        options.rounds = LEAST_ROUNDS
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    peers = {name.strip().lower() for name in options.peer.split(",") if name.strip()}
    options.wants = lambda s: not peers or s.peer == "mnistc" or s.peer.lower() in peers
    return options


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    results = machine.read(options.out) if options.out else {}
    results = {"kind": "peers", "works": results.get("works", {})}
    pending = [n for n in options.works if not (options.resume and n in results["works"])]
    deadline = time.monotonic() + options.budget
    if (machine.load() or 0) > 0.5:
        print(f"the machine is busy (load {machine.load()}): figures will be worse than they are")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        data = load_data(options.dataset)
        options.dataset_name = data.name
        data.save(path)
        for index, name in enumerate(pending):
            share = (deadline - time.monotonic()) / (len(pending) - index)
            print(f"{WORKS[name].title}: about {share:.0f} s", flush=True)
            results["works"][name] = measure(
                WORKS[name].shrunk(options.shrink), options, str(path), share
            )
            if options.out:
                machine.write(options.out, results)
    print_table(results)
    return results


if __name__ == "__main__":
    main()
