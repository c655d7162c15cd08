"""Which level is white: one rule for files, arrays and tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core.errors import SVDError
from svd_core.images.pictures import to_image_tensor
from svd_core.picture_files import read_picture, to_rgb_levels

RAMP = np.linspace(0.0, 1.0, 12).reshape(3, 4)


def grey(kind: str, white: float) -> np.ndarray:
    levels = RAMP * white
    return levels.astype(kind) if kind.startswith("float") else levels.round().astype(kind)


TOLD = [
    ("float32", 1.0), ("int32", 255), ("int32", 65535), ("uint16", 65535), ("uint16", 30000), ("int32", 30000),
    ("uint8", 255), ("uint8", 40),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "white"), TOLD, ids=str)
def test_a_file_an_array_and_a_tensor_are_read_alike(tmp_path: Path, kind: str, white: float) -> None:
    """As TIFF these are the modes F, I, I;16 and L."""
    levels = grey(kind, white)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    full = 1.0 if kind == "float32" else 65535.0 if white > 255 else 255.0
    wanted = torch.from_numpy(levels.astype(np.float64) / full).float().expand(1, 3, 3, 4)
    for picture in (read_picture(tmp_path / "a.tif"), levels, torch.from_numpy(levels)):
        torch.testing.assert_close(to_image_tensor(picture), wanted, rtol=0, atol=1e-6)
    frame = to_rgb_levels(read_picture(tmp_path / "a.tif"))
    assert frame.dtype == np.uint8 and frame.shape == (3, 4, 3)
    np.testing.assert_allclose(frame / 255.0, wanted[0].movedim(0, -1), rtol=0, atol=0.5 / 255 + 1e-6)


UNTOLD = [
    ("float32", 255.0, "0..1"), ("float32", 4.0, "0..1"), ("uint16", 255, "8, 10, 12 or 16 bits"),
    ("uint16", 1023, "8, 10, 12 or 16 bits"), ("int32", 4095, "8, 10, 12 or 16 bits"), ("int32", 10**6, "0..65535"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "white", "words"), UNTOLD, ids=str)
def test_levels_that_do_not_tell_what_white_is_are_refused(tmp_path: Path, kind: str, white: float, words: str) -> None:
    levels = grey(kind, white)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    for picture in (read_picture(tmp_path / "a.tif"), levels, torch.from_numpy(levels)):
        with pytest.raises(SVDError, match=words):
            to_image_tensor(picture)
    with pytest.raises(SVDError, match=words):
        to_rgb_levels(read_picture(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", ["float32", "int32", "uint16", "uint8"])
def test_a_black_picture_is_black(kind: str) -> None:
    assert to_image_tensor(np.zeros((2, 2), kind)).max() == 0


def test_not_finite_values_in_a_file_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(SVDError, match="not finite"):
        to_image_tensor(read_picture(tmp_path / "a.tif"))
    with pytest.raises(SVDError, match="not finite"):
        to_rgb_levels(read_picture(tmp_path / "a.tif"))


def test_both_byte_orders_of_16_bit_tiff(tmp_path: Path) -> None:
    levels = grey("uint16", 65535)
    Image.frombytes("I;16B", (4, 3), levels.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    wanted = to_image_tensor(levels)
    assert torch.equal(to_image_tensor(read_picture(tmp_path / "a.tif")), wanted)
    assert torch.equal(to_image_tensor(Image.frombytes("I;16B", (4, 3), levels.astype(">u2").tobytes())), wanted)


# Transparent parts


def rgba() -> Image.Image:
    """A quarter is transparent, and magenta there."""
    picture = Image.new("RGBA", (8, 8), (10, 20, 30, 255))
    picture.paste((255, 0, 255, 0), (0, 0, 4, 4))
    return picture


def with_palette() -> Image.Image:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 0, 255, 10, 20, 30])
    picture.paste(0, (0, 0, 4, 4))
    return picture


def save(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "cut-out.png"
    if kind == "palette":
        with_palette().save(path, transparency=0)
    elif kind == "colour key":
        rgba().convert("RGB").save(path, transparency=(255, 0, 255))
    else:
        rgba().convert(kind).save(path)
    return path


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "colour key"])
def test_hidden_colours_are_taken_with_a_word(tmp_path: Path, kind: str, caplog) -> None:
    tensor = to_image_tensor(read_picture(save(tmp_path, kind)))
    if kind != "LA":
        assert tensor[0, :, 0, 0].tolist() == [1.0, 0.0, 1.0]
    (record,) = caplog.records
    assert "cut-out.png is transparent in 25 % of its area" in record.getMessage()


@pytest.mark.parametrize("batch", [np.float32, np.uint8, "tensor"])
def test_arrays_with_four_channels_get_the_word_too(batch: object, caplog) -> None:
    levels = np.array(rgba())
    picture = torch.from_numpy(levels)[None] / 255 if batch == "tensor" else levels.astype(batch)
    to_image_tensor(picture / 255 if batch is np.float32 else picture)
    (record,) = caplog.records
    assert "The picture is transparent in 25 %" in record.getMessage()


def test_soft_edges_and_opaque_pictures_get_no_word(caplog) -> None:
    to_image_tensor(rgba().convert("RGB").convert("RGBA"))
    to_image_tensor(Image.new("RGBA", (4, 4), (0, 0, 0, 200)))
    assert not caplog.records
