"""Pictures to images: any polarity, size, light and file, and hostile files."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw

from mnistc import FormatError, strokes

SEVEN = [[[10, 10], [60, 8], [35, 90]], [[22, 50], [55, 48]]]


def page(scale=3, width=30, size=(900, 700), offset=(200, 150), ink=0, paper=255):
    """A seven as a picture: black on white unless told otherwise."""
    picture = Image.new("L", size, paper)
    draw = ImageDraw.Draw(picture)
    for stroke in SEVEN:
        points = [(x * scale + offset[0], y * scale + offset[1]) for x, y in stroke]
        draw.line(points, fill=ink, width=width, joint="curve")
    return picture


def seven(pen):
    return strokes.rasterize(SEVEN, pen)


def likeness(a, b):
    """Cosine of two images."""
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_black_on_white_is_what_the_strokes_give():
    image = strokes.from_bitmap(np.asarray(page()))
    assert image.shape == (28, 28) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert likeness(image, seven(2.4)) > 0.95


def test_white_on_black_is_the_same():
    picture = np.asarray(page())
    np.testing.assert_allclose(
        strokes.from_bitmap(255 - picture), strokes.from_bitmap(picture), atol=1e-5
    )


def test_floats_and_bools_are_the_same():
    picture = np.asarray(page()) > 127
    image = strokes.from_bitmap(picture)
    np.testing.assert_allclose(strokes.from_bitmap(picture.astype(np.float64)), image, atol=1e-6)
    np.testing.assert_allclose(strokes.from_bitmap(picture * np.uint8(255)), image, atol=1e-6)


@pytest.mark.parametrize("offset", [(0, 0), (10, 300), (600, 350)])
def test_place_does_not_matter(offset):
    image = strokes.from_bitmap(np.asarray(page(offset=offset)))
    assert likeness(image, strokes.from_bitmap(np.asarray(page()))) > 0.99


@pytest.mark.parametrize(("scale", "width"), [(0.25, 2), (0.5, 5), (1, 10), (6, 60), (12, 130)])
def test_size_does_not_matter(scale, width):
    size = (int(150 * scale), int(120 * scale))
    picture = page(scale, width, size, (int(20 * scale), int(10 * scale)))
    assert likeness(strokes.from_bitmap(np.asarray(picture)), seven(2.4)) > 0.85


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_hairlines_are_thickened(width):
    image = strokes.from_bitmap(np.asarray(page(6, width, (900, 700), (100, 50))))
    assert likeness(image, seven(2.4)) > 0.85
    assert 0.6 < image.sum() / seven(2.4).sum() < 1.4


def test_centre_of_mass_is_at_14():
    image = strokes.from_bitmap(np.asarray(page())).astype(float)
    i, j = np.mgrid[:28, :28]
    assert (image * i).sum() / image.sum() == pytest.approx(14, abs=0.05)
    assert (image * j).sum() / image.sum() == pytest.approx(14, abs=0.05)


def test_photograph():
    """Uneven light, grain, little contrast and a speck of dust."""
    rng = np.random.default_rng(0)
    photo = 200 - (255 - np.asarray(page(), float)) * 0.4
    photo += np.linspace(-30, 30, 900) + np.linspace(-15, 15, 700)[:, None]
    photo += rng.normal(0, 5, photo.shape)
    photo[40:46, 60:66] = 30
    image = strokes.from_bitmap(photo.clip(0, 255).astype(np.uint8))
    assert likeness(image, seven(2.4)) > 0.93


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_blank(grey):
    assert not strokes.from_bitmap(np.full((40, 30), grey, np.uint8)).any()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=90)))
def test_any_picture_is_read(picture):
    image = strokes.from_bitmap(picture)
    assert image.shape == (28, 28) and np.isfinite(image).all()
    assert image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize(
    ("gray", "message"),
    [
        (np.zeros((3, 4, 3), np.uint8), r"gray: got shape \(3, 4, 3\), wanted \(height, width\)"),
        (np.zeros((0, 4), np.uint8), "gray: got shape"),
        (np.zeros((3, 4), np.int32), "gray: got int32, wanted uint8 or float"),
        (np.full((3, 4), np.nan), "must be finite and from 0 to 1"),
        (np.full((3, 4), 255.0), "pass 0 to 255 as uint8"),
        (np.broadcast_to(np.uint8(0), (10_000, 10_000)), "wanted at most 64,000,000"),
    ],
)
def test_bad_pictures(gray, message):
    with pytest.raises(ValueError, match=message):
        strokes.from_bitmap(gray)


# ---- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif", "a.pgm"])
def test_formats(tmp_path, name):
    page().save(tmp_path / name)
    gray = strokes.load_image(tmp_path / name)
    assert gray.shape == (700, 900) and gray.dtype == np.uint8
    assert np.abs(gray.astype(int) - np.asarray(page())).mean() < 2


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "CMYK"])
def test_modes(tmp_path, mode):
    page().convert(mode).save(tmp_path / "a.tif")
    np.testing.assert_allclose(
        strokes.load_image(tmp_path / "a.tif").astype(int), np.asarray(page()).astype(int), atol=3
    )


def test_sixteen_bits(tmp_path):
    deep = np.asarray(page()).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(strokes.load_image(tmp_path / "a.png"), np.asarray(page()))


def test_float_tiff(tmp_path):
    Image.fromarray(np.asarray(page(), np.float32) / 255 * 7 - 3).save(tmp_path / "a.tif")
    assert strokes.load_image(tmp_path / "a.tif")[0, 0] == 255


@pytest.mark.parametrize("ink", [0, 255])
def test_transparent_paper(tmp_path, ink):
    alpha = Image.fromarray(255 - np.asarray(page()))
    layers = [Image.new("L", alpha.size, ink)] * 3
    Image.merge("RGBA", [*layers, alpha]).save(tmp_path / "a.png")
    image = strokes.from_bitmap(strokes.load_image(tmp_path / "a.png"))
    assert likeness(image, seven(2.4)) > 0.95


def test_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    page().rotate(90, expand=True).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert strokes.load_image(tmp_path / "a.jpg").shape == (700, 900)


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no readable picture"),
        (b"no picture at all", "no readable picture"),
        (png_header(10_000, 10_000), "wanted at most 64,000,000"),
        (png_header(2**31 - 1, 2**31 - 1), "pixels|no readable picture"),
        (png_header(200, 200), "no readable picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no readable picture"),
    ],
    ids=["empty", "text", "bomb", "largest", "truncated", "PostScript"],
)
def test_hostile_files(tmp_path, data, message):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        strokes.load_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_damaged_files_give_one_kind_of_error(tmp_path_factory, seed, count):
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    page(1, 8, (150, 120), (20, 10)).save(buffer, "PNG" if seed % 2 else "JPEG")
    data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
    data[rng.integers(0, len(data), count)] = rng.integers(0, 256, count)
    path = tmp_path_factory.mktemp("damaged") / "a"
    path.write_bytes(data.tobytes())
    with contextlib.suppress(FormatError):
        assert strokes.load_image(path).dtype == np.uint8


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        strokes.load_image(tmp_path / "a.png")
    with pytest.raises(FormatError, match="wanted a picture file"):
        strokes.load_image(tmp_path)
