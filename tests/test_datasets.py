"""Loading datasets by name, by path and from a network that is not there."""

import gzip
import hashlib
import io
import os
import struct
import threading
import zipfile
from http.client import BadStatusLine, IncompleteRead, LineTooLong

import numpy as np
import pytest

from mnistc import FormatError, datasets
from mnistc.datasets import files, idx, mnist, pendigits, sources, synthetic

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 28, 28), np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10
DATA = os.environ.get("MNISTC_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="MNISTC_DATA is not set")


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + np.asarray(array, np.uint8).tobytes()


def write_folder(folder, packed=True, words=("train", "t10k"), n=(12, 12)):
    folder.mkdir(parents=True, exist_ok=True)
    for word, count in zip(words, n, strict=True):
        for kind, array in (("images-idx3", IMAGES[:count]), ("labels-idx1", LABELS[:count])):
            data = idx_bytes(array)
            name = f"{word}-{kind}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.fixture
def small_mnist(monkeypatch):
    """MNIST of twelve images, with checksums of its own."""
    digest = {
        name: hashlib.sha256(idx_bytes(IMAGES if "images" in name else LABELS)).hexdigest()
        for name in sources.IDX_FILES
    }
    source = sources.Source(("http://127.0.0.1:9/",), sources.IDX_FILES, digest)
    monkeypatch.setitem(sources.SOURCES, "mnist", source)
    monkeypatch.setattr(mnist, "SIZES", (12, 12))
    return source


# ---- by name ---------------------------------------------------------------------------------


@needs_data
def test_mnist():
    train, test = datasets.load("mnist", DATA, download=False)
    assert train.images.shape == (60000, 28, 28) and test.images.shape == (10000, 28, 28)
    assert train.images.dtype == train.labels.dtype == np.uint8
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert train.class_names == tuple("0123456789") and train.name == "mnist"
    assert train.sha256["train-labels-idx1-ubyte"].startswith("65a50cbb")
    assert datasets.load("auto", DATA, download=False)[0] is train  # read once
    assert train.notice == ""


@needs_data
def test_pendigits():
    train, test = datasets.load("pendigits", DATA, download=False)
    assert (len(train), len(test)) == (5996, 1498)
    data = pendigits.load_strokes(DATA)
    assert len(data) == 7494 and np.unique(data.writers).tolist() == list(range(1, 31))
    assert np.bincount(data.labels).tolist() == [780, 779, 780, 719, 780, 720, 720, 778, 719, 719]
    known, strangers = pendigits.writer_split(data)
    assert set(known.writers).isdisjoint(strangers.writers)
    np.testing.assert_array_equal(strangers.images()[:50], test.images[:50])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["mnist", "."])
def test_layouts(tmp_path, small_mnist, packed, below):
    write_folder(tmp_path / below, packed)
    train, test = datasets.load("mnist", tmp_path)
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(test.labels, LABELS)
    assert len(train.sha256) == 2 and "12 images" in repr(train)


def test_files_named_with_a_dot(tmp_path, small_mnist):
    for path in list(write_folder(tmp_path, packed=False).iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert "train-images-idx3-ubyte" in datasets.load("mnist", tmp_path)[0].sha256


def test_folders_named_like_the_files(tmp_path, small_mnist):
    """As in Kaggle's archive: train-images.idx3-ubyte beside a folder train-images-idx3-ubyte."""
    for path in list(write_folder(tmp_path, packed=False).iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
        path.mkdir()
    np.testing.assert_array_equal(datasets.load("mnist", tmp_path)[0].images, IMAGES)
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].images, IMAGES)


def test_data_dir_is_from_the_environment(tmp_path, small_mnist, monkeypatch):
    monkeypatch.setenv("MNISTC_DATA", str(write_folder(tmp_path)))
    assert len(datasets.load("mnist", download=False)[0]) == 12
    monkeypatch.delenv("MNISTC_DATA")
    assert "mnistc" in str(datasets.data_folder())


def test_arrays_are_read_only(tmp_path, small_mnist):
    train, _ = datasets.load("mnist", write_folder(tmp_path))
    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 0


