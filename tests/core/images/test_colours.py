"""Colours of a clip matched to its picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svd_core import SVDError
from svd_core.images.colours import match_colours

SCENE = torch.from_numpy(np.random.default_rng(0).uniform(0.2, 0.8, (12, 16, 3)).astype(np.float32))


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
