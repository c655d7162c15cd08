"""Stages one and two: the autoencoder on pictures, then the temporal decoder on frozen latents."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svd_core.models.autoencoder import Autoencoder
from svd_core.models.autoencoder.decoder import Decoder

from .data import generator_of, random_clip, random_pictures
from .loop import Training, device_of, mixed_precision
from .settings import NUM_FRAMES, STAGES, VAE

KL_WEIGHT = 1e-6
LATENT_NOISE = 0.05  # of the latents' standard deviation: neighbours in latent space decode alike
FLICKER_NOISE = 0.15  # at most, of the same: changes over the frames for the temporal decoder to smooth away
SLOWEST_FLICKER = 0.95  # correlation of one frame's noise with the next one's; sampled latents have about 0.7
MOVING_WEIGHT = 24.0  # of change over the frames where there should be other change, lest motion is smoothed away
STILL_WEIGHT = 64.0  # and where there should be none: there it is seen


def new_autoencoder(seed: int, device: torch.device | None = None) -> Autoencoder:
    """Random weights, with a temporal path that does nothing yet."""
    torch.manual_seed(seed)
    vae = Autoencoder(VAE)
    for name, parameter in vae.named_parameters():
        if "time_mix_conv.weight" in name:
            nn.init.dirac_(parameter)
        elif "time_stack.out_layers.3." in name or "time_mix_conv.bias" in name:
            nn.init.zeros_(parameter)
    return vae.to(device)


def temporal_parameters(vae: Autoencoder) -> dict[str, nn.Parameter]:
    named = dict(vae.named_parameters())
    return {k: p for k, p in named.items() if any(part in k for part in ("time_stack", "mix_factor", "time_mix_conv"))}


def train_autoencoder(vae: Autoencoder, folder: Path, seed: int, seconds: float | None) -> Training:
    temporal = temporal_parameters(vae)
    settings = STAGES["autoencoder"]
    training = Training("autoencoder", {k: p for k, p in vae.named_parameters() if k not in temporal}, settings)
    device = device_of(vae)

    def step(index: int) -> dict[str, Tensor]:
        pictures = random_pictures(generator_of(seed, 1, index), settings.batch).to(device)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        with mixed_precision(vae):
            moments = vae.encoder(pictures)
        mean, log_variance = moments.float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-30.0, 20.0)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        spread = LATENT_NOISE * mean.detach().std()
        with mixed_precision(vae):
            decoded = decode_pictures(vae.decoder, mean + ((0.5 * log_variance).exp() + spread) * noise)
        decoded = decoded.float()
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
    device = device_of(vae)

    def step(index: int) -> dict[str, Tensor]:
        frames = random_clip(generator_of(seed, 2, index))[0].to(device)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        with torch.no_grad(), mixed_precision(vae):
            latents = vae.encode(frames).float()
        noisy = latents + latents.std() * flicker_noise(latents.shape, generator).to(device)
        with mixed_precision(vae):
            decoded = vae.decode(noisy, NUM_FRAMES)
        decoded = decoded.float()
        wrong_change = ((decoded - decoded.mean(dim=0)) - (frames - frames.mean(dim=0))).abs()
        still = (frames.amax(dim=0) - frames.amin(dim=0)).amax(dim=0) == 0.0  # h w
        flicker, moving = wrong_change[..., still].mean(), wrong_change[..., ~still]
        mse = F.mse_loss(decoded.detach(), frames)
        return {
            "loss": picture_loss(decoded, frames)
            + STILL_WEIGHT * flicker
            + MOVING_WEIGHT * moving.sum() / max(moving.numel(), 1),  # of a clip at rest there is none
            "psnr": 10.0 * torch.log10(4.0 / mse),
            "flicker": flicker.detach(),
        }

    training.run(step, folder, seconds)
    training.use_averages()
    return training


def flicker_noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Noise like that of sampled latents, t c h w, in single cells and in whole frames.

    A sum of noise that forgets itself over a few frames and of a drift through the clip, which is half of the
    temporal variance of what the trained UNet leaves.
    """
    strength, whole, memory, slow = torch.rand(4, generator=generator).tolist()
    noise, slope, bend = (_cells_and_whole(size, whole, generator) for size in (shape, shape[1:], shape[1:]))
    memory *= SLOWEST_FLICKER
    for before, now in pairwise(noise):
        now.mul_((1.0 - memory**2) ** 0.5).add_(before, alpha=memory)
    time = torch.linspace(-1.0, 1.0, shape[0])[:, None, None, None]
    drift = 3.0**0.5 * time * slope + (1.5 * time**2 - 0.5) * bend  # Legendre polynomials: no mean, twice the line
    return FLICKER_NOISE * strength * (noise + slow * drift)


def _cells_and_whole(shape: torch.Size, whole: float, generator: torch.Generator) -> Tensor:
    """Normal noise per cell, plus `whole` times a noise that all cells of a picture share; ... h w."""
    return torch.randn(shape, generator=generator) + whole * torch.randn((*shape[:-2], 1, 1), generator=generator)


def decode_pictures(decoder: Decoder, z: Tensor) -> Tensor:
    """Decode lone pictures without the temporal path, which does nothing at the start of the training."""
    x = z
    for layer, block in decoder.steps():
        x = block.spatial(layer(x))
    return decoder.head(x)


def picture_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """L1 and squared error of the values, weighted by contrast, and L1 of the slopes.

    Sprites cover a twentieth of a picture: unweighed, the background alone would be learned for a long time.
    """
    around = pictures
    for kernel, padding in (((15, 1), (7, 0)), ((1, 15), (0, 7))):
        around = F.avg_pool2d(around, kernel, stride=1, padding=padding, count_include_pad=False)
    contrast = (pictures - around).abs().mean(dim=1, keepdim=True)  # b 1 h w
    weight = 1.0 + contrast / contrast.mean()
    error = decoded - pictures
    across, down = (F.l1_loss(decoded.diff(dim=axis), pictures.diff(dim=axis)) for axis in (-1, -2))
    return (weight * (0.5 * error.abs() + error.square())).mean() + across + down


@torch.no_grad()
def normalise_latents(vae: Autoencoder, seed: int) -> None:
    """Scale latents, inside the weights, so that latent * scale_factor has unit variance. The decode stays the same."""
    latents = vae.encode(random_pictures(generator_of(seed, 3), 64).to(device_of(vae)))
    gain = 1.0 / (vae.config.scale_factor * latents.std())
    parameters = dict(vae.named_parameters())
    for leaf in ("weight", "bias"):
        parameters[f"encoder.conv_out.{leaf}"][: vae.config.latent_channels] *= gain
    parameters["decoder.conv_in.weight"].div_(gain)
