"""Picture files that cameras, browsers and programs write: read, or refused in one true sentence."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core import load_video
from svd_core.errors import SVDError
from svd_core.images.pictures import to_image_tensor
from svd_core.picture_files import is_picture_name, open_picture, read_picture, to_rgb_levels

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "TGA", "ICO", "PPM", "JPEG2000", "AVIF", "PCX", "DDS", "QOI")


def drawing(width: int = 24, height: int = 16) -> Image.Image:
    """No two corners alike."""
    levels = np.zeros((height, width, 3), np.uint8)
    levels[: height // 2, : width // 2] = (255, 0, 0)
    levels[height // 2 :, : width // 2] = (0, 255, 0)
    levels[: height // 2, width // 2 :] = (0, 0, 255)
    return Image.fromarray(levels)


def encode(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def refusal(path: Path) -> str:
    with pytest.raises(SVDError) as caught:
        read_picture(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and text.endswith(".") and "\n" not in text
    return text


# Damaged files


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_file_is_read_or_refused_and_raises_nothing_else(tmp_path: Path, format: str) -> None:
    """Pillow raises RuntimeError, struct.error, IndexError, TypeError and more for these."""
    whole = encode(drawing(), format)
    rng = random.Random(1)
    path = tmp_path / "picture"
    for _ in range(150):
        data = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randrange(6)):
            if data:
                data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            to_rgb_levels(read_picture(path))
        except SVDError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("decode"), struct.error("cut"), IndexError(), KeyError("x"), EOFError()]
)
def test_whatever_pillow_raises_is_one_sentence_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "a.png"
    drawing().save(path)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    text = refusal(path)
    assert "cannot be read as a picture (" in text and "()" not in text


def test_a_picture_of_pil_that_cannot_be_decoded_is_refused_too(tmp_path: Path) -> None:
    """Image.open reads the header alone; what is damaged behind it shows in the pipeline."""
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")[:-400])
    with Image.open(path) as picture, pytest.raises(SVDError, match=r"a.jpg cannot be read as a picture \(image file"):
        to_image_tensor(picture)


def test_damaged_exif_data_costs_the_turn_and_not_the_picture(tmp_path: Path, caplog, monkeypatch) -> None:
    path = tmp_path / "a.jpg"
    drawing().save(path, quality=95)

    def fail(*_: object) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    assert to_rgb_levels(read_picture(path)).shape == (16, 24, 3)
    assert "a.jpg has damaged EXIF data" in caplog.text


# Other kinds of files


def heic(brand: bytes = b"heic") -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + b"heic" + bytes(200)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("IMG_1.heic", heic(), "is a HEIC photo"),
        ("IMG_1.jpg", heic(b"mif1"), "is a HEIC photo, whatever its name says"),
        ("burst.jpg", heic(b"hevc"), "is a HEIC photo"),
        ("new.jxl", b"\xff\x0a" + bytes(50), "is a JPEG XL picture"),
        ("render.exr", b"v/1\x01\x02\0\0\0", "is an OpenEXR picture"),
        ("raw.cr3", struct.pack(">I", 24) + b"ftypcrx " + bytes(20), "is a raw photo"),
        ("logo.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG drawing"),
        ("saved.jpg", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("page.png", b"%PDF-1.7\n", "is a PDF"),
        ("clip.png", struct.pack(">I", 24) + b"ftypisom" + bytes(20), "is a video"),
        ("clip.jpg", b"\x1aE\xdf\xa3" + bytes(20), "is a video"),
        ("empty.png", b"", "is empty"),
        ("cut.png", b"\x89PNG\r\n", "is a PNG that is damaged or of a rare kind"),
        ("notes.png", b"a note to myself", "is no picture of a known kind"),
        ("drawing.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is a PostScript file"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)  # fmt: skip
def test_other_files_are_called_what_they_are(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert words in refusal(tmp_path / name)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    assert "is a folder, not a file: check the path" in refusal(tmp_path)
    assert "does not exist: check the path" in refusal(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("a.jfif", True), ("a.JPE", True), ("a.png", True), ("a.apng", True), ("a.tga", True), ("a.jp2", True),
        ("a.gif", True), ("a.heic", False), ("a.mp4", False), ("a.mpg", False), ("a.pdf", False), ("a.eps", False),
        ("a.txt", False), ("a", False), ("a.safetensors", False),
    ],
)  # fmt: skip
def test_names_of_pictures(name: str, known: bool) -> None:
    assert is_picture_name(Path(name)) == known


# Large pictures


def test_a_large_picture_warns_nobody_and_one_above_the_limit_is_refused(tmp_path: Path, monkeypatch, caplog) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # a warning from 400 on, an error from 800 on
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "a.png").size == (30, 20)
    assert not caplog.records
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    assert "is larger than" in refusal(tmp_path / "a.png") and "scale it down" in refusal(tmp_path / "a.png")


def test_a_header_that_claims_20000_x_20000_pixels_is_refused_at_once(tmp_path: Path) -> None:
    chunk = b"IHDR" + struct.pack(">2I5B", 20000, 20000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 9) + b"IDAT" + bytes(13)
    (tmp_path / "a.png").write_bytes(data)
    assert "is larger than 179 million pixels; scale it down." in refusal(tmp_path / "a.png")


def test_a_header_that_claims_millions_of_columns_is_refused_at_once(tmp_path: Path) -> None:
    """7 million columns and 20 rows are below Pillow's limit; libwebp takes half a minute for them."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    data = bytearray((tmp_path / "a.webp").read_bytes())
    place = data.index(b"VP8X") + 12  # width - 1, in three bytes
    data[place : place + 3] = (7_000_000).to_bytes(3, "little")
    (tmp_path / "a.webp").write_bytes(data)
    assert "is 7000001x20 pixels; cut it or scale it down to 100000" in refusal(tmp_path / "a.webp")


