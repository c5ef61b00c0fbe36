"""Data files that nobody vouches for: one error, one line, and no memory spent on a lie."""

import contextlib
import gzip
import io
import struct
import subprocess
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistc import FormatError, datasets
from mnistc.datasets import files, pendigits, tables
from mnistc.datasets.dataset import Dataset, held_out
from mnistc.datasets.idx import read_idx

IMAGES = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)


def header(*shape, kind=8):
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape)


GOOD = header(3, 28, 28) + IMAGES.tobytes()
BOMB = gzip.compress(header(3, 28, 28) + bytes(50_000_000))


def fails(tmp_path, data, message, name="a-images-idx3-ubyte", load=lambda p: read_idx(p, 3)):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated, 0 bytes are no IDX header"),
        (GOOD[:3], "truncated, 3 bytes are no IDX header"),
        (GOOD[:9], "truncated, the IDX header has 3 dimensions"),
        (GOOD[:-1], "truncated, 2,367 bytes where the header declares 2,368"),
        (GOOD + b"x", "oversized, 2,369 bytes where the header declares 2,368"),
        (gzip.compress(GOOD)[:-50], "truncated gzip data"),
        (gzip.compress(GOOD + b"x"), "oversized, it unpacks to more than 2,368 bytes"),
        (gzip.compress(GOOD[:-1]), "truncated, 2,367 bytes"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "damaged gzip data"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 9, "damaged gzip data"),
        (header(3, 28, 28, kind=13) + GOOD[16:], "wrong magic number 00000d03, wanted 00000803"),
        (header(3) + b"123", "wrong magic number 00000801, wanted 00000803"),
        (b"PK\3\4" + GOOD, "wrong magic number 504b0304"),
        (header(10**9, 10**9, 10**9), "over the limit"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1) + GOOD, "over the limit"),
    ],
)
def test_bad_idx(tmp_path, data, message):
    fails(tmp_path, data, message)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    (tmp_path / "a").write_bytes(BOMB)
    tracemalloc.start()
    with pytest.raises(FormatError, match="oversized, it unpacks to more than 2,368 bytes"):
        read_idx(tmp_path / "a", 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_idx_counts_and_labels(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(GOOD)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(header(2) + bytes(2))
    with pytest.raises(FormatError, match="3 images but 2 labels"):
        datasets.load(path)
    labels.write_bytes(header(3) + bytes([0, 1, 11]))
    with pytest.raises(FormatError, match="label 11 of image 2 is outside the 10 classes"):
        Dataset(read_idx(path), read_idx(labels), name="a")
    path.write_bytes(header(0, 28, 28))
    labels.write_bytes(header(0))
    with pytest.raises(FormatError, match="0 images, wanted at least 2"):
        datasets.load(path)
    with pytest.raises(FormatError, match="it is empty"):
        Dataset(read_idx(path), read_idx(labels))


def test_datasets_of_other_types():
    with pytest.raises(FormatError, match="images are float64"):
        Dataset(np.zeros((2, 28, 28)), np.zeros(2, np.uint8))
    with pytest.raises(FormatError, match="labels are int64"):
        Dataset(IMAGES, np.zeros(3, np.int64))
    with pytest.raises(FormatError, match="3 images but 1 labels"):
        held_out(IMAGES, np.zeros(1, np.uint8), "01", "a")


def test_special_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_idx(tmp_path / "none")
    with pytest.raises(FormatError, match="wanted a regular file"):
        read_idx(tmp_path)
    (tmp_path / "sparse").open("wb").truncate(files.MAX_BYTES + 1)
    with pytest.raises(FormatError, match="oversized"):
        read_idx(tmp_path / "sparse")


# ---- CSV -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows in it"),
        ("label,a,b,c,d\n", "no rows in it"),
        ("1,2,3,4,5\n1,2,3,4\n", "line 2: 4 cells, wanted 5"),
        ("1,2,3,4,5\n\n1,2,3,4,x\n", "line 3: cell 5 is 'x', wanted an integer 0 to 255"),
        ("1,2,3,4,256\n", "line 1: cell 5 is '256'"),
        ("1,2,3,4,-1\n", "line 1: cell 5 is '-1'"),
        ("1,2,3,4,0.5\n", "line 1: cell 5 is '0.5'"),
        ("nan,2,3,4,5\n", "line 1: cell 1 is 'nan'"),
        ("1,inf,3,4,5\n", "line 1: cell 2 is 'inf'"),
        ("1,,3,4,5\n", "line 1: cell 2 is ''"),
        ("1,2,3,4\n", "4 cells a row, wanted a label and a square"),
        ("7\n", "1 cells a row"),
        ("1;2;3;4;5\n", "line 1: cell 1 is '1;2;3;4;5'"),
        ("\0\1\2\n", "line 1: cell 1 is"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    fails(tmp_path, text.encode(), message, "a.csv", datasets.load)


# ---- npz -------------------------------------------------------------------------------------


def npz(**arrays):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = array
            if not isinstance(array, bytes):
                np.save(member := io.BytesIO(), array)
                data = member.getvalue()
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy_header(shape, descr="|u1"):
    np.lib.format.write_array_header_1_0(
        out := io.BytesIO(), {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


LABELS = np.array([0, 1, 2], np.uint8)
PICKLE = b"cos\nsystem\n(S'touch pwned'\ntR."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged .npz file"),
        (npz(images=IMAGES, labels=LABELS)[:-30], "damaged .npz file"),
        (npz(x=IMAGES), r"holds \['x'\], wanted x_train"),
        (npz(images=IMAGES, labels=np.array([None] * 3)), "objects are refused"),
        (npz(images=IMAGES, labels=PICKLE), "damaged .npy header"),
        (npz(images=npy_header((10**9, 10**9)), labels=LABELS), "declares 1(,000){6} bytes, has 0"),
        (npz(images=npy_header((3, -4)), labels=LABELS), "damaged|declares"),
        (npz(images=npy_header((3,), "|O"), labels=LABELS), "objects are refused"),
        (npz(images=b"\x93NUMPY\1\0\xff\xff" + b"(" * 65535, labels=LABELS), "damaged .npy"),
        (npz(images=IMAGES.astype(float), labels=LABELS), None),
        (npz(images=IMAGES - 0.5, labels=LABELS), "float64 values, wanted whole numbers 0 to 255"),
        (npz(images=IMAGES * np.nan, labels=LABELS), "float64 values, wanted whole numbers"),
        (npz(images=IMAGES, labels=np.array([0, 1, 300])), "int64 values, wanted whole numbers"),
        (npz(images=IMAGES, labels=LABELS[:2]), "3 images but 2 labels"),
        (npz(images=IMAGES[0], labels=LABELS), "images are|images but"),
        (npz(images=IMAGES, labels=LABELS[:, None]), "labels are|labels"),
    ],
)
def test_bad_npz(tmp_path, data, message):
    if message is None:
        (tmp_path / "a.npz").write_bytes(data)
        assert len(datasets.load(tmp_path / "a.npz")[0]) == 2
    else:
        fails(tmp_path, data, message, "a.npz", datasets.load)


def test_any_damage_to_a_packed_npz(tmp_path):
    good = npz(images=np.random.default_rng(0).integers(0, 256, (3, 20, 20)), labels=LABELS)
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(good)) as plain,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    data = packed.getvalue()
    for place in range(0, len(data), 7):
        damaged = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        (tmp_path / "a.npz").write_bytes(damaged)
        with contextlib.suppress(FormatError):
            datasets.load(tmp_path / "a.npz")


def test_npz_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 10_000)
    fails(tmp_path, npz(images=bytes(20_000), labels=LABELS), "oversized", "a.npz", tables.read_npz)


# ---- .Z and UNIPEN ---------------------------------------------------------------------------

UNIPEN = b"""
.HIERARCHY DIGIT
.SEGMENT DIGIT 0-1 ? "7"
.COMMENT 7 12 224
.PEN_DOWN
 10 490
 60 480
.PEN_UP
.DT 100
.PEN_DOWN
 20 400
.PEN_UP
.SEGMENT DIGIT 2 ? "1"
.PEN_DOWN
 5 5
.PEN_UP
"""


def test_unipen():
    data = pendigits.parse_unipen(UNIPEN)
    assert data.labels.tolist() == [7, 1] and data.writers.tolist() == [12, 0]
    assert [len(drawing) for drawing in data.strokes] == [2, 1]
    assert data.strokes[0][0].tolist() == [[10, 10], [60, 20]]  # y grows downwards
    assert data.images().shape == (2, 28, 28) and data.images().max() == 255
    with pytest.raises(ValueError, match="train_writers: got 5"):
        pendigits.writer_split(data, 5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (UNIPEN, b"", "no .SEGMENT DIGIT"),
        (b"5 5", b"5", "line 15: wanted x and y"),
        (b"5 5", b"5 x", "line 16: a coordinate of this stroke is not a number"),
        (b"5 5", b"5 nan", "line 16: a coordinate of this stroke is not finite"),
        (b'"1"', b'"l"', 'line 13: label "l", wanted a digit'),
        (b".SEGMENT", b".OTHER", "line 8: .PEN_UP outside a digit"),
        (b" 5 5\n.PEN_UP", b" 5 5", "truncated"),
    ],
)
def test_bad_unipen(old, new, message):
    with pytest.raises(FormatError, match=message):
        pendigits.parse_unipen(UNIPEN.replace(old, new))


