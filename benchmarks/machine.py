"""What a result needs to be judged by: the machine, the versions, the load, and JSON files."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = [
    "mnistc",
    "numpy",
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "jaxlib",
    "scikit-learn",
    "onnxruntime",
    "onnx",
    "matplotlib",
]
FLAGS = [
    "sse2",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "asimd",
]
RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """CPU, caches, memory and system; nothing that names the machine's owner."""
    fields = _cpu_fields()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "family_model": f"{fields.get('cpu family', '?')}/{fields.get('model', '?')}",
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "flags": [flag for flag in FLAGS if flag in flags],
        "virtual": "hypervisor" in flags,
        "caches": _caches(),
        "memory_gib": round(_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Installed versions of mnistc and its peers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "mnistc" not in found:
        import mnistc

        found["mnistc"] = mnistc.__version__
    return found


def load() -> float | None:
    """Processes that wanted a CPU in the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def stolen() -> float:
    """CPU seconds that the host of a virtual machine gave to others, since boot."""
    try:
        return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def read(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one if there is none."""
    path = Path(path)
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def write(path: str | Path, result: dict[str, Any]) -> None:
    """Write JSON at once or not at all, one list of numbers a line."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=path.name, suffix=".tmp", delete=False
    ) as file:
        file.write(_dump(result) + "\n")
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def _dump(value: Any, indent: str = "") -> str:
    """JSON, indented down to the objects and lists that hold only plain values."""
    inner = indent + "  "
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        items = [f"{inner}{json.dumps(k)}: {_dump(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        return "[\n" + ",\n".join(inner + _dump(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def _cpu_fields() -> dict[str, str]:
    """Fields of the first CPU in /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        brand = _output("sysctl", "-n", "machdep.cpu.brand_string")
        return {"model name": brand} if brand else {}
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (index / name).read_text().strip() for name in ("level", "type", "size")
        )
        found[f"L{level} {kind.lower()}"] = size
    return found


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
