"""Where the public datasets are, and how they are fetched: the only place that uses a network."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mnistc.datasets import files
from mnistc.errors import FormatError

TIMEOUT = 20.0  # seconds without a byte
PROBE_TIMEOUT = 3.0  # seconds to find out that there is no network
_CHUNK = 1 << 16

__all__ = ["SOURCES", "Source", "data_folder", "fetch_file", "fetch_missing", "is_online"]


@dataclass(frozen=True)
class Source:
    """Files of a dataset and the mirrors that have them all.

    Attributes
    ----------
    mirrors : tuple of str
        Addresses that a file's name is appended to.
    max_bytes : dict of str to int
        The files, and the most that each may weigh.
    sha256 : dict of str to str
        Of the uncompressed bytes; where it is known.
    md5 : dict of str to str
        Of the file as published; where nothing better is known.
    """

    mirrors: tuple[str, ...]
    max_bytes: dict[str, int]
    sha256: dict[str, str] = field(default_factory=dict)
    md5: dict[str, str] = field(default_factory=dict)


IDX_FILES = {
    "train-images-idx3-ubyte.gz": 1 << 25,
    "train-labels-idx1-ubyte.gz": 1 << 20,
    "t10k-images-idx3-ubyte.gz": 1 << 23,
    "t10k-labels-idx1-ubyte.gz": 1 << 20,
}

SOURCES = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        max_bytes=IDX_FILES,
        sha256={
            "train-images-idx3-ubyte.gz": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte.gz": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        },
    ),
    "fashion_mnist": Source(
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        max_bytes=IDX_FILES,
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "pendigits": Source(
        mirrors=("https://archive.ics.uci.edu/static/public/81/",),
        max_bytes={"pen+based+recognition+of+handwritten+digits.zip": 1 << 25},
    ),
}


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder of all datasets: `data_dir`, else ``MNISTC_DATA``, else the user's cache."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    if os.environ.get("MNISTC_DATA"):
        return Path(os.environ["MNISTC_DATA"]).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("mnistc")


def fetch_missing(name: str, folder: Path) -> None:
    """Fetch the files of a dataset that `folder` lacks, checked, each written at once or not.

    Raises
    ------
    OSError
        If no mirror could be reached, or the folder cannot be written to.
    """
    source = SOURCES[name]
    for file in source.max_bytes:
        if not (folder / file).exists():
            files.keep(folder / file, fetch_file(source, file))


def fetch_file(source: Source, file: str) -> bytes:
    """One file from the first mirror that has it whole and unaltered."""
    from http.client import HTTPException
    from urllib.parse import urlsplit

    problems = []
    for mirror in source.mirrors:
        try:
            data = _get(mirror + file, source.max_bytes[file])
            _check(data, source, file)
            return data
        # What speaks no HTTP, such as a page that wants a login, or breaks off: no OSErrors.
        except (OSError, ValueError, HTTPException) as error:
            problems.append(f"{urlsplit(mirror).hostname}: {error}")
    raise ConnectionError(f"cannot download {file} ({'; '.join(problems)})")


def is_online(name: str, timeout: float = PROBE_TIMEOUT) -> bool:
    """Whether any mirror of a dataset answers within `timeout` seconds, name look-up included."""
    import urllib.request
    from http.client import HTTPException

    source = SOURCES[name]
    file = next(iter(source.max_bytes))
    pending = len(source.mirrors)
    decided, online = threading.Condition(), False

    def probe(url: str) -> None:
        nonlocal pending, online
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=timeout):
                answered = True
        except (OSError, ValueError, HTTPException):
            answered = False
        with decided:
            pending -= 1
            online |= answered
            decided.notify()

    for mirror in source.mirrors:
        threading.Thread(target=probe, args=(mirror + file,), daemon=True).start()
    with decided:
        decided.wait_for(lambda: online or pending == 0, timeout)
        return online


def _get(url: str, limit: int) -> bytes:
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "mnistc"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        declared = int(response.headers.get("Content-Length") or 0)
        data = bytearray()
        with _progress(url.rsplit("/", 1)[-1], declared) as advance:
            while chunk := response.read(_CHUNK):
                data += chunk
                advance(len(chunk))
                if len(data) > limit:
                    raise FormatError(f"oversized, more than {limit:,} bytes")
    if declared and len(data) != declared:
        raise FormatError(f"truncated, {len(data):,} of {declared:,} bytes")
    return bytes(data)


def _check(data: bytes, source: Source, file: str) -> None:
    if file in source.sha256:
        got = hashlib.sha256(files.decompress(data, 1 << 28, file)).hexdigest()
        if got != source.sha256[file]:
            raise FormatError(f"sha256 of the uncompressed bytes is {got}, not the published one")
    if file in source.md5:
        got = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if got != source.md5[file]:
            raise FormatError(f"md5 is {got}, not the published one")


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, only where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total or None)
        yield lambda n: bar.advance(task, n)
