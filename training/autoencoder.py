"""Stages one and two: the autoencoder on pictures, then the temporal decoder on frozen latents."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svd_core.autoencoder import Autoencoder

from .data import generator_of, random_clip, random_pictures
from .loop import Training
from .settings import NUM_FRAMES, STAGES, VAE

KL_WEIGHT = 1e-6
LATENT_NOISE = 0.05  # of the latents' standard deviation: neighbours in latent space decode alike
FLICKER_NOISE = 0.1  # the same, frame by frame, for the temporal decoder to smooth away


def new_autoencoder(seed: int) -> Autoencoder:
    """Random weights, with a temporal path that does nothing yet."""
    torch.manual_seed(seed)
    vae = Autoencoder(VAE)
    for name, parameter in vae.named_parameters():
        if "time_mix_conv.weight" in name:
            nn.init.dirac_(parameter)
        elif "time_stack.out_layers.3." in name or "time_mix_conv.bias" in name:
            nn.init.zeros_(parameter)
    return vae


def temporal_parameters(vae: Autoencoder) -> dict[str, nn.Parameter]:
    named = dict(vae.named_parameters())
    return {k: p for k, p in named.items() if any(part in k for part in ("time_stack", "mix_factor", "time_mix_conv"))}


def train_autoencoder(vae: Autoencoder, folder: Path, seed: int, seconds: float | None) -> Training:
    temporal = temporal_parameters(vae)
    settings = STAGES["autoencoder"]
    training = Training("autoencoder", {k: p for k, p in vae.named_parameters() if k not in temporal}, settings)

    def step(index: int) -> dict[str, Tensor]:
        pictures = random_pictures(generator_of(seed, 1, index), settings.batch)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        mean, log_variance = vae.encoder(pictures).chunk(2, dim=1)
        log_variance = log_variance.clamp(-30.0, 20.0)
        noise = torch.randn(mean.shape, generator=generator)
        spread = LATENT_NOISE * mean.detach().std()
        decoded = vae.decode(mean + ((0.5 * log_variance).exp() + spread) * noise, num_frames=1)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
        reconstruction = picture_loss(decoded, pictures)
        mse = F.mse_loss(decoded.detach(), pictures)
        return {"loss": reconstruction + KL_WEIGHT * kl, "psnr": 10.0 * torch.log10(4.0 / mse), "kl": kl.detach()}

    training.run(step, folder, seconds)
    training.use_averages()
    normalise_latents(vae, seed)
    return training


def train_temporal_decoder(vae: Autoencoder, folder: Path, seed: int, seconds: float | None) -> Training:
    vae.requires_grad_(False)
    parameters = temporal_parameters(vae)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    training = Training("temporal_decoder", parameters, STAGES["temporal_decoder"])

    def step(index: int) -> dict[str, Tensor]:
        frames, _, _ = random_clip(generator_of(seed, 2, index))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        with torch.no_grad():
            latents = vae.encode(frames)
        strength = FLICKER_NOISE * latents.std() * torch.rand((), generator=generator)
        decoded = vae.decode(latents + strength * torch.randn(latents.shape, generator=generator), NUM_FRAMES)
        flicker = F.l1_loss(decoded.diff(dim=0), frames.diff(dim=0))
        mse = F.mse_loss(decoded.detach(), frames)
        return {
            "loss": picture_loss(decoded, frames) + 2.0 * flicker,
            "psnr": 10.0 * torch.log10(4.0 / mse),
            "flicker": flicker.detach(),
        }

    training.run(step, folder, seconds)
    training.use_averages()
    return training


def picture_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """L1 and squared error of the values, weighed by how much a place stands out, and L1 of the slopes.

    Sprites cover a twentieth of a picture: unweighed, the background alone would be learned for a long time.
    """
    around = F.avg_pool2d(pictures, 15, stride=1, padding=7, count_include_pad=False)
    contrast = (pictures - around).abs().mean(dim=1, keepdim=True)  # b 1 h w
    weight = 1.0 + contrast / contrast.mean()
    error = decoded - pictures
    across, down = (F.l1_loss(decoded.diff(dim=axis), pictures.diff(dim=axis)) for axis in (-1, -2))
    return (weight * (0.5 * error.abs() + error.square())).mean() + across + down


@torch.no_grad()
def normalise_latents(vae: Autoencoder, seed: int) -> None:
    """Scale latents, inside the weights, so that latent * scale_factor has unit variance. The decode stays the same."""
    latents = vae.encode(random_pictures(generator_of(seed, 3), 64))
    gain = 1.0 / (vae.config.scale_factor * latents.std())
    parameters = dict(vae.named_parameters())
    for leaf in ("weight", "bias"):
        parameters[f"encoder.conv_out.{leaf}"][: vae.config.latent_channels] *= gain
    parameters["decoder.conv_in.weight"].div_(gain)
