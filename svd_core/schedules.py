"""Noise schedules: the decreasing noise levels that a sampler visits, and the zero at their end."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .diffusion import SIGMA_MAX, SIGMA_MIN
from .errors import SVDError

SCHEDULES = ("karras", "align your steps")

# Sabour et al. 2024, the optimised levels for Stable Video Diffusion in ten steps.
ALIGN_YOUR_STEPS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def karras_sigmas(n: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = 7.0) -> Tensor:
    """Equation 5 of Karras et al. (2022): n levels from sigma_max to sigma_min, evenly spaced in σ^(1/rho), then 0.

    Returns [n + 1] fp32, computed in fp64: the seventh power of an fp32 ramp is off by some 1e-6.
    """
    ramp = np.linspace(0.0, 1.0, n)
    start, end = sigma_max ** (1.0 / rho), sigma_min ** (1.0 / rho)
    return _ending_in_zero((start + ramp * (end - start)) ** rho)


def align_your_steps_sigmas(n: int) -> Tensor:
    """The Align-Your-Steps levels for n steps, [n + 1] fp32: the published list for ten.

    Other counts interpolate the logarithms of its eleven points. The last point is replaced by 0.
    """
    published = np.linspace(0.0, 1.0, len(ALIGN_YOUR_STEPS))
    levels = np.exp(np.interp(np.linspace(0.0, 1.0, n + 1), published, np.log(ALIGN_YOUR_STEPS)))
    return _ending_in_zero(levels[:-1])


def sigmas(
    schedule: str,
    steps: int,
    denoise: float = 1.0,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
) -> Tensor:
    """The noise levels of a run, [steps + 1] fp32, ending in 0.

    schedule: one of SCHEDULES; "align your steps" brings its own range. denoise: 0 < denoise <= 1; below 1 the last
    `steps` of a schedule of int(steps / denoise) steps are taken, as ComfyUI's samplers do. Raises SVDError for
    anything else.
    """
    if steps < 1:
        raise SVDError(f"Sampling needs at least 1 step and got {steps}; raise steps.")
    if not 0.0 < denoise <= 1.0:
        raise SVDError(f"denoise is {denoise:g} and must be above 0 and at most 1; use 1 to start from pure noise.")
    total = steps if denoise > 0.9999 else int(steps / denoise)
    if schedule == "karras":
        levels = karras_sigmas(total, sigma_min, sigma_max)
    elif schedule == "align your steps":
        levels = align_your_steps_sigmas(total)
    else:
        raise SVDError(f"There is no schedule named {schedule!r}; choose one of {', '.join(SCHEDULES)}.")
    return levels[-(steps + 1) :]


def _ending_in_zero(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.append(levels, 0.0)).float()
