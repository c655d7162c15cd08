"""Guidance scales of every kind, and what they do to predictions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.diffusion.edm import denoised
from svd_core.diffusion.guidance import GUIDANCE_KINDS, guidance_scale, guide, needs_uncond
from svd_core.errors import SVDError


@pytest.mark.parametrize(
    "kind, frames, expected",
    [
        ("linear", 5, [1.0, 1.5, 2.0, 2.5, 3.0]),
        ("linear", 1, [1.0]),
        ("triangle", 5, [1.0, 2.0, 3.0, 2.0, 1.0]),
        ("triangle", 4, [1.0, 7 / 3, 7 / 3, 1.0]),
        ("triangle", 1, [1.0]),
        ("constant", 3, [3.0, 3.0, 3.0]),
        ("constant", 1, [3.0]),
    ],
)
def test_scales_of_a_clip(kind: str, frames: int, expected: list[float]):
    scale = guidance_scale(kind, 1.0, 3.0, frames)
    assert scale.dtype == torch.float32
    assert scale.tolist() == pytest.approx(expected)


@given(st.sampled_from(GUIDANCE_KINDS), st.floats(0, 20), st.floats(0, 20), st.integers(1, 64))
@settings(deadline=None)
def test_scales_stay_between_their_ends(kind: str, low: float, high: float, frames: int):
    scale = guidance_scale(kind, low, high, frames)
    assert scale.shape == (frames,)
    assert scale.min() >= min(low, high) - 1e-4 and scale.max() <= max(low, high) + 1e-4
    if kind == "triangle":
        torch.testing.assert_close(scale, scale.flip(0))


@pytest.mark.parametrize(
    "kind, low, high, frames, needed",
    [
        ("linear", 1.0, 1.0, 14, False),
        ("constant", 2.5, 1.0, 14, False),
        ("linear", 1.0, 3.0, 1, False),
        ("linear", 2.5, 1.0, 14, True),  # max 1 alone does not switch guidance off
        ("triangle", 1.5, 1.0, 3, True),
        ("linear", 0.0, 1.0, 2, True),
        ("linear", 0.0, 0.0, 4, True),
    ],
)
def test_only_scales_of_one_throughout_need_no_uncond(kind: str, low: float, high: float, frames: int, needed: bool):
    assert needs_uncond(guidance_scale(kind, low, high, frames)) is needed


def test_every_frame_gets_its_own_scale_in_every_clip_of_a_batch():
    uncond, cond = torch.randn(2, 6, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.0, 1.0, 3.0])
    out = guide(uncond, cond, scale)  # (b t) c h w with b = 2, t = 3
    for row in range(6):
        s = float(scale[row % 3])
        torch.testing.assert_close(out[row], uncond[row] + s * (cond[row] - uncond[row]))


def test_guidance_is_fp32_for_16_bit_predictions():
    """In 16 bits the difference of these would be 999, and the sum a multiple of 2."""
    uncond, cond = torch.tensor([[1.25]]).half(), torch.tensor([[1000.0]]).half()
    out = guide(uncond, cond, torch.tensor([3.0]))
    assert out.dtype == torch.float32
    assert out.item() == 1.25 + 3.0 * 998.75


def test_guiding_v_is_guiding_the_data():
    x, uncond, cond = torch.randn(3, 4, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    scale, sigma = guidance_scale("linear", 1.0, 3.0, 4), torch.tensor(2.5)
    of_v = denoised(guide(uncond, cond, scale), x, sigma)
    of_x0 = guide(denoised(uncond, x, sigma), denoised(cond, x, sigma), scale)
    torch.testing.assert_close(of_v, of_x0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("cubic", 1.0, 3.0, 5), "no guidance named 'cubic'"),
        (("linear", 1.0, 3.0, 0), "at least 1 frame"),
        (("linear", float("nan"), 3.0, 5), "finite"),
        (("constant", 1.0, float("inf"), 5), "finite"),
    ],
)
def test_what_is_no_guidance_is_refused(arguments: tuple, words: str):
    with pytest.raises(SVDError, match=words):
        guidance_scale(*arguments)


@pytest.mark.parametrize("rows, other, frames", [(5, 5, 3), (6, 5, 3), (4, 4, 0)])
def test_predictions_that_hold_no_whole_clips_are_refused(rows: int, other: int, frames: int):
    with pytest.raises(SVDError, match="multiple of the number of frames"):
        guide(torch.zeros(rows, 2), torch.zeros(other, 2), torch.ones(frames))
