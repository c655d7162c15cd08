"""The colours that the latents of the demo model stand for, in the linear guess that previews make of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from svd_core.models.autoencoder import Autoencoder

from .data import generator_of, random_pictures


@torch.inference_mode()
def latents_and_colours(vae: Autoencoder, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Latents in diffusion space, n 4, and mean colours, n 3, of the latent cells of drawn pictures."""
    pictures = random_pictures(generator_of(seed, 41), count)
    latents = vae.config.scale_factor * vae.encode(pictures)
    colours = F.avg_pool2d(pictures, vae.config.downscale)  # in [-1, 1]
    return rearrange(latents, "b c h w -> (b h w) c"), rearrange(colours, "b c h w -> (b h w) c")


def fit_colours(vae: Autoencoder, seed: int = 0, count: int = 512) -> tuple[Tensor, Tensor]:
    """Factors, 4 3, and bias, 3, of the least squared error."""
    latents, colours = latents_and_colours(vae, seed, count)
    known = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)
    factors, bias = torch.linalg.lstsq(known, colours).solution.split([4, 1])
    return factors, bias[0]
