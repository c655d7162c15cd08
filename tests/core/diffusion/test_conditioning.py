"""Micro-conditioning, against plain fp64 arithmetic, and the augmentation of the picture."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.diffusion.conditioning import MicroConditioning, augment, vector
from svd_core.errors import SVDError


def sinusoids(x: float, dim: int = 256) -> list[float]:
    half = dim // 2
    angles = [x * math.exp(-math.log(10000.0) * i / half) for i in range(half)]
    return [math.cos(a) for a in angles] + [math.sin(a) for a in angles]


@given(st.floats(1, 60), st.integers(0, 1023), st.floats(0, 5))
@settings(deadline=None, max_examples=40)
def test_vector_is_three_sinusoids_in_their_order(fps: float, motion: int, strength: float):
    y = vector(MicroConditioning(fps, motion, strength))
    assert y.shape == (768,) and y.dtype == torch.float32
    expected = [*sinusoids(fps - 1.0), *sinusoids(motion), *sinusoids(strength)]
    # An fp32 angle of size a is off by up to 6e-8 a, and so is its cosine.
    assert y.tolist() == pytest.approx(expected, abs=2e-7 * max(fps, motion, 1.0) + 3e-7)


def test_the_frame_rate_is_read_one_lower_and_cosines_come_first():
    y = vector(MicroConditioning(fps=1, motion_bucket_id=0, noise_aug_strength=0))
    assert y.tolist() == [*[1.0] * 128, *[0.0] * 128] * 3
    assert float(vector(MicroConditioning(fps=7))[0]) == pytest.approx(math.cos(6.0))


def test_high_motion_buckets_are_told_apart():
    assert not torch.allclose(
        vector(MicroConditioning(motion_bucket_id=1023)), vector(MicroConditioning(motion_bucket_id=1022)), atol=0.1
    )


def test_the_width_follows_the_model():
    assert vector(MicroConditioning(), dim=32).shape == (96,)


@pytest.mark.parametrize(
    "field, value",
    [
        ("fps", 0),
        ("fps", float("nan")),
        ("motion_bucket_id", -1),
        ("motion_bucket_id", float("inf")),
        ("noise_aug_strength", -0.01),
        ("noise_aug_strength", float("nan")),
    ],
)
def test_numbers_without_meaning_are_refused(field: str, value: float):
    with pytest.raises(SVDError, match=field):
        MicroConditioning(**{field: value})


def test_augmentation_adds_noise_of_its_strength_and_does_not_clamp():
    image, noise = torch.full((1, 3, 2, 2), 0.9), torch.full((1, 3, 2, 2), 2.0)
    out = augment(image, 0.25, noise)
    assert out.unique().tolist() == pytest.approx([1.4])
    assert image.unique().tolist() == pytest.approx([0.9])


def test_no_augmentation_is_the_picture_itself():
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(image, 0.0, torch.randn_like(image)), image)


def test_augmentation_refuses_negative_strength_and_noise_of_another_shape():
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(SVDError, match="noise_aug_strength"):
        augment(image, -0.1, image)
    with pytest.raises(SVDError, match="shape"):
        augment(image, 0.1, torch.zeros(1, 3, 4, 5))
