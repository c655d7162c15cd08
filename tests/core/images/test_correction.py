"""Corrections of contrast and colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svd_core import SVDError
from svd_core.images.colours import correct_latents, match_colours, normalize_frames

GENERATOR = torch.Generator().manual_seed(0)
LATENTS = torch.randn(5, 4, 6, 7, generator=GENERATOR) * torch.arange(1, 6).reshape(5, 1, 1, 1) + 0.3
SCENE = torch.from_numpy(np.random.default_rng(0).uniform(0.2, 0.8, (12, 16, 3)).astype(np.float32))


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


def test_a_drifted_clip_comes_back_to_the_picture() -> None:
    gains = torch.linspace(1.0, 1.2, 4).reshape(4, 1, 1, 1) * torch.tensor([1.0, 0.9, 1.0])
    drifted = (SCENE * gains).clamp(0, 1)
    matched = match_colours(drifted, SCENE)
    before, after = ((clip - SCENE).abs().mean(dim=(1, 2, 3)) for clip in (drifted, matched))
    assert (after < before).all() and after[-1] < 0.2 * before[-1]


def test_frames_that_did_not_drift_stay() -> None:
    assert torch.allclose(match_colours(SCENE[None], SCENE)[0], SCENE, atol=1e-4)


def test_strength_goes_all_the_way() -> None:
    drifted = (SCENE[None] * 0.8).clamp(0, 1)
    assert match_colours(drifted, SCENE, 0.0) is drifted
    errors = [float((match_colours(drifted, SCENE, s) - SCENE).abs().mean()) for s in (0.3, 0.6, 1.0)]
    assert errors[0] > errors[1] > errors[2]


def test_only_colours_of_the_picture_count() -> None:
    bigger = SCENE.repeat_interleave(3, 0).repeat_interleave(3, 1)
    drifted = SCENE[None] * 0.9
    assert torch.allclose(match_colours(drifted, bigger), match_colours(drifted, SCENE), atol=1e-3)


def test_flat_and_black_frames_stay_finite() -> None:
    for value in (0.0, 0.5, 1.0):
        matched = match_colours(torch.full((2, 4, 4, 3), value), SCENE)
        assert matched.isfinite().all() and matched.min() >= 0 and matched.max() <= 1


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_another_strength_is_refused(strength: float) -> None:
    with pytest.raises(SVDError, match="strength of the colour match"):
        match_colours(SCENE[None], SCENE, strength)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_another_contrast_is_refused(scale: float) -> None:
    with pytest.raises(SVDError, match="contrast_enhance_scale"):
        correct_latents(LATENTS, contrast_enhance_scale=scale)
