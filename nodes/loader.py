"""SVD Loader: one checkpoint in, the three objects native nodes understand out."""

from __future__ import annotations

import logging

import torch

from ..svd_core.checkpoints import extend, open_checkpoint
from ..svd_core.config import WEIGHT_DTYPE_NAMES
from ..svd_core.errors import choose
from ..svd_core.models.kernels.fp8 import FP8
from .host.file_names import FileNames
from .host.folders import ALIASES, CATEGORY, find_checkpoint, io, list_checkpoints, show_text
from .host.image_encoder import SVDClipVision
from .host.inputs import checked
from .host.model import make_model
from .host.sockets import attach_checkpoint
from .host.vae import SVDVAE
from .host.weights import open_host_file

logger = logging.getLogger(__name__)

WEIGHT_DTYPES = {"auto": None, **{name: getattr(torch, long) for name, long in WEIGHT_DTYPE_NAMES.items()}}
NO_FILE = "none"


class SVDLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = list_checkpoints()
        return io.Schema(
            node_id="SVD_Loader",
            display_name="SVD Loader",
            category=CATEGORY,
            description="Loads a Stable Video Diffusion checkpoint: a single file or a diffusers folder.",
            search_aliases=[*ALIASES, "stable video diffusion", "load checkpoint"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=names,
                    tooltip="An svd, svd_xt or svd_xt_1_1 file from models/checkpoints, or a diffusers folder from "
                    "models/diffusers. XT models make 25 frames, the first svd 14. The bundled demo model makes 14 "
                    "frames of 96x96 of drawn comets, rockets, fish and arrows, and knows nothing else.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="auto",
                    tooltip="How weights are kept in memory. auto suits your device; fp16 and bf16 halve the memory of "
                    "fp32 (3 GB instead of 6 GB for the UNet), fp32 is the most exact. fp8_e4m3fn keeps the UNet in "
                    "1.5 GB and still computes in 16 bits; its rounding changes the latents by about 4 %.",
                ),
                io.Combo.Input(
                    "companion",
                    options=FileNames([NO_FILE, *names]),
                    default=NO_FILE,
                    optional=True,
                    advanced=True,
                    tooltip="Only for a checkpoint that holds the UNet alone (AnimateLCM-SVD, some fine-tunes): a "
                    "second SVD checkpoint to take VAE and CLIP from. none otherwise.",
                ),
                io.Combo.Input(
                    "extension",
                    options=FileNames([NO_FILE, *names]),
                    default=NO_FILE,
                    optional=True,
                    advanced=True,
                    tooltip="ExVideo-SVD-128f-v1 (model.fp16.safetensors) in models/checkpoints, for clips of up to "
                    "128 frames from an svd_xt checkpoint. It is made for 512x512 and fps 30. none otherwise.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The UNet. Works with LoRA loaders, KSampler, patches and savers."),
                io.ClipVision.Output(tooltip="The image encoder, for CLIP Image Encode."),
                io.Vae.Output(tooltip="Encoder and temporal decoder, for the two VAE nodes."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls, checkpoint: str, weight_dtype: str, companion: str = NO_FILE, extension: str = NO_FILE
    ) -> io.NodeOutput:
        second = None if companion == NO_FILE else find_checkpoint(companion)
        opened = open_checkpoint(find_checkpoint(checkpoint), second, open_file=open_host_file())
        opened.require("unet", "vae", "clip")
        if extension != NO_FILE:
            opened = extend(opened, find_checkpoint(extension))
        if opened.guess:
            logger.warning("SVD Loader: %s", opened.guess)
        if opened.notes or opened.guess:
            show_text(cls, "\n".join(filter(None, [*opened.notes, opened.guess])))
        dtype = WEIGHT_DTYPES[choose("weight dtype", weight_dtype, WEIGHT_DTYPES)]
        model = make_model(opened, dtype)
        attach_checkpoint(model, opened)
        if dtype == FP8:  # for the UNet only: the others are small, and their rounding would show more
            dtype = None
        return io.NodeOutput(model, SVDClipVision(opened, dtype), SVDVAE(opened, dtype))
