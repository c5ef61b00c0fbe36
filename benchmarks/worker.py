"""One peer at one setting in a process of its own: prepares, says so, and runs when told.

Started by peers.py with a JSON object as its argument; answers in JSON lines. Standard output
is kept for those: whatever libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Seconds. What takes less runs once untimed before: the others have emptied the caches, and a
# virtual machine has to find its memory again after a rest, which took 40 ms on one of them.
SHORT_RUN = 1.0

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # a built checkout, where mnistc is not installed


def limit_cpus(threads: int) -> None:
    """Keep to so many CPUs: the only limit that every library obeys."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if threads < len(allowed):
            os.sched_setaffinity(0, allowed[:threads])


def clock(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(order: dict) -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(**values: object) -> None:
        replies.write(json.dumps(values) + "\n")
        replies.flush()

    limit_cpus(order["threads"])
    began = time.perf_counter()
    try:
        importlib.import_module(order["module"])
        runners = importlib.import_module(f"runners.{order['runner']}")
    except ImportError as error:
        return reply(missing=str(error))
    try:
        from works import WORKS, Data

        work = WORKS[order["work"]].shrunk(order["shrink"])
        data = Data.open(order["data"])
        runner = runners.Runner(work, data, order["threads"], order["options"])
        run = getattr(runner, work.kind)
        run()  # compiles, fills caches
        seconds = clock(run)
    except Exception as error:
        import traceback

        traceback.print_exc()
        return reply(failed=f"{type(error).__name__}: {str(error).splitlines()[:1]}")
    reply(ready=time.perf_counter() - began, detail=runner.detail())
    for line in sys.stdin:
        if line.strip() == "run":
            if work.kind != "train" or seconds < SHORT_RUN:
                run()
            seconds = clock(run)
            reply(seconds=seconds)
        elif line.strip() == "accuracy":
            reply(accuracy=runner.accuracy() if work.kind == "train" else None)
    return None


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        main(json.loads(sys.argv[1]))
