"""Pictures of every kind, and the ways to fit them."""

from __future__ import annotations

import logging
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from svd_core.errors import SVDError
from svd_core.images.encoder_pixels import CLIP_MEAN, CLIP_STD, ENCODER_FIT_MODES, to_encoder_pixels
from svd_core.images.pictures import FIT_MODES, fit, fit_size, size_like, to_image_tensor

SIDES = st.integers(1, 70)
VIDEO_SIDES = st.integers(1, 40).map(lambda n: 2 * n)
MEAN, STD = (torch.tensor(x)[:, None, None] for x in (CLIP_MEAN, CLIP_STD))


def random_picture(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))


def disk(height: int, width: int, radius: float) -> Tensor:
    """A white disk with a soft edge in the centre, black around. Returns 1 3 h w."""
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width)[None] - (width - 1) / 2
    return (radius + 0.5 - (x**2 + y**2).sqrt()).clamp(0, 1).expand(1, 3, height, width)


def moments(image: Tensor) -> tuple[float, float, float, float]:
    """Centre of the light relative to the picture's centre, in pixels, and its spread: x, y, σx, σy."""
    light = image[0, 0].double() / image[0, 0].double().sum()
    y = torch.arange(light.shape[0]).double() - (light.shape[0] - 1) / 2
    x = torch.arange(light.shape[1]).double() - (light.shape[1] - 1) / 2
    across, down = light.sum(0), light.sum(1)
    cx, cy = float(across @ x), float(down @ y)
    return cx, cy, math.sqrt(float(across @ x**2) - cx**2), math.sqrt(float(down @ y**2) - cy**2)


# What counts as a picture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pil_pictures_of_every_mode(mode: str):
    image = Image.new("RGB", (5, 3), (255, 255, 255))
    image.putpixel((4, 1), (0, 0, 0))
    tensor = to_image_tensor(image.convert(mode))
    assert tensor.shape == (1, 3, 3, 5) and tensor.dtype == torch.float32
    assert tensor[0, :, 1, 4].tolist() == pytest.approx([0, 0, 0], abs=0.01)
    assert tensor[0, :, 0, 0].tolist() == pytest.approx([1, 1, 1], abs=0.01)


def test_alpha_is_dropped_and_the_colour_under_it_kept():
    image = Image.new("RGBA", (2, 2), (255, 128, 0, 0))
    assert to_image_tensor(image)[0, :, 0, 0].tolist() == pytest.approx([1.0, 128 / 255, 0.0])
    array = np.array([[[1.0, 0.5, 0.25, 0.0]]], dtype=np.float32)
    assert to_image_tensor(array)[0, :, 0, 0].tolist() == [1.0, 0.5, 0.25]


def test_a_palette_with_transparency_warns_nobody():
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.info["transparency"] = bytes([0, 255])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_image_tensor(image)[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_16_bit_grey_keeps_its_levels(mode: str):
    levels = np.array([[0, 1000], [32768, 65535]], dtype=np.uint16)
    image = Image.fromarray(levels) if mode == "I;16" else Image.fromarray(levels.astype(np.int32))
    assert image.mode == mode
    torch.testing.assert_close(to_image_tensor(image)[0, 1], torch.from_numpy(levels.astype(np.float32) / 65535))


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path):
    image = Image.new("RGB", (6, 4), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 3, 4))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned right: the left side goes up
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        tensor = to_image_tensor(turned)
    assert tensor.shape == (1, 3, 6, 4)
    assert tensor[0, :, :3].min() == 1.0 and tensor[0, :, 3:].max() == 0.0


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [None, 1, 2])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_arrays_and_tensors_have_channels_last(channels: int, batch: int | None, kind: str):
    shape = (5, 7, channels) if batch is None else (batch, 5, 7, channels)
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    tensor = to_image_tensor(values if kind == "array" else torch.from_numpy(values))
    assert tensor.shape == (batch or 1, 3, 5, 7)
    first = values if batch is None else values[0]
    for c in range(3):
        source = c if channels >= 3 else 0  # grey fills all three
        assert np.array_equal(tensor[0, c].numpy(), first[..., source])


