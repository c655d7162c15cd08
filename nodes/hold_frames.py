"""SVD Hold Frames: given pictures, or parts of them, in any frames of the clip."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..svd_core.diffusion.held_frames import hold_frames, parse_frame_ids, resize_masks
from ..svd_core.images.pictures import FIT_MODES, fit_masks
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import take_lone_clip
from .host.vae import encode_like, video_size


class SVDHoldFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_HoldFrames",
            display_name="SVD Hold Frames",
            category=CATEGORY,
            description="Fixes any frames of the clip to given pictures; the sampler makes the others to go with them.",
            search_aliases=[*ALIASES, "first last frame", "keyframe", "interpolation", "inpaint", "mask frames"],
            inputs=[
                io.Vae.Input("vae", tooltip="From SVD Loader."),
                io.Latent.Input(
                    "latent",
                    tooltip="The clip, from VAE Encode Conditioning, SVD Video Encode or another SVD Hold Frames.",
                ),
                io.Image.Input(
                    "pictures", tooltip="The pictures to hold, one for each of frame_ids; for all, one is enough."
                ),
                io.String.Input(
                    "frame_ids",
                    default="0, -1",
                    tooltip="Which frames the pictures are, in their order: 0 is the first frame, -1 the last, such as "
                    "0, -1 for two pictures. all holds every frame.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FIT_MODES),
                    default="crop",
                    tooltip="How pictures of another shape become the clip's: crop cuts what sticks out, pad adds "
                    "black bars, stretch distorts.",
                ),
                io.Mask.Input(
                    "hold_mask",
                    optional=True,
                    tooltip="What of the pictures is held: white stays, black is free to move. One mask for all, or "
                    "one for each. Without it, whole pictures are held.",
                ),
            ],
            outputs=[
                io.Latent.Output(tooltip="The clip with its held frames, for SVD Sampler or KSampler (denoise 1).")
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        vae: Any,
        latent: dict[str, Any],
        pictures: Tensor,
        frame_ids: str,
        fit: str,
        hold_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        clip = take_lone_clip(latent, "SVD Hold Frames")
        num_frames = len(clip)
        places = parse_frame_ids(frame_ids, num_frames)
        latents = encode_like(vae, pictures, clip, fit)
        if len(pictures) == 1 and len(places) == num_frames:
            latents = latents.expand(num_frames, -1, -1, -1)
        masks = None if hold_mask is None else fit_masks(hold_mask, *video_size(vae, clip), fit)
        held = hold_frames(latents, places, num_frames, masks, clip)
        free = 1.0 - held.mask  # the host's noise mask is 1 where it samples
        if "noise_mask" in latent:
            free = free.minimum(resize_masks(latent["noise_mask"], num_frames, free))
        return io.NodeOutput({**latent, "samples": held.latents, "noise_mask": free})