def test_changed_file_is_read_again(tmp_path, small_mnist):
    write_folder(tmp_path)
    datasets.load("mnist", tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(FormatError, match="wrong magic number"):
        datasets.load("mnist", tmp_path)


def test_other_data_under_the_name_of_mnist(tmp_path, small_mnist):
    write_folder(tmp_path)
    altered = IMAGES.copy()
    altered[3, 3, 3] ^= 1
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(altered)))
    with pytest.raises(FormatError, match="not the published mnist"):
        datasets.load("mnist", tmp_path)


def test_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "SIZES", (12, 10))
    write_folder(tmp_path / "fashion_mnist", n=(12, 10))
    train, test = datasets.load("fashion_mnist", tmp_path)
    assert train.class_names[9] == "Ankle boot" and len(test) == 10
    monkeypatch.setattr(mnist, "SIZES", (60000, 10000))
    with pytest.raises(FormatError, match=r"holds \(12, 28, 28\), fashion_mnist has"):
        mnist.load("fashion_mnist", mnist.find("fashion_mnist", tmp_path))


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match=r"got 'minst', wanted mnist, .* auto or a path"):
        datasets.load("minst", tmp_path)
    with pytest.raises(ValueError, match="got 'synthetic'"):
        datasets.fetch("synthetic")
    with pytest.raises(ValueError, match="got 'letters'"):
        datasets.find("letters", tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        datasets.load(tmp_path / "nothing.csv")


# ---- by path ---------------------------------------------------------------------------------


def test_folder(tmp_path):
    train, test = datasets.load(write_folder(tmp_path, words=("train", "test")))
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(test.labels, LABELS)
    with pytest.raises(FileNotFoundError, match="no IDX file"):
        datasets.load((tmp_path / "empty").mkdir() or tmp_path / "empty")


def test_folder_with_hidden_files(tmp_path):
    """macOS leaves ._train-images-idx3-ubyte on foreign disks, a stopped download its own."""
    for path in list(write_folder(tmp_path).iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
        path.with_name(f".{path.name}.0123.tmp").write_bytes(b"half")
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].images, IMAGES)


def test_idx_file_without_a_test_part(tmp_path):
    write_folder(tmp_path, words=("my", "your"))
    train, test = datasets.load(tmp_path / "my-images-idx3-ubyte.gz")
    assert (len(train), len(test)) == (10, 2)
    np.testing.assert_array_equal(test.images, IMAGES[5::6])
    (tmp_path / "my-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="no file of labels beside it"):
        datasets.load(tmp_path / "my-images-idx3-ubyte.gz")


def test_path_of_no_known_kind(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match=r"what is it\? Wanted .npz, .csv"):
        datasets.load(tmp_path / "a.parquet")


def test_class_names(tmp_path):
    write_folder(tmp_path)
    names = [f"class {i}" for i in range(10)]
    assert datasets.load(tmp_path, class_names=names)[0].class_names == tuple(names)
    with pytest.raises(FormatError, match="label 5 of image 5 is outside the 5 classes"):
        datasets.load(tmp_path, class_names=names[:5])


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:3], y_test=LABELS[:3])
    train, test = datasets.load(path)
    np.testing.assert_array_equal(train.images, IMAGES)
    assert len(test) == 3
    np.savez(path, images=np.asfortranarray(IMAGES[..., None] / 255), labels=LABELS.astype(int))
    train, test = datasets.load(path)
    assert (len(train), len(test)) == (10, 2)
    np.testing.assert_array_equal(test.images, IMAGES[5::6])
    np.savez(path, images=IMAGES > 99, labels=LABELS)
    np.testing.assert_array_equal(
        datasets.load(path)[1].images, np.where(IMAGES[5::6] > 99, 255, 0)
    )


def csv_text(images=IMAGES, labels=LABELS):
    rows = ([label, *image.ravel()] for image, label in zip(images, labels, strict=True))
    return "\n".join(",".join(map(str, row)) for row in rows) + "\n"


