"""Checkpoints: everything that a training needs to go on as if it had never stopped.

One .npz file with the weights, the running statistics, the optimiser's moments, the averages,
the callbacks' arrays, and a JSON text with the rest. Random numbers are functions of seed, epoch
and step, so those three numbers are the whole state of the random generator.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnistc.errors import FormatError
from mnistc.formats.files import write_atomic

if TYPE_CHECKING:
    from mnistc.callbacks import Callback
    from mnistc.training import Plan, Run

_VERSION = 1
_LARGEST = 1 << 32  # bytes of one array

Arrays = dict[str, npt.NDArray[Any]]


def fingerprint(plan: Plan, model: Any) -> dict[str, Any]:
    """All that must be the same for a resumed training, as JSON-ready values."""
    values = {
        "layers": [layer.config() for layer in model.layers],
        "input_shape": list(model.input_shape),
        "images": len(plan.x),
        "data": _hash(plan.x, plan.targets),
        "sample_weight": None if plan.sample_weight is None else _hash(plan.sample_weight),
        "batch_size": plan.batch_size,
        "optimizer": plan.optimizer.config(),
        "schedule": plan.schedule.config(),
        "loss": plan.loss,
        "label_smoothing": plan.label_smoothing,
        "ema": plan.ema,
        "augment": plan.augment,
        "shuffle": plan.shuffle,
        "seed": plan.seed,
        "precision": plan.precision,
    }
    if plan.schedule.name not in ("constant", "step"):  # these do not depend on the end
        values["epochs"] = plan.epochs
    return dict(json.loads(json.dumps(values, default=_plain)))


def _plain(value: Any) -> Any:
    """NumPy numbers, as JSON knows them."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _hash(*arrays: npt.NDArray[Any]) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(array.data.cast("B"), value)
    return value


def write_checkpoint(path: Path, run: Run, identity: dict[str, Any]) -> None:
    """Write the state of `run`, atomically; `identity` is the training's `fingerprint`."""
    network = run.model.core
    arrays: Arrays = {"parameters": network.parameters, "state": network.state}
    trainer = _split(run.trainer.state_dict(), "trainer", arrays)
    callbacks = [
        [type(callback).__name__, _split(callback.state_dict(), f"callback{index}", arrays)]
        for index, callback in enumerate(run.callbacks)
    ]
    text = json.dumps(
        {
            "version": _VERSION,
            "fingerprint": identity,
            "epoch": run.epoch,
            "first_step": run.first_step,
            "loss_sum": run.loss_sum,
            "right": run.right,
            "seconds": run.seconds,
            "stop": run.stop,
            "history": run.history.epochs,
            "trainer": trainer,
            "callbacks": callbacks,
        },
        default=_plain,
    )
    arrays["json"] = np.frombuffer(text.encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_atomic(path, file.getvalue())


def resume(path: str | os.PathLike[str], run: Run) -> None:
    """Bring `run` to where the checkpoint left off.

    Raises
    ------
    FileNotFoundError
    FormatError
        If the file is no whole checkpoint.
    ValueError
        If it is one of another training; the message names the first difference.
    """
    arrays = _read_npz(Path(path))
    try:
        meta = json.loads(arrays.pop("json").tobytes())
        version, run.fingerprint = meta["version"], dict(meta["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} is not a whole checkpoint: {error!r}") from None
    if version != _VERSION:
        raise FormatError(f"{path}: checkpoint version {version!r}, wanted {_VERSION}")
    _compare(run.fingerprint, fingerprint(run.plan, run.model), path)
    network = run.model.core
    try:
        for name, view in (("parameters", network.parameters), ("state", network.state)):
            if arrays[name].shape != view.shape or arrays[name].dtype != view.dtype:
                raise FormatError(f"{path}: {name} has shape {arrays[name].shape}")
        run.trainer.load_state_dict(_join(meta["trainer"], "trainer", arrays))
        run.epoch, run.first_step = int(meta["epoch"]), int(meta["first_step"])
        run.loss_sum, run.right = float(meta["loss_sum"]), int(meta["right"])
        run.seconds, run.stop = float(meta["seconds"]), bool(meta["stop"])
        for epoch in meta["history"]:
            run.history.append(epoch)
        _resume_callbacks(run.callbacks, meta["callbacks"], arrays)
    except FormatError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{path} is not a whole checkpoint: {error!r}") from None
    run.restore((arrays["parameters"], arrays["state"]))  # last: what is refused changes nothing
    run.resumed = True


def _resume_callbacks(callbacks: list[Callback], states: list[Any], arrays: Arrays) -> None:
    """Give callbacks their states; others may have come, or gone, between those of a kind."""
    saved: dict[str, list[dict[str, Any]]] = {}
    for index, (kind, state) in enumerate(states):
        saved.setdefault(kind, []).append(_join(state, f"callback{index}", arrays))
    for callback in callbacks:
        found = saved.get(type(callback).__name__)
        if found:
            callback.load_state_dict(found.pop(0))


def _compare(saved: dict[str, Any], wanted: dict[str, Any], path: str | os.PathLike[str]) -> None:
    for name in {**wanted, **saved}:
        if saved.get(name) != wanted.get(name):
            raise ValueError(
                f"resume: {path} belongs to a training with {name} {saved.get(name)!r}, "
                f"this one has {wanted.get(name)!r}"
            )


def _split(state: dict[str, Any], prefix: str, arrays: Arrays) -> dict[str, Any]:
    """Move the arrays of `state` to `arrays`, under names with `prefix`; returns the rest."""
    rest = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:  # it could never be read again, nor the rest of the file
                raise TypeError(
                    f"state_dict must hold arrays of numbers or strings, got {value.dtype} {name!r}"
                )
            arrays[f"{prefix}.{name}"] = value
        else:
            rest[name] = value.item() if isinstance(value, np.generic) else value
    return rest


def _join(rest: dict[str, Any], prefix: str, arrays: Arrays) -> dict[str, Any]:
    start = f"{prefix}."
    found = {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}
    return {**rest, **found}


def _read_npz(path: Path) -> Arrays:
    """Arrays of an uncompressed .npz file; no array is larger than the file it comes from."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > _LARGEST:
                    raise FormatError(f"{path} is not a checkpoint: {info.filename}")
                with archive.open(info) as member:
                    version = np.lib.format.read_magic(member)
                    read = {
                        (1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0,
                    }[version]
                    shape, fortran, dtype = read(member)
                    count = int(np.prod([int(n) for n in shape], dtype=object))
                    if dtype.hasobject or count * dtype.itemsize > info.file_size:
                        raise FormatError(f"{path} is not a checkpoint: {info.filename}")
                    # A bytearray, so that callbacks may go on writing into their arrays.
                    data = bytearray(member.read(count * dtype.itemsize))
                    array = np.frombuffer(data, dtype=dtype, count=count)
                    array = array.reshape(shape, order="F" if fortran else "C")
                    arrays[info.filename.removesuffix(".npy")] = array
    except FormatError:
        raise
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, RuntimeError) as error:
        if isinstance(error, (FileNotFoundError, IsADirectoryError, PermissionError)):
            raise
        raise FormatError(f"{path} is not a whole checkpoint: {error}") from None
    return arrays
