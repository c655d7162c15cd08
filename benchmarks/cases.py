"""Cases of the benchmark: sizes of model and clip, and the inputs that every implementation gets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from svd_core.checkpoints import open_checkpoint
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.config import ModelConfig, UNetConfig
from svd_core.diffusion.conditioning import MicroConditioning, vector
from svd_core.diffusion.edm import scalings

MICRO = MicroConditioning(fps=7, motion_bucket_id=127, noise_aug_strength=0.02)
SIGMA = 15.6  # in the middle of the schedule


@dataclass(frozen=True)
class Case:
    """height, width: of the latent. The UNet's step has both guidance branches of the clip in one batch."""

    name: str
    title: str
    config: ModelConfig
    num_frames: int
    height: int
    width: int
    trained: bool = False  # weights of the bundled model, else random ones
    needs_gpu: bool = False

    def draw(self, seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _cases() -> dict[str, Case]:
    full = ModelConfig()
    demo = open_checkpoint(DEMO_CHECKPOINT).config
    cases = (
        Case("demo", "bundled model, 14 frames of 96x96", demo, 14, 12, 12, trained=True),
        Case("small", "full-size model, 8 frames of 256x128", full, 8, 16, 32),
        Case("svd", "full-size model, 14 frames of 1024x576", full, 14, 72, 128, needs_gpu=True),
        Case("xt", "full-size model, 25 frames of 1024x576", full, 25, 72, 128, needs_gpu=True),
    )
    return {case.name: case for case in cases}


CASES = _cases()


@dataclass(frozen=True)
class UNetInputs:
    """Inputs of `b` clips. Implementations spread them over frames in their own ways."""

    x: Tensor  # b t 8 h w
    c_noise: Tensor  # b
    context: Tensor  # b 1 k; zeros in the unconditional branch
    numbers: Tensor  # b 3: fps id, motion bucket, noise augmentation
    y: Tensor  # b 768, their sinusoids

    @property
    def num_frames(self) -> int:
        return self.x.shape[1]


def unet_inputs(case: Case, device: torch.device, dtype: torch.dtype) -> UNetInputs:
    config = case.config.unet or UNetConfig()
    noisy = case.draw(1, 1, case.num_frames, 4, case.height, case.width)
    picture = case.draw(2, 1, 1, 4, case.height, case.width).expand_as(noisy)
    x = torch.cat([torch.cat([noisy, each], dim=2) for each in (torch.zeros_like(picture), picture)])
    context = torch.cat([torch.zeros(1, 1, config.context_dim), case.draw(3, 1, 1, config.context_dim)])
    c_noise = scalings(torch.full((2,), SIGMA)).c_noise
    return UNetInputs(
        x.to(device, dtype),
        c_noise.to(device),
        context.to(device, dtype),
        *(each.to(device) for each in micro_rows(2)),
    )


def micro_rows(clips: int) -> tuple[Tensor, Tensor]:
    """The micro-conditioning of a batch, as numbers (b 3) and as the vector of their sinusoids (b 768)."""
    numbers = torch.tensor([MICRO.fps_id, MICRO.motion_bucket_id, MICRO.noise_aug_strength])
    return numbers.repeat(clips, 1), vector(MICRO).repeat(clips, 1)
