"""VAE Encode Conditioning: all that the sampler needs to know about the clip."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ..svd_core.diffusion.conditioning import MicroConditioning
from ..svd_core.diffusion.noise import seed_of_clip
from ..svd_core.errors import SVDError
from ..svd_core.images import pictures
from ..svd_core.pipeline.stages import augment_picture
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import NUM_FRAMES
from .host.sockets import pixel_multiple_of_vae

logger = logging.getLogger(__name__)


class SVDVAEEncodeConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_VAEEncodeConditioning",
            display_name="VAE Encode Conditioning",
            category=CATEGORY,
            description="Encodes the picture, with the size, length, speed and motion of the clip to make of it.",
            search_aliases=[*ALIASES, "svd conditioning", "vae encode"],
            inputs=[
                io.Vae.Input("vae", tooltip="From SVD Loader."),
                io.Image.Input(
                    "image", tooltip="The picture to animate. Several in a batch make one clip each, in order."
                ),
                io.ClipVisionOutput.Input("clip_vision_output", tooltip="From CLIP Image Encode, of the same picture."),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=32,
                    max=8192,
                    step=32,
                    tooltip="Width of the video in pixels, a multiple of 64 for the released models, which were "
                    "trained at 1024x576; keep the area near that (768x768, 576x1024).",
                ),
                io.Int.Input(
                    "height",
                    default=576,
                    min=32,
                    max=8192,
                    step=32,
                    tooltip="Height of the video in pixels, a multiple of 64 for the released models, which were "
                    "trained at 1024x576.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(pictures.FIT_MODES),
                    default="crop",
                    tooltip="How a picture of another shape becomes width x height: crop cuts what sticks out, pad "
                    "adds black bars, stretch distorts.",
                ),
                io.Int.Input(
                    "video_frames",
                    default=25,
                    min=2,
                    max=4096,
                    tooltip="Frames of the clip: 14 for svd, 25 for the XT models. Memory and time grow with it, and "
                    "the motion gets worse far from what the model was trained for.",
                ),
                io.Int.Input(
                    "motion_bucket_id",
                    default=127,
                    min=0,
                    max=1023,
                    tooltip="Amount of motion, 0 (little) to 255 (much). Above about 180 pictures tend to fall apart.",
                ),
                io.Int.Input(
                    "fps",
                    default=7,
                    min=1,
                    max=120,
                    tooltip="Frames per second the motion is made for, 5 to 30: the same motion in smaller steps when "
                    "higher. Feed the fps output to Create Video so that it plays at this speed.",
                ),
                io.Float.Input(
                    "augmentation_level",
                    default=0.02,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Noise added to the picture, 0 to 1 in units of its range. More lets the clip drift away "
                    "from the picture and move more; 0.02 is what the models expect.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the augmentation noise; of several pictures, the next has seed + 1, and so on. "
                    "The sampler has its own seed for the motion.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The picture, for the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="The same without the picture, for guidance."),
                io.Latent.Output(
                    display_name="latent", tooltip="An empty clip of this size and length for each picture."
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second, for Create Video."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        vae: Any,
        image: Tensor,
        clip_vision_output: Any,
        width: int,
        height: int,
        fit: str,
        video_frames: int,
        motion_bucket_id: int,
        fps: int,
        augmentation_level: float,
        seed: int,
    ) -> io.NodeOutput:
        MicroConditioning(fps, motion_bucket_id, augmentation_level)  # raises SVDError for other numbers
        pixels, embeds = pictures.to_image_tensor(image), clip_vision_output["image_embeds"]  # b 3 h w, b d
        check_same_pictures(len(pixels), len(embeds))
        if len(pixels) > 1:  # often the frames of an animation: said before long work
            logger.info("%d pictures: %d clips of %d frames.", len(pixels), len(pixels), video_frames)
        width, height = pictures.fit_size(width, height, pixel_multiple_of_vae(vae))

        fitted = pictures.fit(pixels, width, height, fit).split(1)
        latents = [
            encode_picture(vae, picture, augmentation_level, seed_of_clip(seed, index))
            for index, picture in enumerate(fitted)
        ]
        latent, embeds = torch.cat(latents), embeds[:, None]  # b 4 h w, b 1 d
        known = {"motion_bucket_id": motion_bucket_id, "fps": fps, "augmentation_level": augmentation_level}
        positive = [[embeds, {**known, "concat_latent_image": latent}]]
        negative = [[torch.zeros_like(embeds), {**known, "concat_latent_image": torch.zeros_like(latent)}]]
        empty = torch.zeros(len(latent) * video_frames, *latent.shape[1:])  # (b t) 4 h w
        return io.NodeOutput(positive, negative, {"samples": empty, NUM_FRAMES: video_frames}, float(fps))


def check_same_pictures(pictures: int, embeds: int) -> None:
    """Raises SVDError where the two encoders saw different numbers of pictures."""
    if pictures != embeds:
        raise SVDError(
            f"VAE Encode Conditioning got {pictures} pictures and CLIP Image Encode {embeds}; "
            "connect the same image to both."
        )


def encode_picture(vae: Any, pixels: Tensor, strength: float, seed: int) -> Tensor:
    """The unscaled latent of a picture with augmentation noise, 1 4 h w. pixels: 1 3 8h 8w in [0, 1]."""
    noisy = augment_picture(pixels, strength, seed)
    # VAE objects of the host take [0, 1] and bring it to [-1, 1] themselves, without clamping.
    return vae.encode(((noisy + 1.0) / 2.0).movedim(1, -1))
