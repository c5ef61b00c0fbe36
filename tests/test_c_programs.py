"""The C tests, built with sanitizers where there are any, and kernels that this CPU lacks emulated.

Everything runs under AddressSanitizer and UndefinedBehaviorSanitizer; what uses threads also under
ThreadSanitizer. AVX-512 comes from SIMDe, its BF16 and AMX from plain C beside it, NEON from a
cross compiler and QEMU.
"""

import ast
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "csrc").rglob("*.c"))
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
COMPILER = shutil.which(os.environ.get("CC", "cc").split()[0])
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g1", "-ffp-contract=off", "-fno-trapping-math"]
FLAGS += ["-Wall", "-Wextra", "-pthread", f"-I{ROOT / 'csrc'}"]
FLAGS += [f"-I{ROOT / 'tests' / 'c'}"]
SANITIZERS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}
WITH_THREADS = ("test_threads", "test_network")
BF16_TEST = ROOT / "tests" / "c" / "test_bf16.c"
KERNEL_TEST = ROOT / "tests" / "c" / "test_kernels.c"
EMULATED = {"avx512": KERNEL_TEST, "avx512bf16": BF16_TEST, "amx": BF16_TEST}
SHIM = ROOT / "tests" / "c" / "simde"
# What tells the compiler that it has the instructions of the tables. Unoptimised they are slow to
# run, but optimising them takes minutes.
EMULATED_FLAGS = ["-w", "-O0", f"-I{SHIM}", "-D__AVX512BF16__", "-D__AMX_BF16__"]
EMULATED_FLAGS += ["-DSIMDE_X86_AVX512BF16_NO_NATIVE"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def kernel_flags() -> dict[str, list[str]]:
    """Flags of the kernel files, as setup.py has them."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return {}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "KERNEL_FLAGS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no KERNEL_FLAGS")


def run(*command: str | Path, **options: object) -> None:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def works(compiler: str, folder: Path, *flags: str) -> bool:
    """Whether a program can be built with these flags, and run."""
    source, program = folder / "empty.c", folder / "empty"
    source.write_text("int main(void) { return 0; }\n")
    command = [compiler, *flags, str(source), "-o", str(program)]
    if subprocess.run(command, capture_output=True).returncode:
        return False
    return subprocess.run([program], capture_output=True).returncode == 0


def sanitizer(folder: Path, name: str) -> list[str]:
    """Flags of a sanitizer, none where it does not work."""
    return SANITIZERS[name] * works(COMPILER, folder, *SANITIZERS[name])


def build_objects(
    folder: Path,
    flags: list[str],
    sources: list[Path],
    compiler: str | None = COMPILER,
    extra: dict[str, list[str]] | None = None,
) -> list[Path]:
    """Object files of sources; `extra` flags by a file's place in csrc."""

    def build(source: Path) -> Path:
        name = source.name if source.parent == PROGRAMS[0].parent else place(source)
        target = folder / (name.replace("/", "_") + ".o")
        run(compiler, *flags, *(extra or {}).get(name, []), "-c", source, "-o", target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(build, sources))


def place(source: Path) -> str:
    return source.relative_to(ROOT / "csrc").as_posix()


def build_core(folder: Path, flags: list[str]) -> list[Path]:
    """Object files of the whole core."""
    return build_objects(folder, flags, CORE, extra=kernel_flags())


@pytest.fixture(scope="session")
def core(tmp_path_factory) -> tuple[list[str], list[Path]]:
    """Flags to link with, and the object files of the whole core."""
    folder = tmp_path_factory.mktemp("core")
    flags = FLAGS + sanitizer(folder, "address")
    return flags, build_core(folder, flags)


@pytest.fixture(scope="session")
def threaded_core(tmp_path_factory) -> tuple[list[str], list[Path]]:
    folder = tmp_path_factory.mktemp("threaded_core")
    if not works(COMPILER, folder, *SANITIZERS["thread"]):
        pytest.skip("no ThreadSanitizer here")
    flags = FLAGS + SANITIZERS["thread"]
    return flags, build_core(folder, flags)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program(program, core, tmp_path):
    flags, objects = core
    run(COMPILER, *flags, program, *objects, "-lm", "-o", tmp_path / program.stem)
    run(tmp_path / program.stem)


@pytest.mark.parametrize("name", WITH_THREADS)
def test_data_races(name, threaded_core, tmp_path):
    flags, objects = threaded_core
    program = ROOT / "tests" / "c" / f"{name}.c"
    run(COMPILER, *flags, program, *objects, "-lm", "-o", tmp_path / name)
    run(tmp_path / name, env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"})


@pytest.fixture(scope="session")
def emulated_core(tmp_path_factory) -> tuple[list[str], list[Path]]:
    """As `core`, with the tables of AVX-512 intrinsic by intrinsic in plain C."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        pytest.skip("these kernels are for x86-64")
    if not Path("/usr/include/simde/x86/avx512.h").exists():
        pytest.skip("no SIMDe (libsimde-dev) here")
    folder = tmp_path_factory.mktemp("emulated_core")
    flags = [*FLAGS, *EMULATED_FLAGS, *sanitizer(folder, "address")]
    left_out = {"kernels/baseline.c", "kernels/avx2.c", "kernels/neon.c", "cpu.c", "strokes.c"}
    return flags, build_objects(folder, flags, [s for s in CORE if place(s) not in left_out])


@pytest.mark.parametrize("table", EMULATED)
def test_emulated_kernels(table, emulated_core, tmp_path):
    """Kernels that this CPU may lack."""
    flags, objects = emulated_core
    flags = [*flags, f"-DMC_EMULATED=mc_kernels_{table}"]
    run(COMPILER, *flags, EMULATED[table], *objects, "-lm", "-o", tmp_path / table)
    run(tmp_path / table)


def test_emulated_neon(tmp_path):
    """The arm64 tables, built by a cross compiler and run by QEMU."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("no aarch64-linux-gnu-gcc and qemu-aarch64 here")
    flags = [*(flag for flag in FLAGS if flag != "-O1"), "-O2", "-static"]
    objects = build_objects(tmp_path, flags, [KERNEL_TEST, *CORE], compiler)
    run(compiler, *flags, *objects, "-lm", "-o", tmp_path / "neon")
    run(emulator, tmp_path / "neon")
