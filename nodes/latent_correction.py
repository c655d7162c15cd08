"""SVD Latent Correction: contrast of a sampled clip, before it is decoded."""

from __future__ import annotations

from typing import Any

import torch

from ..svd_core.diffusion.latents import correct_latents
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import clip_length
from .host.on_device import take_latents, with_latents


class SVDLatentCorrection(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_LatentCorrection",
            display_name="SVD Latent Correction",
            category=CATEGORY,
            description="Evens out the contrast of a sampled clip over its frames, or changes it. Off as it stands.",
            search_aliases=[*ALIASES, "post normalize", "contrast", "flicker"],
            inputs=[
                io.Latent.Input("samples", tooltip="From SVD Sampler."),
                io.Boolean.Input(
                    "post_normalize",
                    default=False,
                    tooltip="Gives every frame's latents the mean and deviation of the whole clip. Evens out frames "
                    "that fade or burn, and clips that really change their light.",
                ),
                io.Float.Input(
                    "contrast_enhance_scale",
                    default=1.0,
                    min=0.1,
                    max=3.0,
                    step=0.01,
                    tooltip="Contrast, 0.8 to 1.3; 1 leaves it. ExVideo's clips are made for 1.2.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The corrected clip, for Temporal VAE Decode.")],
        )

    @classmethod
    @checked
    def execute(cls, samples: dict[str, Any], post_normalize: bool, contrast_enhance_scale: float) -> io.NodeOutput:
        latents = take_latents(samples)
        clips = latents.split(clip_length(samples))
        corrected = [correct_latents(clip, post_normalize, contrast_enhance_scale) for clip in clips]
        return io.NodeOutput(with_latents(samples, torch.cat(corrected)))