def test_other_warnings_of_pillow_are_lines_of_the_log(tmp_path: Path, caplog) -> None:
    drawing().save(tmp_path / "a.png")
    with open_picture(tmp_path / "a.png"):
        warnings.warn("Corrupt EXIF data", stacklevel=1)
    assert "a.png: Corrupt EXIF data" in caplog.text


# Several frames, pages, thumbnails


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.gif", "a.gif is an animation of 3 frames; its first frame is taken."),
        ("a.webp", "is an animation of 3 frames"),
        ("a.png", "is an animation of 3 frames"),
        ("a.tif", "has 3 pages; its first page is taken."),
        ("a.mpo", ""),  # a phone's photo with its thumbnails
    ],
)
def test_the_first_of_several_is_taken_and_that_is_said(tmp_path: Path, name: str, words: str, caplog) -> None:
    others = [Image.new("RGB", (24, 16), colour) for colour in ("black", "white")]
    drawing().save(tmp_path / name, save_all=True, append_images=others)
    levels = to_rgb_levels(read_picture(tmp_path / name)).astype(int)
    assert np.abs(levels[0, 0] - (255, 0, 0)).max() < 40 and np.abs(levels[-1, 0] - (0, 255, 0)).max() < 40
    assert (words in caplog.text) if words else not caplog.records


# Orientation


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_are_one_picture(tmp_path: Path, orientation: int, format: str) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = drawing().transpose(turns[orientation]) if orientation in turns else drawing()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    stored.save(tmp_path / "a", format, exif=exif, **options)
    upright = to_rgb_levels(read_picture(tmp_path / "a")).astype(int)
    assert upright.shape == (16, 24, 3) and np.abs(upright - np.asarray(drawing())).max() <= 3


@pytest.mark.parametrize("orientation", range(2, 9))
def test_frames_of_a_folder_and_a_lone_one_are_turned_too(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "frames").mkdir()
    for index in range(2):
        drawing().save(tmp_path / "frames" / f"{index}.png", exif=exif)
    wanted = to_rgb_levels(read_picture(tmp_path / "frames" / "0.png"))
    assert wanted.shape == ((24, 16, 3) if orientation > 4 else (16, 24, 3))
    for path in (tmp_path / "frames", tmp_path / "frames" / "%d.png", tmp_path / "frames" / "1.png"):
        assert all(np.array_equal(frame, wanted) for frame in load_video(path).frames)
