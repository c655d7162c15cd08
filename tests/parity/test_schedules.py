"""Noise levels and initial scale against diffusers' scheduler, configured as the released repositories do."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from svd_core.diffusion.edm import denoised, scale_initial_noise, scalings
from svd_core.diffusion.samplers import sample_euler
from svd_core.diffusion.schedules import karras_sigmas


def scheduler(steps: int) -> EulerDiscreteScheduler:
    theirs = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        timestep_type="continuous",
        timestep_spacing="leading",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
    )
    theirs.set_timesteps(steps)
    return theirs


@pytest.mark.parametrize("steps", [5, 25, 30, 50])
def test_karras_levels(steps: int):
    """Both compute in fp64; fp32 arithmetic would be up to 3.5e-6 off."""
    torch.testing.assert_close(karras_sigmas(steps), scheduler(steps).sigmas, rtol=1e-6, atol=0)


@pytest.mark.parametrize("steps", [5, 25])
def test_the_network_is_told_the_same_level(steps: int):
    torch.testing.assert_close(
        scalings(karras_sigmas(steps)[:-1]).c_noise, scheduler(steps).timesteps, rtol=1e-6, atol=1e-7
    )


def test_initial_noise():
    theirs = scheduler(25)
    assert float(scale_initial_noise(torch.ones(()), 700.0)) == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)


def test_a_run_of_euler_steps():
    """The same stand-in for the network in both; only rounding may differ over 25 steps from sigma 700."""

    def network(model_input: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return torch.tanh(1.7 * model_input) * math.cos(float(c_noise)) + 0.1

    noise = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    theirs = scheduler(25)
    x = noise * theirs.init_noise_sigma
    for t in theirs.timesteps:
        x = theirs.step(network(theirs.scale_model_input(x, t), t), t, x).prev_sample

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        c = scalings(sigma)
        return denoised(network(c.c_in * x, c.c_noise), x, sigma)

    ours = sample_euler(denoise, scale_initial_noise(noise, 700.0), karras_sigmas(25))
    assert float((ours - x).norm() / x.norm()) < 1e-5
