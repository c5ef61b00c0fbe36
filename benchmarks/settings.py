"""Who is measured at which work, and at which settings: each peer gets several, the best counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from works import Work

# Environment that keeps every peer to one instruction set (those that can be kept).
LIMITS: dict[str, dict[str, str]] = {
    "avx2": {
        "MNISTC_KERNELS": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # PyTorch, TensorFlow
        "DNNL_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",  # NumPy, SciPy, scikit-learn
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",  # JAX, TensorFlow's jit
    },
    "avx512": {
        "MNISTC_KERNELS": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "DNNL_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX512",
    },
}
UNLIMITED = {"avx2": ["ONNX Runtime (MLAS has no such switch)", "Eigen inside TensorFlow"]}


@dataclass(frozen=True)
class Setting:
    """One way to run one peer.

    Attributes
    ----------
    peer : str
        Name of the peer as the table has it.
    label : str
        What is particular about this setting.
    runner : str
        Module below runners/.
    module : str
        What has to be installed.
    works : tuple of str
        Names of the works that it takes part in.
    threads : int
        0: as many as the run has; 1 where one thread is tried as a better setting.
    """

    peer: str
    label: str
    runner: str
    module: str
    works: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 0

    @property
    def name(self) -> str:
        return f"{self.peer} ({self.label})" if self.label else self.peer

    def takes(self, work: Work, threads: int) -> bool:
        if self.threads and self.threads >= threads:
            return False  # the same as the setting with all threads
        return work.name in self.works


TRAIN = ("mlp", "cnn", "lenet")
LATENCY, THROUGHPUT = ("latency-mlp", "latency-cnn"), ("throughput-mlp", "throughput-cnn")
INFERENCE = LATENCY + THROUGHPUT
KERAS_TF = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
KERAS_JAX = {"KERAS_BACKEND": "jax"}
ONE_BLAS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
NHWC, COMPILED = {"channels_last": True}, {"compile": True}
BOTH = {**NHWC, **COMPILED}


def _torch(label: str, works: tuple[str, ...], options: dict | None = None, **more) -> Setting:
    return Setting("PyTorch", label, "torch_runner", "torch", works, options or {}, **more)


def _keras(peer: str, label: str, works: tuple[str, ...], options: dict, **more) -> Setting:
    module = "tensorflow" if more["environment"] is KERAS_TF else "jax"
    return Setting(peer, label, "keras_runner", module, works, options, **more)


def _tensorflow(label: str, works: tuple[str, ...], options: dict, **more) -> Setting:
    return _keras("TensorFlow", label, works, options, environment=KERAS_TF, **more)


def _onnx(label: str, works: tuple[str, ...], options: dict | None = None, **more) -> Setting:
    return Setting(
        "ONNX Runtime", label, "onnx_runner", "onnxruntime", works, options or {}, **more
    )


SETTINGS: list[Setting] = [
    Setting("mnistc", "", "mnistc_runner", "mnistc", (*TRAIN, "cnn-bf16", *INFERENCE)),
    # Training
    _torch("eager", ("mlp", "lenet")),
    _torch("eager, 1 thread", ("mlp",), threads=1),
    _torch("eager, channels last", ("cnn", "lenet", "cnn-bf16"), NHWC),
    _torch("compiled", ("mlp",), COMPILED),
    _torch("compiled, 1 thread", ("mlp",), COMPILED, threads=1),
    _torch("compiled, channels last", ("cnn", "lenet", "cnn-bf16"), BOTH),
    _tensorflow("Keras fit", (*TRAIN, "cnn-bf16"), {"steps_per_execution": 100}),
    _tensorflow("Keras fit, XLA", ("mlp", "lenet"), {"steps_per_execution": 100, "jit": True}),
    _tensorflow("epoch as one function", (*TRAIN, "cnn-bf16"), {"loop": "function"}),
    _tensorflow("epoch as one function, XLA", ("mlp",), {"loop": "function", "jit": True}),
    _keras(
        "Keras on JAX",
        "fit",
        TRAIN,
        {"steps_per_execution": 10, "jit": True},
        environment=KERAS_JAX,
    ),
    # XLA's gradients of convolutions take minutes an epoch on a CPU inside a scan.
    Setting("JAX", "scan", "jax_runner", "jax", ("mlp",)),
    Setting("JAX", "scan, unrolled by 4", "jax_runner", "jax", ("mlp",), {"unroll": 4}),
    Setting("scikit-learn", "", "sklearn_runner", "sklearn", ("mlp",)),
    Setting(
        "scikit-learn",
        "1 thread",
        "sklearn_runner",
        "sklearn",
        ("mlp",),
        environment=ONE_BLAS,
        threads=1,
    ),
    # Inference
    _onnx("1 thread", LATENCY, threads=1),
    _onnx("", LATENCY),
    _onnx("by 1000", THROUGHPUT),
    _onnx("by 100", THROUGHPUT, {"chunk": 100}),
    _onnx("by 10,000", ("throughput-mlp",), {"chunk": 10_000}),
    _torch("eager, 1 thread", LATENCY, threads=1),
    _torch("frozen script, 1 thread", LATENCY, {"script": True}, threads=1),
    _torch("compiled, 1 thread", LATENCY, COMPILED, threads=1),
    _torch("eager, channels last", ("throughput-mlp", "throughput-cnn"), NHWC),
    _torch("compiled, channels last", THROUGHPUT, BOTH),
    _tensorflow("function", INFERENCE, {}),
    _tensorflow("function, XLA", ("latency-mlp", "throughput-cnn"), {"jit": True}),
    Setting("JAX", "jit", "jax_runner", "jax", INFERENCE),
    Setting("scikit-learn", "", "sklearn_runner", "sklearn", ("latency-mlp", "throughput-mlp")),
]
