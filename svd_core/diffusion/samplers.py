"""Samplers: solvers of the probability-flow ODE dx/dσ = (x - D(x; σ)) / σ of Karras et al. (2022).

All share one signature. `denoise(x, sigma)` is D: it returns x0 for a sample x at the noise level sigma, a 0-d fp32
tensor on the CPU (which mixes with tensors of any device, and costs no synchronisation). `sigmas` decrease and usually
end in 0. The state is fp32 throughout. `callback` sees every step before it is taken; an exception it raises ends the
run. Stochastic samplers need a CPU generator, whose noise is drawn in fp32 on the CPU and then moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..errors import SVDError, choose

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class StepInfo:
    """A step about to be taken: x at `sigma`, and the model's prediction of x0."""

    index: int  # 0 .. total - 1
    total: int
    sigma: Tensor  # 0-d
    x: Tensor
    denoised: Tensor


Callback = Callable[[StepInfo], None]


class Sampler(Protocol):
    """The shared signature; some samplers have further options."""

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        *,
        generator: torch.Generator | None = None,
        callback: Callback | None = None,
    ) -> Tensor: ...


@torch.no_grad()
def sample_euler(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = float("inf"),
    s_noise: float = 1.0,
) -> Tensor:
    """Algorithm 2 of Karras et al. (2022) with Euler steps; deterministic unless s_churn > 0."""
    run = _Run(sigmas, callback)
    x = x.float()
    for index, sigma, sigma_next in run:
        gamma = min(s_churn / run.total, 2**0.5 - 1) if s_tmin <= sigma <= s_tmax else 0.0
        x, sigma_hat = _raise_noise(x, sigma, gamma, s_noise, generator)
        x0 = denoise(x, sigma_hat)
        run.report(index, sigma_hat, x, x0)
        d = (x - x0) / sigma_hat
        x = x + d * (sigma_next - sigma_hat)
    return x


@torch.no_grad()
def sample_euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Ancestral sampling: an Euler step to below the next noise level, then noise up to it.

    The added variance is the DDPM posterior's (Ho et al. 2020) times eta². Raises SVDError without a generator.
    """
    run = _Run(sigmas, callback)
    x = x.float()
    for index, sigma, sigma_next in run:
        x0 = denoise(x, sigma)
        run.report(index, sigma, x, x0)
        posterior = sigma_next * (1.0 - (sigma_next / sigma) ** 2).sqrt()
        sigma_up = torch.minimum(sigma_next, eta * posterior)
        sigma_down = (sigma_next**2 - sigma_up**2).sqrt()
        d = (x - x0) / sigma
        x = x + d * (sigma_down - sigma)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * _noise_like(x, generator)
    return x


@torch.no_grad()
def sample_heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = float("inf"),
    s_noise: float = 1.0,
) -> Tensor:
    """Algorithm 2 of Karras et al. (2022), second order: two evaluations a step, one in the step to 0."""
    run = _Run(sigmas, callback)
    x = x.float()
    for index, sigma, sigma_next in run:
        gamma = min(s_churn / run.total, 2**0.5 - 1) if s_tmin <= sigma <= s_tmax else 0.0
        x, sigma_hat = _raise_noise(x, sigma, gamma, s_noise, generator)
        x0 = denoise(x, sigma_hat)
        run.report(index, sigma_hat, x, x0)
        d = (x - x0) / sigma_hat
        x_next = x + d * (sigma_next - sigma_hat)
        if sigma_next > 0:
            d_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
            x_next = x + (d + d_next) / 2 * (sigma_next - sigma_hat)
        x = x_next
    return x


@torch.no_grad()
def sample_dpmpp_2m(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M), algorithm 2 of Lu et al. (2022): second order with one evaluation a step.

    In its λ = -ln σ, a step of length h decays x by e^-h = σ' / σ. The first step and the one to 0 are first order.
    """
    run = _Run(sigmas, callback)
    x = x.float()
    h_last: Tensor | None = None
    x0_last = x
    for index, sigma, sigma_next in run:
        x0 = denoise(x, sigma)
        run.report(index, sigma, x, x0)
        h = (sigma / sigma_next).log()
        d = x0
        if h_last is not None and sigma_next > 0:
            r = h_last / h
            d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_last
        x = sigma_next / sigma * x - torch.expm1(-h) * d
        h_last, x0_last = h, x0
    return x


SAMPLERS: dict[str, Sampler] = {
    "euler": sample_euler,
    "euler_ancestral": sample_euler_ancestral,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}


class _Run:
    """Iterates over the steps of a run, (index, sigma, sigma_next), and reports to the callback."""

    def __init__(self, sigmas: Tensor, callback: Callback | None) -> None:
        self.sigmas = sigmas.float().cpu()
        self.total = max(len(sigmas) - 1, 0)
        self.callback = callback

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        for index in range(self.total):
            yield index, self.sigmas[index], self.sigmas[index + 1]

    def report(self, index: int, sigma: Tensor, x: Tensor, x0: Tensor) -> None:
        if self.callback is not None:
            self.callback(StepInfo(index, self.total, sigma, x, x0))


def _raise_noise(
    x: Tensor, sigma: Tensor, gamma: float, s_noise: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The churn of algorithm 2: raise x from the noise level σ to σ(1 + γ); returns x and its level."""
    if gamma == 0.0:
        return x, sigma
    sigma_hat = sigma * (1.0 + gamma)
    return x + s_noise * (sigma_hat**2 - sigma**2).sqrt() * _noise_like(x, generator), sigma_hat


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        raise SVDError("The sampler adds noise at every step and got no generator; pass noise.step_generator(seed).")
    return torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.device)


def choose_sampler(name: str) -> Sampler:
    """Raises SVDError for an unknown name."""
    return SAMPLERS[choose("sampler", name, SAMPLERS)]