def test_a_grey_array_needs_no_channel_axis():
    values = np.linspace(0, 1, 6).reshape(2, 3)
    tensor = to_image_tensor(values)
    assert tensor.shape == (1, 3, 2, 3)
    torch.testing.assert_close(tensor[0, 2], torch.from_numpy(values).float())


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
        (np.array([0, 51, 255], np.int64), [0, 0.2, 1]),
        (np.array([0, 51, 255], np.int16), [0, 0.2, 1]),
        (np.array([0, 13107, 65535], np.uint16), [0, 0.2, 1]),
        (np.array([False, True, True]), [0, 1, 1]),
        (np.array([0, 0.2, 1], np.float64), [0, 0.2, 1]),
        (np.array([0, 0.25, 1], np.float16), [0, 0.25, 1]),
        (torch.tensor([0, 51, 255], dtype=torch.uint8), [0, 0.2, 1]),
        (torch.tensor([0, 0.25, 1], dtype=torch.bfloat16), [0, 0.25, 1]),
    ],
)  # fmt: skip
def test_levels_of_every_number_type(values, expected: list[float]):
    tensor = to_image_tensor(values.reshape(1, 3))
    assert tensor.dtype == torch.float32
    assert tensor[0, 0, 0].tolist() == pytest.approx(expected)


def test_small_overshoot_is_clamped():
    assert to_image_tensor(np.array([[-0.1, 1.2]])).flatten()[:2].tolist() == [0.0, 1.0]


def test_flipped_and_read_only_arrays_are_taken_and_left_alone():
    values = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    values.flags.writeable = False
    tensor = to_image_tensor(values[:, ::-1])
    assert tensor[0, :, 0, 0].mul(255).round().tolist() == [3, 4, 5]
    source = torch.full((2, 2, 3), 1.2)
    to_image_tensor(source)
    assert source.max() == pytest.approx(1.2)


