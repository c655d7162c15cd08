"""SVD Video Encode: a video as the clip that SVD Sampler starts from."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ..svd_core.images.pictures import FIT_MODES
from ..svd_core.pipeline.stages import check_video_length
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import take_lone_clip
from .host.vae import encode_like

logger = logging.getLogger(__name__)


class SVDVideoEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_VideoEncode",
            display_name="SVD Video Encode",
            category=CATEGORY,
            description="Encodes a video, for SVD Sampler to change: set its denoise below 1.",
            search_aliases=[*ALIASES, "video to video", "vid2vid", "encode video"],
            inputs=[
                io.Vae.Input("vae", tooltip="From SVD Loader."),
                io.Image.Input(
                    "video",
                    tooltip="The frames of the video, at least as many as the clip has; further ones are left out.",
                ),
                io.Latent.Input(
                    "latent", tooltip="The empty clip from VAE Encode Conditioning. It sets size and length."
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FIT_MODES),
                    default="crop",
                    tooltip="How frames of another shape become the clip's: crop cuts what sticks out, pad adds black "
                    "bars, stretch distorts. Use what VAE Encode Conditioning has.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The encoded video, for SVD Sampler with denoise below 1.")],
        )

    @classmethod
    @checked
    def execute(cls, vae: Any, video: Tensor, latent: dict[str, Any], fit: str) -> io.NodeOutput:
        clip = take_lone_clip(latent, "SVD Video Encode")
        check_video_length(len(video), len(clip))
        if len(video) > len(clip):
            logger.info("SVD Video Encode takes the first %d of %d frames.", len(clip), len(video))
        return io.NodeOutput({**latent, "samples": encode_like(vae, video[: len(clip)], clip, fit)})
