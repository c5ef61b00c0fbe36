"""Build of the C core: two thin Cython modules over csrc/.

Each kernel file is compiled with the flags of its own instruction set and chosen at load time
(csrc/cpu.c), so one wheel runs on every CPU of its architecture. Everything else about the
package is in pyproject.toml.
"""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

X86 = platform.machine().lower() in {"x86_64", "amd64"} and "arm64" not in os.environ.get(
    "ARCHFLAGS", ""
)

# Sources of each extension module, below csrc/.
SOURCES = {
    "_core": [
        "net.c",
        "forward.c",
        "winograd.c",
        "backward.c",
        "predict.c",
        "sparse.c",
        "trainer.c",
        "train.c",
        "mlp.c",
        "panels.c",
        "bf16.c",
        "norm.c",
        "optim.c",
        "threads.c",
        "cpu.c",
        "augment.c",
        "rng.c",
        "kernels/ref.c",
        "kernels/baseline.c",
        "kernels/avx2.c",
        "kernels/avx512.c",
        "kernels/avx512bf16.c",
        "kernels/amx.c",
        "kernels/neon.c",
    ],
    "_strokes": ["strokes.c"],
}

# Flags of the kernel files; a file not named here takes the compiler's default for the target.
# -mtune changes no value: without it GCC keeps addresses in vector registers with AVX-512, and an
# address that comes from there waits behind all products before it.
KERNEL_FLAGS = {
    "kernels/avx2.c": ["-mavx2", "-mfma", "-mbmi"],
    "kernels/avx512.c": [
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mfma",
        "-mbmi",
        "-mtune=skylake-avx512",
        "-mprefer-vector-width=512",
    ],
    "kernels/avx512bf16.c": [
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mfma",
        "-mbmi",
        "-mtune=skylake-avx512",
        "-mprefer-vector-width=512",
        "-mavx512bf16",
    ],
    "kernels/amx.c": [
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mfma",
        "-mbmi",
        "-mtune=skylake-avx512",
        "-mprefer-vector-width=512",
        "-mavx512bf16",
        "-mamx-tile",
        "-mamx-bf16",
    ],
}
# A compiler that does not know their flags leaves these empty, and their tables out.
OPTIONAL = {"kernels/avx512bf16.c", "kernels/amx.c"}

# No -march=native and no -ffast-math: a result may depend on the kernel table, never on the
# machine that built the wheel. Contraction is written out (FMA intrinsics), so it is off here.
# -fno-trapping-math changes no value: it lets GCC vectorise loops with comparisons, as Clang does.
COMMON_FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# -g1: lines for tracebacks and profiles. Following variables takes most of a compilation.
COMMON_FLAGS += ["-fvisibility=hidden", "-g1"]
if os.environ.get("MNISTC_WERROR"):
    COMMON_FLAGS += ["-Wall", "-Wextra", "-Werror"]
COMMON_FLAGS += os.environ.get("MNISTC_CFLAGS", "").split()


class BuildExt(build_ext):
    """Compile the kernel files side by side, each with its own flags."""

    def accepts(self, flags: list[str]) -> bool:
        """Whether the compiler knows these flags."""
        source = Path(self.build_temp) / "empty.c"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text("int mc_empty;\n")
        try:
            self.compiler.compile([str(source)], output_dir=self.build_temp, extra_postargs=flags)
        except CompileError:
            return False
        return True

    def build_extension(self, ext: Extension) -> None:
        kernels = [s for s in ext.sources if "kernels" in Path(s).parts]
        ext.sources = [s for s in ext.sources if s not in kernels]

        flags = {}
        for source in kernels:
            name = source.removeprefix("csrc/")
            wanted = KERNEL_FLAGS.get(name, []) if X86 else []
            flags[source] = [] if name in OPTIONAL and not self.accepts(wanted) else wanted

        def build(source: str) -> list[str]:
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                # Python's own flags may say -fwrapv: then loops over int have no known length.
                extra_postargs=[*COMMON_FLAGS, "-fno-wrapv", *flags[source]],
                depends=ext.depends,
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for objects in pool.map(build, kernels):
                ext.extra_objects += objects
        super().build_extension(ext)


def extension(name: str, sources: list[str]) -> Extension:
    pyx = Path("mnistc") / f"{name}.pyx"
    return Extension(
        f"mnistc.{name}",
        [str(pyx), *(f"csrc/{source}" for source in sources)],
        include_dirs=["csrc", numpy.get_include()],
        depends=[str(p) for p in Path("csrc").rglob("*.h")],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("_GNU_SOURCE", "1")],
        extra_compile_args=[*COMMON_FLAGS, "-pthread"],
        # The generated C is not ours: its warnings are not errors.
        extra_link_args=["-pthread", "-lm"] if sys.platform != "win32" else [],
    )


extensions = [
    extension(name, sources)
    for name, sources in SOURCES.items()
    if (Path("mnistc") / f"{name}.pyx").exists()
]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "embedsignature": True,
        },
    ),
    cmdclass={"build_ext": BuildExt},
    packages=[*find_packages(include=["mnistc", "mnistc.*"]), "mnistc.weights"],
    package_dir={"mnistc.weights": "weights"},
    package_data={
        "mnistc": ["py.typed", "*.pyi"],
        "mnistc.formats": ["*.json"],
        "mnistc.weights": ["*.json", "*.md"],
        "mnistc.widget": ["package.json", "dist/*", "dist/**/*"],
    },
    include_package_data=False,
    zip_safe=False,
)
