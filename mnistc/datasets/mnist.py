"""MNIST and Fashion-MNIST from their four IDX files."""

from __future__ import annotations

from pathlib import Path

from mnistc.datasets.dataset import DIGITS, Dataset
from mnistc.datasets.idx import read_idx_hashed
from mnistc.datasets.sources import IDX_FILES, SOURCES
from mnistc.errors import FormatError

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASS_NAMES = {"mnist": DIGITS, "fashion_mnist": FASHION}
SIZES = (60000, 10000)

__all__ = ["CLASS_NAMES", "find", "load"]


def find(name: str, data_dir: Path) -> list[Path] | None:
    """Paths of the four files, gzipped or not, in `data_dir`/`name` or `data_dir` itself."""
    # Other datasets have files of the same names: only MNIST may lie in the folder itself.
    folders = [data_dir / name, data_dir / name.replace("_", "-")]
    if name == "mnist":
        folders += [data_dir / "MNIST" / "raw", data_dir]
    for folder in folders:
        found = [path for path in (_existing(folder, file) for file in IDX_FILES) if path]
        if len(found) == len(IDX_FILES):
            return found
    return None


def _existing(folder: Path, file: str) -> Path | None:
    """The file as published or unpacked; some unpack ``-idx`` to ``.idx``."""
    plain = file.removesuffix(".gz")
    names = (file, plain, file.replace("-idx", ".idx"), plain.replace("-idx", ".idx"))
    # Kaggle's archive has folders of these names beside its files.
    return next((folder / name for name in names if (folder / name).is_file()), None)


def load(name: str, paths: list[Path]) -> tuple[Dataset, Dataset]:
    """Read the four files and check that they are the published ones.

    The check is on the uncompressed bytes: gzip files of the same data differ. For Fashion-MNIST
    no such checksum is published; there the sizes are checked, and a download by its MD5.
    """
    parts = []
    for part, size in enumerate(SIZES):
        sha256 = {}
        arrays = []
        for path, ndim in zip(paths[2 * part : 2 * part + 2], (3, 1), strict=True):
            array, digest = read_idx_hashed(path, ndim)
            file = path.name.removesuffix(".gz").replace(".idx", "-idx")
            shape = (size, 28, 28)[:ndim]
            if array.shape != shape:
                raise FormatError(f"{path}: holds {array.shape}, {name} has {shape}")
            wanted = SOURCES[name].sha256.get(file + ".gz", digest)
            if digest != wanted:
                raise FormatError(f"{path}: not the published {name} (sha256 {digest})")
            sha256[file] = digest
            arrays.append(array)
        parts.append(Dataset(arrays[0], arrays[1], CLASS_NAMES[name], name, sha256))
    return parts[0], parts[1]
