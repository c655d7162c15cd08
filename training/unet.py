"""Stage three: the UNet, with the image tower, on the objective of EDM (Karras et al. 2022) with v-prediction."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from svd_core.diffusion import edm
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.unet.unet import VideoUNet

from .data import ClipBuffer, Encoded
from .loop import Training, mixed_precision
from .settings import CLIP, NUM_FRAMES, STAGES, UNET, NoiseSettings


class Denoiser(nn.Module):
    """The two networks that are trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = VideoUNet(UNET)
        self.clip = ClipVision(CLIP)


def new_denoiser(seed: int, device: torch.device | None = None) -> Denoiser:
    """Random weights; residual branches and the last convolution start at zero."""
    torch.manual_seed(seed)
    networks = Denoiser()
    for name, parameter in networks.named_parameters():
        if name.startswith("unet.") and (
            ".out_layers.3." in name or ".proj_out." in name or name.startswith("unet.out.2.")
        ):
            nn.init.zeros_(parameter)
        elif name.endswith(("class_embedding", "position_embedding.weight")):
            nn.init.normal_(parameter, std=0.02)
    return networks.to(device)


def v_target(x0: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Target of the network, whose x0 is then exact: (x0 - c_skip x) / c_out."""
    c = edm.scalings(sigma)
    return (x0 - c.c_skip * x) / c.c_out


def edm_loss(networks: Denoiser, clips: Encoded, noise: NoiseSettings, generator: torch.Generator) -> Tensor:
    """The mean squared error of v, in which EDM's weight of x0 (1 + 1/sigma²) is already contained."""
    x0 = clips.latents  # b t 4 h w
    size, device = len(x0), x0.device
    sigma = random_sigmas(size, noise, generator).to(device)[:, None, None, None, None]
    x = x0 + sigma * torch.randn(x0.shape, generator=generator).to(device)
    c = edm.scalings(sigma)

    shown = (torch.rand(size, generator=generator) >= noise.dropout).float().to(device)
    cond = clips.cond_latent * shown[:, None, None, None]
    cond = repeat(cond, "b c h w -> b t c h w", t=NUM_FRAMES)
    with mixed_precision(networks):
        context = networks.clip(clips.clip_pixels).image_embeds.float() * shown[:, None]  # b d
        v = networks.unet(
            rearrange(torch.cat([c.c_in * x, cond], dim=2), "b t c h w -> (b t) c h w"),
            repeat(c.c_noise.flatten(), "b -> (b t)", t=NUM_FRAMES),
            repeat(context, "b d -> (b t) 1 d", t=NUM_FRAMES),
            repeat(clips.vector, "b y -> (b t) y", t=NUM_FRAMES),
            NUM_FRAMES,
        )
    target = rearrange(v_target(x0, x, sigma), "b t c h w -> (b t) c h w")
    return (v.float() - target).square().mean()


def random_sigmas(count: int, noise: NoiseSettings, generator: torch.Generator) -> Tensor:
    """Draw log-normal sigmas, each from its own slice of the distribution, so that a batch has high and low noise."""
    quantiles = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    normal = torch.special.ndtri(quantiles.clamp(1e-4, 1.0 - 1e-4))
    return (noise.p_mean + noise.p_std * normal).exp()


def train_unet(
    networks: Denoiser, vae: Autoencoder, folder: Path, seed: int, seconds: float | None, noise: NoiseSettings
) -> Training:
    vae.requires_grad_(False)
    buffer = ClipBuffer(vae, seed, noise)
    settings = STAGES["unet"]
    training = Training("unet", dict(networks.named_parameters()), settings)

    def step(index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        return {"loss": edm_loss(networks, buffer.batch(index, settings.batch), noise, generator)}

    training.run(step, folder, seconds)
    training.use_averages()
    return training
