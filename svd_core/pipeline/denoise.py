"""One evaluation of the denoiser: both branches of classifier-free guidance through the UNet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..diffusion import edm, guidance
from ..diffusion.step_cache import StepCache
from ..memory.activations import UNetCall
from ..memory.sampling import SamplingMemory
from ..models.pieces import Pieces
from ..models.unet.evaluation import Constants
from ..models.unet.unet import VideoUNet


@dataclass(frozen=True)
class Conditioning:
    """Conditions of one clip. The unconditional branch has zeros in place of the embedding and the latent."""

    image_embeds: Tensor  # 1 1 d
    latent: Tensor  # 1 4 h w, unscaled
    vector: Tensor  # 768


@dataclass(frozen=True)
class GuidedDenoiser:
    """The denoiser D(x; σ) of Karras et al. (2022) with a guidance scale for each frame, for one run."""

    unet: VideoUNet
    dtype: torch.dtype
    memory: SamplingMemory
    cache: StepCache
    constants: defaultdict[tuple[str, ...], Constants] = field(default_factory=lambda: defaultdict(Constants))

    def denoise(self, x: Tensor, sigma: Tensor, cond: Conditioning, scale: Tensor) -> Tensor:
        """The guided x0 of every frame, t 4 h w, fp32. x: t 4 h w, fp32; sigma: 0-d; scale: t."""
        guided = guidance.needs_uncond(scale)
        if not guided:
            return self._evaluate(x, sigma, cond, ("cond",), guided)
        # One batch of both branches is faster, but takes the memory of both: apart where that would need a split.
        call = self.call(x.shape, 2)
        together = self.memory.clips_at_once(self.unet.config, call) == 2
        batches = [("uncond", "cond")] if together else [("uncond",), ("cond",)]
        x0 = torch.cat([self._evaluate(x, sigma, cond, branches, guided) for branches in batches])  # (b t) 4 h w
        x0_uncond, x0_cond = x0.chunk(2)
        return guidance.guide(x0_uncond, x0_cond, scale)

    def check_fits(self, shape: Sequence[int], branches: int) -> None:
        """Plan the run. Raises SVDError where the memory does not suffice. shape: t 4 h w."""
        call = self.call(shape, branches)
        clips = self.memory.clips_at_once(self.unet.config, call)
        self.memory.plan(self.unet.config, replace(call, clips=clips))

    def call(self, shape: Sequence[int], branches: int) -> UNetCall:
        """The call of the UNet for `branches` of the guidance at once. shape: t 4 h w."""
        num_frames, _, height, width = shape
        on_cpu = next(self.unet.parameters()).is_cpu
        return UNetCall(height, width, num_frames, self.dtype, branches, 1, self.cache.branches, on_cpu)

    def _evaluate(
        self, x: Tensor, sigma: Tensor, cond: Conditioning, branches: tuple[str, ...], guided: bool
    ) -> Tensor:
        """x0 in each of b guidance branches, (b t) 4 h w. x: t 4 h w."""
        num_frames, b = len(x), len(branches)
        context, latent = (
            torch.cat([own if branch == "cond" else torch.zeros_like(own) for branch in branches])
            for own in (cond.image_embeds, cond.latent)  # b m d, b 4 h w
        )
        c = edm.scalings(sigma)
        x = x.repeat(b, 1, 1, 1)  # (b t) 4 h w
        model_input = torch.cat([c.c_in * x, latent.float().repeat_interleave(num_frames, dim=0)], dim=1)
        arguments = (
            model_input.to(self.dtype),
            c.c_noise.to(x.device).reshape(1),
            context.to(self.dtype).repeat_interleave(num_frames, dim=0),
            cond.vector[None],
            num_frames,
        )
        features = self.cache.features(branches, guided)

        def evaluate(pieces: Pieces) -> Tensor:
            constants = self.constants[branches]
            return self.unet(*arguments, pieces=pieces, features=features, constants=constants)

        call = replace(self.call((num_frames, *x.shape[1:]), b), tokens=context.shape[1])
        return edm.denoised(self.memory.run(self.unet.config, call, evaluate), x, sigma)
