"""The preconditioning, against the definition of v-prediction in fp64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.diffusion.edm import SIGMA_MAX, SIGMA_MIN, denoised, scale_initial_noise, scalings

LEVELS = st.floats(SIGMA_MIN, SIGMA_MAX)


@given(LEVELS)
@settings(deadline=None)
def test_scalings_match_their_formulas(sigma: float):
    c = scalings(sigma)
    root = math.sqrt(sigma * sigma + 1)
    assert float(c.c_skip) == pytest.approx(1 / root**2, rel=1e-6)
    assert float(c.c_out) == pytest.approx(-sigma / root, rel=1e-6)
    assert float(c.c_in) == pytest.approx(1 / root, rel=1e-6)
    assert float(c.c_noise) == pytest.approx(math.log(sigma) / 4, rel=1e-6, abs=1e-7)


def test_c_noise_spans_what_the_network_was_trained_on():
    c = scalings(torch.tensor([SIGMA_MAX, SIGMA_MIN]))
    assert c.c_noise.tolist() == pytest.approx([1.6378, -1.5537], abs=5e-5)


def test_scalings_stay_fp32_for_16_bit_levels():
    assert all(x.dtype == torch.float32 for x in vars(scalings(torch.tensor(2.0, dtype=torch.float16))).values())


@given(LEVELS)
@settings(deadline=None, max_examples=30)
def test_denoised_recovers_the_data_from_its_v(sigma: float):
    """v = α ε - σ' x0 on the circle α = 1/√(1+σ²), σ' = σ/√(1+σ²)."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 4, 5, 6, generator=generator, dtype=torch.float64)
    root = math.sqrt(1 + sigma * sigma)
    v = eps / root - sigma / root * x0
    x = x0 + sigma * eps
    # x carries the rounding of an fp32 number of size σ, divided by σ² + 1.
    torch.testing.assert_close(denoised(v.float(), x.float(), sigma).double(), x0, rtol=0, atol=3e-6)


def test_denoised_is_fp32_with_a_level_for_every_frame():
    x = torch.ones(3, 4, 2, 2, dtype=torch.float16)
    sigma = torch.tensor([0.1, 1.0, 10.0])
    out = denoised(x, x, sigma)
    assert out.dtype == torch.float32
    for frame, level in zip(out, sigma, strict=True):
        assert torch.equal(frame, denoised(x[:1], x[:1], level)[0])


def test_initial_noise_without_a_latent_has_the_variance_of_noise_and_data():
    noise = torch.ones(2, 4, 3, 3)
    assert scale_initial_noise(noise, 3.0).unique().tolist() == pytest.approx([math.sqrt(10.0)])
    assert scale_initial_noise(noise, torch.tensor(700.0)).unique().item() == pytest.approx(700.000714, abs=1e-4)


def test_initial_noise_is_added_to_a_latent():
    noise, latent = torch.full((2, 4), 2.0), torch.full((2, 4), 5.0)
    assert scale_initial_noise(noise, 3.0, latent).unique().tolist() == [11.0]
