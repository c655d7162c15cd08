"""Micro-conditioning: frame rate, amount of motion, and noise added to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SVDError, is_finite, show_number
from ..models.embeddings import sinusoidal_embedding


@dataclass(frozen=True)
class MicroConditioning:
    """The three numbers of micro-conditioning. Raises SVDError for values out of range.

    fps: frames per second of the clip, at least 1 (trained on about 6 to 31). motion_bucket_id: amount of motion, at
    least 0 (trained on 0 to 255). noise_aug_strength: standard deviation of the noise added to the picture, in units
    of its [-1, 1] range, at least 0.
    """

    fps: float = 7.0
    motion_bucket_id: float = 127.0
    noise_aug_strength: float = 0.02

    def __post_init__(self) -> None:
        _check_min("fps", self.fps, at_least=1.0, advice="7 suits the released models")
        _check_min("motion_bucket_id", self.motion_bucket_id, at_least=0.0, advice="use 0 to 255, 127 for usual motion")
        _check_min("noise_aug_strength", self.noise_aug_strength, at_least=0.0, advice="0.02 is the usual strength")

    @property
    def fps_id(self) -> float:
        """The frame rate as the network was trained to read it: fps - 1."""
        return self.fps - 1.0


def vector(micro: MicroConditioning, dim: int = 256) -> Tensor:
    """The conditioning vector y, [3 · dim] fp32: the sinusoids of fps - 1, motion bucket and augmentation."""
    numbers = torch.tensor([micro.fps_id, micro.motion_bucket_id, micro.noise_aug_strength])
    return sinusoidal_embedding(numbers, dim).flatten()


def augment(image: Tensor, strength: float, noise: Tensor) -> Tensor:
    """Add strength · noise to the picture that the autoencoder encodes. The image encoder sees the clean picture.

    image: b 3 h w in [-1, 1]; noise: standard normal of the same shape; strength: at least 0. Returns b 3 h w, not
    clamped. Raises SVDError for a negative strength or another shape.
    """
    _check_min("noise_aug_strength", strength, at_least=0.0, advice="0.02 is the usual strength")
    if image.shape != noise.shape:
        raise SVDError(
            f"The augmentation noise has the shape {tuple(noise.shape)} and the picture {tuple(image.shape)}; "
            "draw the noise in the shape of the picture."
        )
    return image + strength * noise.to(image) if strength > 0.0 else image


def _check_min(name: str, value: float, *, at_least: float, advice: str) -> None:
    if not (is_finite(value) and value >= at_least):
        raise SVDError(
            f"{name} is {show_number(value)} and must be a finite number of at least {at_least:g}; {advice}."
        )
