"""The image encoder's input against the resampling and normalisation of diffusers' pipeline."""

from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
from kornia.geometry.transform import resize
from transformers import CLIPImageProcessor

from svd_core.images.encoder_pixels import CLIP_MEAN, CLIP_STD, to_encoder_pixels


@pytest.mark.parametrize("h, w", [(576, 1024), (1024, 576), (300, 200), (225, 500), (224, 400), (100, 150), (64, 64)])
def test_squash(h: int, w: int):
    image = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(0))
    resized = (_resize_with_antialiasing(image * 2.0 - 1.0, (224, 224)) + 1.0) / 2.0
    normalise = CLIPImageProcessor(do_resize=False, do_center_crop=False, do_rescale=False)
    expected = normalise(images=resized, return_tensors="pt").pixel_values
    torch.testing.assert_close(to_encoder_pixels(image), expected, rtol=0, atol=2e-6)


SIDES = [(1, 1), (1, 500), (500, 1), (2, 2), (3, 224), (224, 225), (225, 223), (449, 447), (17, 1999)]
CASES = [(*sides, size) for sides in SIDES for size in (32, 224)]
CASES += [(576, 1024, 32), (1080, 1920, 224), (1, 1, 1), (2, 3, 1), (17, 199, 1)]


@pytest.mark.parametrize("h, w, size", CASES)
def test_resize_equals_the_library_that_sgm_calls(h: int, w: int, size: int):
    """Up and down, odd, tiny and huge, and down to a single pixel."""
    image = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(x)[:, None, None] for x in (CLIP_MEAN, CLIP_STD))
    resized = to_encoder_pixels(image, size) * std + mean
    expected = resize(2.0 * image - 1.0, (size, size), interpolation="bicubic", align_corners=True, antialias=True)
    torch.testing.assert_close(resized, (expected + 1.0) / 2.0, rtol=0, atol=1e-6)