def lzw(data, max_bits=16):
    """The Unix program compress, as plainly as it can be written; no clearing."""
    table = {bytes([i]): i for i in range(256)}
    bits, group, out, word = 9, [], bytearray(b"\x1f\x9d" + bytes([0x80 | max_bits])), b""
    free = 257

    def flush(full):
        value = sum(code << (bits * i) for i, code in enumerate(group))
        size = bits if full else -(-bits * len(group) // 8)
        out.extend(value.to_bytes(bits, "little")[:size])
        group.clear()

    for i in range(len(data) + 1):
        byte = data[i : i + 1]
        if byte and word + byte in table:
            word += byte
            continue
        group.append(table[word])
        if len(group) == 8:
            flush(True)
        if byte and free < 1 << max_bits:
            table[word + byte] = free
            free += 1
            # The reader is one entry behind: it widens one code later.
            if free > 1 << bits and bits < max_bits:
                if group:
                    flush(True)
                bits += 1
        word = byte
    flush(False)
    return bytes(out)


@pytest.mark.parametrize("n", [1, 5, 300, 5000, 60_000])
def test_unlzw(n):
    rng = np.random.default_rng(n)
    data = bytes(rng.integers(97, 103, n, np.uint8))
    assert files.unlzw(lzw(data)) == data
    assert files.decompress(lzw(data, 12)) == data


def test_unlzw_against_compress(tmp_path):
    """The real program, where it is installed; its output clears the table too."""
    rng = np.random.default_rng(0)
    data = b"".join(bytes(rng.integers(0, 2 ** (i % 8 + 1), 9000, np.uint8)) for i in range(40))
    try:
        packed = subprocess.run(["compress", "-c"], input=data, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no compress on this machine")
    assert files.unlzw(packed.stdout) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x9d", "no compress"),
        (b"\x1f\x9d\x88\0", "no compress"),
        (b"\x1f\x9d\x90\xff\xff\xff", "damaged .Z data"),
        (lzw(b"a" * 5000), "oversized"),
    ],
)
def test_bad_lzw(data, message):
    with pytest.raises(FormatError, match=message):
        files.unlzw(data, 4000)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b\x08", b"\x1f\x9d\x90"]))
def test_any_bytes_give_one_kind_of_error(data, start):
    try:
        files.decompress(start + data, 10_000)
        pendigits.parse_unipen(data)
    except FormatError:
        pass


def test_members_of_gzip_are_joined_and_counted():
    two = gzip.compress(b"ab") + gzip.compress(b"cd")
    assert files.decompress(two, 4) == b"abcd"
    with pytest.raises(FormatError, match="oversized"):
        files.decompress(two, 3)
    assert files.decompress_start(two, 1) == b"a"
    assert files.decompress(zlib.compress(b"plain")) == zlib.compress(b"plain")
