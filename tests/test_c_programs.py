"""The C tests, built with AddressSanitizer and UndefinedBehaviorSanitizer where there are any."""

import ast
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
COMPILER = shutil.which(os.environ.get("CC", "cc").split()[0])
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-ffp-contract=off", "-fno-trapping-math"]
FLAGS += ["-Wall", "-Wextra", "-pthread", f"-I{ROOT / 'csrc'}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def kernel_flags() -> dict[str, list[str]]:
    """Flags of the kernel files, as setup.py has them."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return {}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "KERNEL_FLAGS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no KERNEL_FLAGS")


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def core(tmp_path_factory) -> tuple[list[str], list[Path]]:
    """Flags to link with, and the object files of the whole core."""
    folder = tmp_path_factory.mktemp("core")
    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    probe = subprocess.run([COMPILER, *SANITIZERS, empty, "-o", folder / "empty"])
    flags = FLAGS + (SANITIZERS if probe.returncode == 0 else [])
    extra = kernel_flags()

    def build(source: Path) -> Path:
        name = source.relative_to(ROOT / "csrc").as_posix()
        target = folder / (name.replace("/", "_") + ".o")
        run(COMPILER, *flags, *extra.get(name, []), "-c", source, "-o", target)
        return target

    sources = sorted((ROOT / "csrc").rglob("*.c"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return flags, list(pool.map(build, sources))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program(program, core, tmp_path):
    flags, objects = core
    run(COMPILER, *flags, program, *objects, "-lm", "-o", tmp_path / program.stem)
    run(tmp_path / program.stem)
