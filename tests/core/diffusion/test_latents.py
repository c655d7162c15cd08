"""Corrections of a clip's latents."""

from __future__ import annotations

import pytest
import torch

from svd_core import SVDError
from svd_core.diffusion.latents import correct_latents, normalize_frames

GENERATOR = torch.Generator().manual_seed(0)
LATENTS = torch.randn(5, 4, 6, 7, generator=GENERATOR) * torch.arange(1, 6).reshape(5, 1, 1, 1) + 0.3


def test_frames_get_the_mean_and_deviation_of_the_clip() -> None:
    even = normalize_frames(LATENTS)
    assert torch.allclose(even.mean(dim=(1, 2, 3)), LATENTS.mean().expand(5), atol=1e-5)
    assert torch.allclose(even.std(dim=(1, 2, 3)), LATENTS.std().expand(5), atol=1e-5)
    assert torch.allclose(normalize_frames(LATENTS / 0.18215), even / 0.18215, rtol=1e-4)  # in any scale


def test_a_frame_without_contrast_stays_finite() -> None:
    flat = LATENTS.clone()
    flat[2] = 1.0
    assert normalize_frames(flat).isfinite().all()


def test_contrast_comes_after_the_evening_out_and_all_is_off_by_default() -> None:
    assert correct_latents(LATENTS) is LATENTS
    both = correct_latents(LATENTS, post_normalize=True, contrast_enhance_scale=1.2)
    assert torch.allclose(both, 1.2 * normalize_frames(LATENTS))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_another_contrast_is_refused(scale: float) -> None:
    with pytest.raises(SVDError, match="contrast_enhance_scale"):
        correct_latents(LATENTS, contrast_enhance_scale=scale)
