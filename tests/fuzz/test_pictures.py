"""Damaged and odd pictures: read and ready for the networks, or refused."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from svd_core.images.encoder_pixels import to_encoder_pixels
from svd_core.images.pictures import FIT_MODES, fit, to_image_tensor
from svd_core.picture_files import count_frames, open_picture, read_picture

from .conftest import Fuzz
from .mutations import apply, byte_edits
from .oracle import attempt, clean_folder

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "MPO", "PPM", "ICO", "JPEG2000", "TGA")
MODES = (
    "1",
    "L",
    "P",
    "LA",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "La",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "I;16",
    "F",
)
LONG = ((1, 5000), (5000, 1), (20000, 1), (3, 20000), (400, 400))
SUFFIXES = (".png", ".jpg", ".webp", ".tiff", ".gif")


@cache
def picture(mode: str = "RGB", width: int = 40, height: int = 28) -> Image.Image:
    """A gradient from black to white."""
    rows = np.linspace(0, 255, width * height).reshape(height, width)
    if mode in ("I;16", "I"):
        return Image.fromarray((rows * 257).astype(np.uint16 if mode == "I;16" else np.int32))
    if mode == "F":
        return Image.fromarray((rows / 255).astype(np.float32))
    grey = Image.fromarray(rows.astype(np.uint8))
    steps = {"PA": ("P", "PA"), "La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "HSV": ("RGB", "HSV")}
    for step in steps.get(mode, (mode,)):
        grey = to_lab(grey) if step == "LAB" else grey.convert(step)
    return grey


def to_lab(grey: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    made = ImageCms.profileToProfile(grey.convert("RGB"), *profiles, outputMode="LAB")
    assert made is not None
    return made


@cache
def encode(format: str, num_frames: int = 1) -> bytes:
    file = io.BytesIO()
    many: dict[str, Any] = {}
    if num_frames > 1:
        many = {"save_all": True, "append_images": [picture().rotate(90 * index) for index in range(1, num_frames)]}
    picture().save(file, format, **many)
    return file.getvalue()


def check_ready(made: Any, fit_mode: str = "crop") -> None:
    pixels = to_image_tensor(made)
    assert pixels.dtype == torch.float32 and pixels.shape[1] == 3 and pixels.isfinite().all()
    assert pixels.min() >= 0 and pixels.max() <= 1
    fitted = fit(pixels, 64, 32, fit_mode)
    assert fitted.shape[1:] == (3, 32, 64) and fitted.isfinite().all()
    assert to_encoder_pixels(pixels, 56).isfinite().all()


def count(path: Path) -> int:
    with open_picture(path) as picture:
        return count_frames(picture)


def test_damaged_pictures(fuzz: Fuzz) -> None:
    def check(case: tuple[str, int, str, list[Any], str]) -> None:
        format, num_frames, suffix, edits, fit_mode = case
        with clean_folder() as folder:
            path = folder / f"x{suffix}"
            path.write_bytes(apply(edits, encode(format, num_frames)))
            attempt(lambda: check_ready(read_picture(path), fit_mode))
            attempt(lambda: count(path))
            path.unlink()

    formats = st.one_of(
        st.tuples(st.sampled_from(FORMATS), st.just(1)),
        st.tuples(st.sampled_from(("GIF", "WEBP", "PNG", "TIFF", "AVIF")), st.just(3)),
    )
    cases = st.tuples(formats, st.sampled_from(SUFFIXES), byte_edits, st.sampled_from(FIT_MODES))
    fuzz(check, cases.map(lambda case: (*case[0], *case[1:])), cases=150, thorough_cases=4000)


def test_odd_modes_and_sizes_are_not_black(fuzz: Fuzz) -> None:
    def check(case: tuple[str, tuple[int, int], str]) -> None:
        mode, (width, height), fit_mode = case
        made = picture(mode, width, height)
        pixels = attempt(lambda: to_image_tensor(made))
        if pixels is None:
            return
        assert pixels.shape == (1, 3, height, width)
        if width * height > 10:
            assert pixels.mean() > 0.3, f"{mode} comes out dark: {pixels.mean()}"
        attempt(lambda: check_ready(made, fit_mode))

    shapes = st.one_of(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.sampled_from(LONG))
    cases = st.tuples(st.sampled_from(MODES), shapes, st.sampled_from(FIT_MODES))
    fuzz(check, cases, cases=60, thorough_cases=1000)


def test_odd_arrays(fuzz: Fuzz) -> None:
    def check(case: tuple[tuple[int, ...], str, float]) -> None:
        shape, dtype, value = case
        with np.errstate(all="ignore"):
            given = np.full(shape, value).astype(dtype)
        attempt(lambda: check_ready(given))
        attempt(lambda: check_ready(torch.from_numpy(given)) if dtype != "object" else None)

    shapes = st.lists(st.sampled_from((0, 1, 2, 3, 4, 17)), max_size=5).map(tuple)
    dtypes = st.sampled_from(("uint8", "uint16", "int64", "float16", "float32", "float64", "bool", "complex64", "int8"))
    values = st.sampled_from((0, 0.5, 1, 255, 65535, -1, float("nan"), float("inf"), 1e300))
    fuzz(check, st.tuples(shapes, dtypes, values), cases=60, thorough_cases=1000)