@pytest.mark.parametrize(
    "picture, words",
    [
        (np.full((2, 2, 3), np.nan), "not finite"),
        (torch.full((1, 2, 2, 3), float("inf")), "not finite"),
        (torch.zeros(0, 4, 4, 3), "empty"),
        (torch.zeros(1, 0, 4, 3), "empty"),
        (np.zeros((4, 4, 5)), r"shape \(1, 4, 4, 5\)"),
        (torch.zeros(1, 3, 64, 64), r"shape \(1, 3, 64, 64\)"),
        (torch.zeros(2, 1, 4, 4, 3), "shape"),
        (np.zeros(4), "shape"),
        (np.float32(0.5), "not a picture"),
        (np.full((2, 2, 3), 128.0), "0..1"),
        (np.full((2, 2, 3), -1.0), "0..1"),
        (np.full((2, 2, 3), 300), "0..255"),
        (np.full((2, 2, 3), -5), "0..255"),
        (np.zeros((2, 2, 3), complex), "not a picture"),
        (np.array([["a", "b"]]), "not a picture"),
        (torch.zeros(2, 2, 3, dtype=torch.complex64), "not a picture"),
        ("picture.png", "not a picture"),
        (None, "not a picture"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_one_sentence(picture, words: str):
    with pytest.raises(SVDError, match=words) as caught:
        to_image_tensor(picture)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


# Fitting to the video


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(FIT_MODES))
@settings(deadline=None, max_examples=150)
def test_fitted_pictures_have_the_size_and_stay_in_range(h: int, w: int, height: int, width: int, mode: str):
    image = random_picture(h, w, batch=2).round()  # the sharpest edges
    out = fit(image, width, height, mode)
    assert out.shape == (2, 3, height, width)
    assert out.min() >= 0.0 and out.max() <= 1.0


@given(SIDES, SIDES, VIDEO_SIDES, VIDEO_SIDES, st.sampled_from(FIT_MODES))
@settings(deadline=None, max_examples=150)
def test_fitting_commutes_with_mirroring(h: int, w: int, height: int, width: int, mode: str):
    """A shift of even half a pixel would break it."""
    image = random_picture(h, w)
    for axis in (-1, -2):
        mirrored = fit(image.flip(axis), width, height, mode).flip(axis)
        torch.testing.assert_close(mirrored, fit(image, width, height, mode), rtol=0, atol=2e-5)


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("h, w", [(120, 201), (201, 120), (97, 131), (40, 61)])
@pytest.mark.parametrize("height, width", [(64, 128), (128, 64), (72, 72)])
def test_a_disk_stays_round_and_centred(mode: str, h: int, w: int, height: int, width: int):
    across = min(h, w) / 2
    visible = max(width / w, height / h) if mode == "crop" else min(width / w, height / h)
    radius = 0.9 * min(across, width / visible / 2, height / visible / 2)
    cx, cy, spread_x, spread_y = moments(fit(disk(h, w, radius), width, height, mode))
    assert abs(cx) < 0.01 and abs(cy) < 0.01
    assert spread_x == pytest.approx(spread_y, rel=0.04)
    assert spread_x == pytest.approx(radius * visible / 2, rel=0.06)  # a disk's spread is half its radius


def test_stretch_fills_the_frame_with_the_whole_picture():
    *_, spread_x, spread_y = moments(fit(disk(100, 100, 45), 200, 50, "stretch"))
    assert spread_x == pytest.approx(4 * spread_y, rel=0.03)


def test_crop_cuts_both_ends_and_pad_fills_both_with_black():
    image = torch.full((1, 3, 32, 96), 0.5)
    image[..., :32], image[..., 64:] = 0.0, 1.0
    assert fit(image, 32, 32, "crop").unique().tolist() == [0.5]
    padded = fit(torch.ones(1, 3, 32, 96), 96, 64, "pad")
    assert padded[:, :, :16].max() == 0 and padded[:, :, -16:].max() == 0 and padded[:, :, 16:-16].min() == 1


@pytest.mark.parametrize("mode", FIT_MODES)
def test_a_picture_of_the_right_size_is_left_as_it_is(mode: str):
    image = random_picture(24, 40)
    assert torch.equal(fit(image, 40, 24, mode), image)


@pytest.mark.parametrize("reduce", [lambda x: fit(x, 32, 32, "stretch"), lambda x: to_encoder_pixels(x, 32) * STD])
def test_reduction_is_antialiased(reduce):
    """Averages of 64 pixels have an eighth of their spread; picked pixels would keep most of it."""
    noise = random_picture(256, 256)
    assert reduce(noise).std() < 0.2 * noise.std()


@pytest.mark.parametrize("h, w, scale", [(40, 120, 2), (40, 120, 1), (120, 360, 0.5), (160, 480, 0.25)])
def test_a_crop_is_a_part_of_the_resampled_whole(h: int, w: int, scale: float):
    image, side = random_picture(h, w), round(h * scale)
    whole = fit(image, 3 * side, side, "stretch")
    torch.testing.assert_close(fit(image, side, side, "crop"), whole[..., side : 2 * side], rtol=0, atol=1e-5)


def test_a_long_strip_is_cut_before_it_is_enlarged():
    """Enlarged first, it would take 25 GB."""
    strip = torch.rand(1, 3, 2, 20000)
    assert fit(strip, 512, 512, "crop").shape == (1, 3, 512, 512)


@pytest.mark.parametrize(
    "size, multiple, expected",
    [
        ((1024, 576), 64, (1024, 576)),
        ((1000, 580), 64, (1024, 576)),
        ((96, 160), 64, (128, 192)),
        ((95, 159), 64, (64, 128)),
        ((1, 31), 64, (64, 64)),
        ((20, 9), 8, (24, 8)),
    ],
)
def test_sizes_go_to_the_nearest_multiple_with_a_warning(size, multiple: int, expected, caplog):
    with caplog.at_level(logging.WARNING):
        assert fit_size(*size, multiple) == expected
    assert bool(caplog.records) == (size != expected)


@pytest.mark.parametrize("size", [(0, 64), (64, -8)])
def test_sizes_of_no_picture_are_refused(size: tuple[int, int]):
    with pytest.raises(SVDError, match=f"{size[0]}x{size[1]}"):
        fit_size(*size, 64)


# Preparing for CLIP


@pytest.mark.parametrize("mode", ENCODER_FIT_MODES)
@pytest.mark.parametrize("h, w", [(1, 1), (1, 50), (30, 1), (17, 400), (576, 1024), (224, 224), (100, 300)])
def test_clip_pixels_have_clips_size_and_scale(mode: str, h: int, w: int):
    grey = torch.full((2, 3, h, w), 0.25)
    out = to_encoder_pixels(grey, mode=mode)
    assert out.shape == (2, 3, 224, 224) and out.dtype == torch.float32
    if mode == "pad" and min(h, w) == 1 < max(h, w):
        return  # a line between bars
    centre = out[:, :, 112, 112]
    torch.testing.assert_close(centre, ((0.25 - MEAN) / STD)[..., 0].T.expand(2, 3), rtol=0, atol=2e-5)


@pytest.mark.parametrize("mode", ENCODER_FIT_MODES)
def test_a_picture_of_clips_size_is_only_normalised(mode: str):
    image = random_picture(28, 28)
    torch.testing.assert_close(to_encoder_pixels(image, 28, mode), (image - MEAN) / STD, rtol=0, atol=1e-6)


def test_squash_aligns_the_corners():
    """A ramp from edge to edge stays one, up to the cubic's ripple; with other corners it would be 7e-3 off."""
    ramp = torch.linspace(0, 1, 30)[:, None].expand(1, 3, 30, 40)
    out = to_encoder_pixels(ramp, 56)[0, 1, :, 20] * CLIP_STD[1] + CLIP_MEAN[1]
    torch.testing.assert_close(out[3:-3], torch.linspace(0, 1, 56)[3:-3], rtol=0, atol=2e-3)
    assert out[0].item() == pytest.approx(0.0, abs=1e-6) and out[-1].item() == pytest.approx(1.0, abs=1e-6)


def test_overshoot_of_the_bicubic_filter_is_kept():
    edge = torch.zeros(1, 3, 40, 40)
    edge[..., 20:] = 1.0
    unit = to_encoder_pixels(edge, 100)[0, 0] * CLIP_STD[0] + CLIP_MEAN[0]
    assert unit.max() > 1.02 and unit.min() < -0.02


def test_center_crop_drops_the_ends_and_pad_keeps_them_between_bars():
    image = torch.full((1, 3, 30, 90), 0.5)
    image[..., :30] = image[..., 60:] = 1.0
    unit = {mode: to_encoder_pixels(image, 60, mode) * STD + MEAN for mode in ENCODER_FIT_MODES}
    torch.testing.assert_close(unit["center crop"], torch.full((1, 3, 60, 60), 0.5), rtol=0, atol=1e-5)
    torch.testing.assert_close(unit["pad"][0, :, 30, 2], torch.ones(3), rtol=0, atol=1e-2)
    torch.testing.assert_close(unit["pad"][0, :, 3, 30], torch.zeros(3), rtol=0, atol=1e-2)
    torch.testing.assert_close(unit["squash"][0, :, 3, 3], torch.ones(3), rtol=0, atol=1e-2)


def test_16_bit_pictures_are_prepared_in_fp32():
    image = random_picture(50, 90).half()
    torch.testing.assert_close(to_encoder_pixels(image, 28), to_encoder_pixels(image.float(), 28), rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", [lambda x: fit(x, 8, 8, "zoom"), lambda x: to_encoder_pixels(x, 8, "zoom")])
def test_unknown_ways_to_fit_are_refused(function):
    with pytest.raises(SVDError, match="'zoom'"):
        function(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((1024, 576), (1024, 576)),
        ((576, 1024), (576, 1024)),
        ((1920, 1080), (1024, 576)),
        ((500, 500), (768, 768)),
        ((1200, 800), (960, 640)),
        ((4000, 3000), (896, 640)),
        ((5000, 500), (2432, 256)),
        ((10000, 10), (24256, 64)),
    ],
    ids=str,
)
def test_size_like_a_picture_at_the_trained_area(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert size_like(*picture, 1024 * 576, 64) == size


@given(st.integers(64, 8000), st.integers(64, 8000))
def test_no_size_of_the_model_is_nearer_to_the_picture(width: int, height: int) -> None:
    """Against every size there is, for pictures up to five times as long as wide."""
    assume(0.2 <= width / height <= 5.0)

    def error(w: int, h: int) -> float:
        return math.log(w * height / (h * width)) ** 2 + math.log(w * h / (1024 * 576)) ** 2

    sides = range(64, 2048, 64)
    least = min(error(w, h) for w in sides for h in sides)
    assert error(*size_like(width, height, 1024 * 576, 64)) == pytest.approx(least)


def test_size_like_nothing_is_refused() -> None:
    with pytest.raises(SVDError, match="0x5"):
        size_like(0, 5, 1024 * 576, 64)