def test_csv(tmp_path):
    heading = "label," + ",".join(f"pixel{i}" for i in range(784)) + "\r\n"
    text = heading + csv_text().replace("\n", "\r\n")
    (tmp_path / "mnist_train.csv").write_text(text)
    (tmp_path / "mnist_test.csv.gz").write_bytes(
        gzip.compress(csv_text(IMAGES[:4], LABELS[:4]).encode())
    )
    train, test = datasets.load(tmp_path / "mnist_train.csv")
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(train.labels, LABELS)
    assert len(test) == 4 and len(train.class_names) == 10


@pytest.mark.parametrize("heading", [True, False])
def test_csv_of_a_contest_whose_test_part_has_no_labels(tmp_path, heading):
    """As Kaggle's Digit Recognizer: train.csv beside a test.csv of pixels alone."""
    names = [f"pixel{i}" for i in range(784)]
    head, bare = ",".join(["label", *names]) + "\n", ",".join(names) + "\n"
    rows = "\n".join(",".join(map(str, image.ravel())) for image in IMAGES[:4])
    (tmp_path / "train.csv").write_text(head * heading + csv_text())
    (tmp_path / "test.csv").write_text(bare * heading + rows)
    train, test = datasets.load(tmp_path / "train.csv")
    assert (len(train), len(test)) == (10, 2)
    np.testing.assert_array_equal(test.images, IMAGES[5::6])


def test_csv_with_blanks_and_decimals(tmp_path):
    text = "\ufefflabel,a,b,c,d\n" + '1, 0.0,"255",3,+4\n0,1,2,3,4\n'
    (tmp_path / "a.csv").write_text(text, "utf-8")
    train, test = datasets.load(tmp_path / "a.csv")
    assert train.images.tolist() == [[[0, 255], [3, 4]]]
    assert test.labels.tolist() == [0]


# ---- downloads (never from a network: the fetching is replaced) ------------------------------


class Response(io.BytesIO):
    def __init__(self, data, length=None):
        super().__init__(data)
        self.headers = {"Content-Length": str(len(data) if length is None else length)}


@pytest.fixture
def server(monkeypatch):
    """Answers of mirrors, by the end of the address; else a refused connection."""
    answers = {}

    def urlopen(request, timeout):
        for end, data in answers.items():
            if request.full_url.endswith(end):
                if isinstance(data, Exception):
                    raise data
                return Response(*data) if isinstance(data, tuple) else Response(data)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return answers


def test_download(tmp_path, small_mnist, server):
    for name in sources.IDX_FILES:
        server[name] = gzip.compress(idx_bytes(IMAGES if "images" in name else LABELS))
    train, _ = datasets.load("auto", tmp_path)
    assert train.name == "mnist" and train.notice == ""
    assert sorted(p.name for p in (tmp_path / "mnist").iterdir()) == sorted(sources.IDX_FILES)
    server.clear()
    assert datasets.fetch("mnist", tmp_path)[0].parent == tmp_path / "mnist"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((b"short", 100), "truncated, 5 of 100 bytes"),
        (gzip.compress(idx_bytes(IMAGES[:3])), "sha256 of the uncompressed bytes is"),
        (gzip.compress(b"a" * (1 << 28) + b"aaa"), "oversized"),
        (b"\x1f\x8b damaged", "damaged gzip data"),
    ],
    ids=["truncated", "altered", "bomb", "damaged"],
)
def test_bad_downloads_leave_nothing(tmp_path, small_mnist, server, answer, message):
    server["train-images-idx3-ubyte.gz"] = answer
    with pytest.raises(ConnectionError, match=f"cannot download train-images.*{message}"):
        datasets.load("mnist", tmp_path)
    assert not list(tmp_path.rglob("*gz*"))


def test_oversized_download_is_stopped(tmp_path, server):
    server["a"] = b"12345"
    source = sources.Source(("http://one/", "http://two/"), {"a": 4})
    with pytest.raises(ConnectionError, match=r"one: oversized, more than 4 bytes; two: over"):
        sources.fetch_file(source, "a")


