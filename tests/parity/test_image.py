"""What CLIP sees, against the resampling and normalisation of diffusers' pipeline."""

from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
from transformers import CLIPImageProcessor

from svd_core.images.pictures import clip_pixels


@pytest.mark.parametrize("h, w", [(576, 1024), (1024, 576), (300, 200), (225, 500), (224, 400), (100, 150), (64, 64)])
def test_squash(h: int, w: int):
    image = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(0))
    resized = (_resize_with_antialiasing(image * 2.0 - 1.0, (224, 224)) + 1.0) / 2.0
    normalise = CLIPImageProcessor(do_resize=False, do_center_crop=False, do_rescale=False)
    expected = normalise(images=resized, return_tensors="pt").pixel_values
    torch.testing.assert_close(clip_pixels(image), expected, rtol=0, atol=2e-6)
