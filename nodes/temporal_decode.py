"""Temporal VAE Decode: latents to frames without flicker."""

from __future__ import annotations

import logging
from typing import Any

import torch

from ..svd_core.models.finite import check_finite, check_latents_finite
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import clip_length
from .host.on_device import take_latents
from .host.vae import SVDVAE

logger = logging.getLogger(__name__)


class SVDTemporalVAEDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_TemporalVAEDecode",
            display_name="Temporal VAE Decode",
            category=CATEGORY,
            description="Decodes the clip as a whole, so that nothing flickers, in as little memory as there is.",
            search_aliases=[*ALIASES, "vae decode", "video decode"],
            inputs=[
                io.Vae.Input("vae", tooltip="From SVD Loader."),
                io.Latent.Input("samples", tooltip="The clip from SVD Sampler, or several."),
                io.Int.Input(
                    "frames_at_once",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Frames held in memory at once; 0 chooses by what is free. Fewer need less memory and a "
                    "little more time. The picture is the same at every setting.",
                ),
                io.Int.Input(
                    "video_frames",
                    default=0,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="Frames of each clip, where there are several; 0 is what the latents say, and loaded ones "
                    "say nothing: they are one clip. Clips are decoded apart, so that they do not mix.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The frames, for Create Video; of several clips, one clip after the other.")
            ],
        )

    @classmethod
    @checked
    def execute(cls, vae: Any, samples: dict[str, Any], frames_at_once: int, video_frames: int = 0) -> io.NodeOutput:
        latents = take_latents(samples)
        clips = latents.split(clip_length(samples, num_frames=video_frames))
        if isinstance(vae, SVDVAE):
            return io.NodeOutput(torch.cat([vae.decode_clip(clip, frames_at_once) for clip in clips]))
        logger.info("Temporal VAE Decode: this VAE is not from SVD Loader, so ComfyUI decides how the clip is split.")
        check_latents_finite(latents)
        frames = torch.cat([vae.decode(clip) for clip in clips])
        check_finite(frames, "The decoded frames", vae.first_stage_model, "VAE", vae.vae_dtype)
        return io.NodeOutput(frames)
