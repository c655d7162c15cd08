"""Training data: freshly drawn scenes, decided by the seed and the number of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from svd_core.diffusion.conditioning import MicroConditioning, vector
from svd_core.images.encoder_pixels import to_encoder_pixels
from svd_core.models.autoencoder import Autoencoder

from .loop import device_of, mixed_precision
from .scenes import random_motion, random_scene, render
from .settings import CLIP, NUM_FRAMES, SIZE, NoiseSettings


def generator_of(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def random_clip(rng: np.random.Generator) -> tuple[Tensor, float, float]:
    """t 3 h w in [-1, 1], motion bucket, fps."""
    bucket, fps = random_motion(rng)
    frames = render(random_scene(rng), SIZE, NUM_FRAMES, bucket, fps)
    return _pixels(frames), bucket, fps


def random_pictures(rng: np.random.Generator, count: int) -> Tensor:
    """Lone frames of different scenes, b 3 h w in [-1, 1]."""
    frames = [
        render(random_scene(rng), SIZE, 1, *random_motion(rng), first=rng.uniform(0, NUM_FRAMES - 1))[0]
        for _ in range(count)
    ]
    return _pixels(np.stack(frames))


def _pixels(pictures: np.ndarray) -> Tensor:
    """b h w 3 in [0, 1] to b 3 h w in [-1, 1], contiguous: group norms are slow on a CPU where channels come last."""
    return rearrange(2.0 * torch.from_numpy(pictures).float() - 1.0, "b h w c -> b c h w").contiguous()


@dataclass(frozen=True)
class Encoded:
    """Training clips of the UNet."""

    latents: Tensor  # b t 4 h w, scaled
    cond_latent: Tensor  # b 4 h w, unscaled, of the noise-augmented first frame
    clip_pixels: Tensor  # b 3 s s
    vector: Tensor  # b 768

    def pick(self, rows: Tensor) -> Encoded:
        return Encoded(*(x[rows] for x in (self.latents, self.cond_latent, self.clip_pixels, self.vector)))


class ClipBuffer:
    """The last clips encoded. Every step adds one and trains on several: encoding is dear, repeating is not."""

    def __init__(self, vae: Autoencoder, seed: int, noise: NoiseSettings, capacity: int = 768) -> None:
        self.vae, self.seed, self.noise, self.capacity = vae, seed, noise, capacity
        self.clips: list[Encoded] = []
        self.next = 0

    def batch(self, step: int, size: int) -> Encoded:
        """Fill up to the step's state in an unbroken run, then draw."""
        self.next = max(self.next, step - self.capacity // 4)
        while self.next <= step + self.capacity // 8:
            self.clips.append(self._encode(self.next))
            self.next += 1
        del self.clips[: -self.capacity]
        rng = generator_of(self.seed, 31, step)
        rows = rng.integers(0, len(self.clips), size)
        picked = [self.clips[row] for row in rows]
        return Encoded(
            *(torch.stack([getattr(clip, name) for clip in picked]) for name in Encoded.__dataclass_fields__)
        )

    @torch.no_grad()
    def _encode(self, index: int) -> Encoded:
        rng = generator_of(self.seed, 32, index)
        frames, bucket, fps = random_clip(rng)  # t 3 h w
        strength = float(np.exp(rng.normal(self.noise.augmentation_mean, self.noise.augmentation_std)))
        noise = torch.from_numpy(rng.standard_normal(frames[0].shape)).float()
        noisy = frames[:1] + strength * noise
        device = device_of(self.vae)
        with mixed_precision(self.vae):
            latents = self.vae.encode(torch.cat([frames, noisy]).to(device)).float()
        pixels = to_encoder_pixels((frames[:1] + 1.0) / 2.0, CLIP.image_size)[0]
        y = vector(MicroConditioning(fps, bucket, strength))
        return Encoded(latents[:-1] * self.vae.config.scale_factor, latents[-1], pixels.to(device), y.to(device))
