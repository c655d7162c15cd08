"""Samplers, schedules and preconditioning against those of a real ComfyUI."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from svd_core.diffusion import edm, schedules
from svd_core.diffusion.samplers import SAMPLERS

from .figures import Figures
from .host_inputs import STEPS, host_inputs
from .host_process import CHURN, CHURNED_SAMPLERS, NOISE_SEED, STATELESS_SAMPLERS, toy_denoiser

SAMPLER_LIMIT = 1e-5
SIGMA_LIMIT = 1e-6
LEVEL_LIMIT = 4e-6

RUNS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in (*STATELESS_SAMPLERS, "euler_ancestral")}
RUNS |= {f"{name} with churn": (name, CHURN) for name in CHURNED_SAMPLERS}


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return host_inputs()


@pytest.mark.parametrize("run", RUNS)
def test_sampler(host: dict[str, Tensor], inputs: dict[str, Tensor], figures: Figures, run: str) -> None:
    name, options = RUNS[run]
    generator = torch.Generator().manual_seed(NOISE_SEED)
    x, sigmas = inputs["sampler_x"], inputs["sampler_sigmas"]
    ours = SAMPLERS[name](toy_denoiser, x, sigmas, generator=generator, **options)
    figures.within(SAMPLER_LIMIT, f"sampler / ComfyUI, {run}", ours, host[f"sampler/{run}"])


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("schedule", schedules.SCHEDULES)
def test_schedule(host: dict[str, Tensor], figures: Figures, schedule: str, steps: int) -> None:
    ours, theirs = schedules.sigmas(schedule, steps), host[f"sigmas/{schedule}/{steps}"]
    figures.within(SIGMA_LIMIT, f"sigmas / ComfyUI, {schedule}, {steps} steps", ours, theirs)
    # The norm only sees the first levels. Each one by itself is as good as the host's fp32 seventh power allows.
    assert ours[-1] == theirs[-1] == 0
    assert float((ours[:-1] / theirs[:-1] - 1).abs().max()) <= LEVEL_LIMIT


def test_preconditioning(host: dict[str, Tensor], inputs: dict[str, Tensor], figures: Figures) -> None:
    x, v, sigma = inputs["scaling_x"], inputs["scaling_v"], inputs["scaling_sigmas"]
    c = edm.scalings(sigma)
    ours = {
        "input": c.c_in[:, None, None, None] * x,
        "c_noise": c.c_noise,
        "denoised": edm.denoised(v, x, sigma),
        "start": edm.scale_initial_noise(x, sigma[0]),
        "start from a latent": edm.scale_initial_noise(x, sigma[0], v),
    }
    for name, value in ours.items():
        figures.within(SIGMA_LIMIT, f"preconditioning / ComfyUI, {name}", value, host[f"scaling/{name}"])
