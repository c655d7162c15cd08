"""The square for the image encoder, of pictures of extreme shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from svd_core.images.encoder_pixels import CLIP_MEAN, CLIP_STD, to_encoder_pixels

MEAN, STD = (torch.tensor(x)[:, None, None] for x in (CLIP_MEAN, CLIP_STD))


def square(image: torch.Tensor) -> torch.Tensor:
    """Black bars around the picture."""
    height, width = image.shape[-2:]
    across, down = max(height - width, 0), max(width - height, 0)
    return F.pad(image, (across // 2, across - across // 2, down // 2, down - down // 2))


@pytest.mark.parametrize("size", [28, 224])
@pytest.mark.parametrize(
    ("h", "w"), [(576, 1024), (1024, 576), (223, 225), (100, 300), (17, 400), (1, 50), (30, 1), (1, 1), (224, 224)]
)
def test_pad_is_the_square_of_the_reference_without_making_it(h: int, w: int, size: int) -> None:
    """Of the square, the parity tests hold the resampling to kornia's."""
    image = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(0)).round()
    padded = to_encoder_pixels(image, size, "pad")
    torch.testing.assert_close(padded, to_encoder_pixels(square(image), size), rtol=0, atol=5e-6)


@pytest.mark.parametrize("mode", ["pad", "squash", "center crop"])
@pytest.mark.parametrize(("h", "w"), [(1, 200_000), (200_000, 1)])
def test_a_very_long_picture_needs_little_memory(h: int, w: int, mode: str) -> None:
    """Its square would take 480 GB."""
    image = torch.ones(1, 3, h, w)
    pixels = to_encoder_pixels(image, 224, mode) * STD + MEAN
    assert pixels.shape == (1, 3, 224, 224)
    if mode == "pad":
        light = pixels.sum() / 3  # one pixel of 200,000 in the one direction, all of them in the other
        assert 0 <= light < 224 and pixels.min() > -0.01
    else:
        torch.testing.assert_close(pixels, torch.ones_like(pixels), rtol=0, atol=1e-5)


def test_the_picture_is_left_alone() -> None:
    image = torch.rand(1, 3, 40, 60)
    before = image.clone()
    for mode in ("pad", "squash", "center crop"):
        to_encoder_pixels(image, 28, mode)
    assert torch.equal(image, before)
