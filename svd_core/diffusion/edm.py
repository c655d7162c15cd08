"""v-prediction in the noise parametrisation of EDM (Karras et al. 2022, table 1; sigma_data = 1).

A sample at noise level sigma is x = x0 + sigma · eps. The network sees c_in · x and c_noise, and answers with v.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA_MIN = 0.002
SIGMA_MAX = 700.0


@dataclass(frozen=True)
class Scalings:
    """The preconditioning of one noise level, each of the shape of sigma, fp32."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def scalings(sigma: Tensor | float) -> Scalings:
    """The preconditioning at `sigma` > 0, any shape.

    c_skip = 1 / (σ² + 1), c_out = -σ / √(σ² + 1), c_in = 1 / √(σ² + 1), c_noise = ln(σ) / 4. Always fp32: in 16 bits
    c_noise would round to another noise level.
    """
    sigma = torch.as_tensor(sigma).float()
    variance = sigma**2 + 1.0
    return Scalings(
        c_skip=1.0 / variance,
        c_out=-sigma / variance.sqrt(),
        c_in=1.0 / variance.sqrt(),
        c_noise=0.25 * sigma.log(),
    )


def denoised(model_output: Tensor, x: Tensor, sigma: Tensor | float) -> Tensor:
    """x0 = c_skip · x + c_out · v, in fp32.

    model_output: v, any float type; x: the noisy sample (not scaled by c_in) of the same shape; sigma: a number, or
    one per leading index of x.
    """
    c = scalings(sigma)
    return _align(c.c_skip, x) * x.float() + _align(c.c_out, x) * model_output.float()


def scale_initial_noise(noise: Tensor, sigma0: Tensor | float, latent: Tensor | None = None) -> Tensor:
    """The sample that sampling starts from, fp32.

    Without a latent, noise · √(σ0² + 1), which adds the unit variance of the data. With one, latent + σ0 · noise.
    The latent is in diffusion space (the autoencoder's latent times its scale factor).
    """
    sigma0 = torch.as_tensor(sigma0).float()
    if latent is None:
        return _align((sigma0**2 + 1.0).sqrt(), noise) * noise.float()
    return latent.float() + _align(sigma0, noise) * noise.float()


def _align(number: Tensor, x: Tensor) -> Tensor:
    """`number` with trailing axes of one, so that its axes broadcast along the leading axes of x."""
    return number.to(x.device).reshape(*number.shape, *[1] * (x.ndim - number.ndim)) if number.ndim else number
