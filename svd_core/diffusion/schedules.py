"""Noise schedules: decreasing noise levels for a sampler, with a zero at the end."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import SVDError, choose, show_number
from .edm import SIGMA_MAX, SIGMA_MIN

SCHEDULES = ("karras", "align your steps")
Shortening = Literal["last steps", "all steps"]
SHORTENINGS: tuple[Shortening, ...] = get_args(Shortening)

# Beyond these, neighbouring levels of the schedule that a run takes the end of are the same number.
MAX_STEPS, MIN_DENOISE = 10_000, 0.001

# Sabour et al. 2024, the optimised levels for Stable Video Diffusion in ten steps.
ALIGN_YOUR_STEPS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def karras_sigmas(
    n: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = 7.0, start: float = 0.0
) -> Tensor:
    """Equation 5 of Karras et al. (2022): n levels from sigma_max to sigma_min, evenly spaced in σ^(1/rho), then 0.

    start: position of the first level on that ramp, 0 <= start < 1. Returns [n + 1] fp32, computed in fp64: the
    seventh power of an fp32 ramp is off by some 1e-6.
    """
    ramp = np.linspace(start, 1.0, n)
    highest, lowest = sigma_max ** (1.0 / rho), sigma_min ** (1.0 / rho)
    return _append_zero((highest + ramp * (lowest - highest)) ** rho)


def align_your_steps_sigmas(n: int, start: float = 0.0) -> Tensor:
    """The Align-Your-Steps levels for n steps, [n + 1] fp32: the published list for ten.

    Other counts, and a later start, interpolate the logarithms of its eleven points. The last point becomes 0.
    """
    published = np.linspace(0.0, 1.0, len(ALIGN_YOUR_STEPS))
    levels = np.exp(np.interp(np.linspace(start, 1.0, n + 1), published, np.log(ALIGN_YOUR_STEPS)))
    return _append_zero(levels[:-1])


def sigmas(
    schedule: str,
    steps: int,
    denoise: float = 1.0,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
    shortening: str = "last steps",
) -> Tensor:
    """The noise levels of a run, [steps + 1] fp32, ending in 0.

    schedule: one of SCHEDULES; "align your steps" brings its own range.

    denoise: at most 1; below 1 the run starts from a clip with noise, at a lower level. Which, says shortening:
    "last steps" are those of a schedule of int(steps / denoise) steps, as ComfyUI's samplers have it; "all steps" are
    spread over the last `denoise` of the schedule's way, as in DiffSynth. Karras levels of 25 steps start at

        denoise          0.9    0.7    0.5    0.3    0.1
        "last steps"     439    96.4   14.1   1.29   0.034
        "all steps"      379    92.1   15.6   1.43   0.037

    and the clip keeps what stands out from that much noise: its latents have a deviation of about 1. Raises SVDError
    for anything else.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise SVDError(f"Sampling needs 1 to {MAX_STEPS} steps and got {show_number(steps)}; 25 are usual.")
    if not MIN_DENOISE <= denoise <= 1.0:
        raise SVDError(
            f"denoise is {show_number(denoise)} and must be {MIN_DENOISE} to 1; use 1 to start from pure noise."
        )
    choose("shortening", shortening, SHORTENINGS)
    total, start = steps, 0.0
    if denoise <= 0.9999:
        total, start = (int(steps / denoise), 0.0) if shortening == "last steps" else (steps, 1.0 - denoise)
    if choose("schedule", schedule, SCHEDULES) == "karras":
        levels = karras_sigmas(total, sigma_min, sigma_max, start=start)
    else:
        levels = align_your_steps_sigmas(total, start)
    return levels[-(steps + 1) :]


def _append_zero(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.append(levels, 0.0)).float()
