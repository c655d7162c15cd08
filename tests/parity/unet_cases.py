"""Inputs that reach every path of the UNet, in the form each implementation wants them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from svd_core.diffusion.conditioning import MicroConditioning, vector

from .models import UNET


@dataclass(frozen=True)
class UNetCase:
    """Sizes of one comparison.

    images: frames of each clip that are marked as lone images. time_context: whether the temporal layers read another
    embedding than the spatial ones.
    """

    name: str
    clips: int = 1
    frames: int = 5
    tokens: int = 1
    height: int = 16
    width: int = 16
    images: tuple[int, ...] = ()
    time_context: bool = False

    def __str__(self) -> str:
        return self.name


# 16 latent cells at least: on the coarsest level of smaller ones a norm group has so few values that rounding rules.
UNET_CASES = (
    UNetCase("one clip"),
    UNetCase("two clips", clips=2, frames=4),
    UNetCase("one frame", frames=1, width=24),
    UNetCase("odd sizes", frames=3, height=19, width=27),
    UNetCase("several tokens", clips=2, frames=3, tokens=5),
    UNetCase("lone images", clips=2, frames=3, images=(0, 1, 2)),
    UNetCase("some lone images", clips=2, frames=4, images=(1,)),
)
HOST_UNET_CASES = (*UNET_CASES, UNetCase("another time context", clips=2, frames=3, time_context=True))


@dataclass(frozen=True)
class UNetInputs:
    x: Tensor  # b t 8 h w
    c_noise: Tensor  # b
    context: Tensor  # b m k
    numbers: Tensor  # b 3: fps id, motion bucket, noise augmentation
    image_only: Tensor  # b t
    time_context: Tensor | None = None  # b m k

    @property
    def num_frames(self) -> int:
        return self.x.shape[1]

    def double(self) -> UNetInputs:
        return replace(self, x=self.x.double(), context=self.context.double())

    def per_frame(self) -> dict[str, Tensor]:
        """Frames in the batch axis, each with the conditioning of its clip: how the host and we have it."""
        y = torch.stack(
            [vector(MicroConditioning(fps_id + 1, motion, aug)) for fps_id, motion, aug in self.numbers.tolist()]
        )
        clip_wise = {"c_noise": self.c_noise, "context": self.context, "y": y}
        if self.time_context is not None:
            clip_wise["time_context"] = self.time_context
        rows = {name: value.repeat_interleave(self.num_frames, dim=0) for name, value in clip_wise.items()}
        return {"x": self.x.flatten(0, 1), "image_only": self.image_only.flatten(), **rows}


def unet_inputs(case: UNetCase) -> UNetInputs:
    """Every clip of a batch has its own noise level, embedding and micro-conditioning."""
    generator = torch.Generator().manual_seed(len(case.name))

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    image_only = torch.zeros(case.clips, case.frames)
    image_only[:, list(case.images)] = 1.0
    return UNetInputs(
        x=draw(case.clips, case.frames, UNET.in_channels, case.height, case.width),
        c_noise=torch.tensor([1.2, -0.7])[: case.clips],
        context=draw(case.clips, case.tokens, UNET.context_dim),
        numbers=torch.tensor([[6.0, 127.0, 0.02], [14.0, 40.0, 0.3]])[: case.clips],
        image_only=image_only,
        time_context=draw(case.clips, case.tokens, UNET.context_dim) if case.time_context else None,
    )