def test_second_mirror_and_md5(server):
    source = sources.Source(
        ("http://one/", "http://two/"), {"a": 9}, md5={"a": hashlib.md5(b"abc").hexdigest()}
    )
    server["two/a"] = b"abc"
    assert sources.fetch_file(source, "a") == b"abc"
    server["two/a"] = b"abd"
    with pytest.raises(ConnectionError, match=r"two: md5 is .*, not the published one"):
        sources.fetch_file(source, "a")


@pytest.mark.parametrize(
    "answer",
    [BadStatusLine("SSH-2.0"), IncompleteRead(b"ab"), LineTooLong("header"), (b"abc", "many")],
    ids=["no-http", "broken-off", "endless", "no-length"],
)
def test_a_mirror_that_speaks_no_http(server, answer):
    source = sources.Source(("http://one/", "http://two/"), {"a": 9})
    server["one/a"], server["two/a"] = answer, b"abc"
    assert sources.fetch_file(source, "a") == b"abc"
    server["two/a"] = answer
    with pytest.raises(ConnectionError, match=r"cannot download a \(one: .*; two: "):
        sources.fetch_file(source, "a")


def test_a_network_that_speaks_no_http_is_none(server, monkeypatch):
    server["train-images-idx3-ubyte.gz"] = BadStatusLine("SSH-2.0")
    began = []
    wait_for = threading.Condition.wait_for
    monkeypatch.setattr(
        threading.Condition, "wait_for", lambda *arguments: began.append(wait_for(*arguments))
    )
    assert not sources.is_online("mnist", timeout=60)
    assert began == [True]  # told, not waited for in vain


def test_offline(tmp_path, server, monkeypatch):
    monkeypatch.setattr(synthetic, "N_TRAIN", 50)
    monkeypatch.setattr(synthetic, "N_TEST", 50)
    train, test = datasets.load("auto", tmp_path)
    assert train.name == test.name == "synthetic"
    assert train.notice == datasets.OFFLINE_NOTICE and "\n" not in train.notice
    assert datasets.load("synthetic")[0].notice == ""
    with pytest.raises(ConnectionError, match=r"cannot download .* refused"):
        datasets.load("mnist", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mnist is not in .* and may not be downloaded"):
        datasets.load("mnist", tmp_path, download=False)


def test_online_but_not_complete(tmp_path, small_mnist, server, monkeypatch):
    monkeypatch.setattr(synthetic, "N_TRAIN", 50)
    monkeypatch.setattr(synthetic, "N_TEST", 50)
    server["train-images-idx3-ubyte.gz"] = b"anything"
    assert sources.is_online("mnist")
    assert datasets.load("auto", tmp_path)[0].name == "synthetic"


def test_auto_does_not_hide_damage(tmp_path, small_mnist, server):
    write_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(LABELS[:3])))
    with pytest.raises(FormatError, match="t10k-labels"):
        datasets.load("auto", tmp_path)


def test_pendigits_download(tmp_path, server):
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as unpacked:
        unpacked.writestr("folder/pendigits-orig.tra.Z", b"text")
    server[".zip"] = archive.getvalue()
    assert datasets.fetch("pendigits", tmp_path) == [tmp_path / "pendigits/pendigits-orig.tra"]
    server[".zip"] = b"no zip"
    with pytest.raises(FormatError, match=r"no zip file with pendigits-orig.tra.Z"):
        datasets.fetch("pendigits", tmp_path / "other")


def test_progress_bar_only_on_a_terminal(server, monkeypatch, capsys):
    server["a"] = b"abc"
    source = sources.Source(("http://one/",), {"a": 9})
    sources.fetch_file(source, "a")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    sources.fetch_file(source, "a")
    out, err = capsys.readouterr()
    assert out == "" and "a" in err


def test_files_are_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a"
    files.keep(path, b"old")
    monkeypatch.setattr("os.fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        files.keep(path, b"new")
    assert path.read_bytes() == b"old" and len(list(path.parent.iterdir())) == 1


def test_read_idx(tmp_path):
    for array in (LABELS, IMAGES, IMAGES[..., None]):
        (tmp_path / "a").write_bytes(idx_bytes(array))
        np.testing.assert_array_equal(idx.read_idx(tmp_path / "a"), array)
