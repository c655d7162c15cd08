"""CLIP Image Encode: the picture for the UNet's cross-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..svd_core.images.encoder_pixels import ENCODER_FIT_MODES, to_encoder_pixels
from ..svd_core.images.pictures import to_image_tensor
from .host.folders import ALIASES, CATEGORY, io
from .host.image_encoder import encode_pixels
from .host.inputs import checked


class SVDCLIPImageEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_CLIPImageEncode",
            display_name="CLIP Image Encode",
            category=CATEGORY,
            description="Encodes the picture with CLIP. The model takes its idea of the whole scene from here.",
            search_aliases=[*ALIASES, "clip vision encode"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="From SVD Loader, or any CLIP ViT-H image encoder."),
                io.Image.Input("image", tooltip="The picture to animate, at any size."),
                io.Combo.Input(
                    "fit",
                    options=list(ENCODER_FIT_MODES),
                    default="squash",
                    tooltip="How the picture becomes CLIP's square. squash shows all of it and is what the model was "
                    "trained with; center crop drops the sides, as ComfyUI's own node does; pad adds black bars.",
                ),
            ],
            outputs=[io.ClipVisionOutput.Output(tooltip="For VAE Encode Conditioning.")],
        )

    @classmethod
    @checked
    def execute(cls, clip_vision: Any, image: Tensor, fit: str) -> io.NodeOutput:
        size = getattr(clip_vision, "image_size", 224)
        pixels = to_encoder_pixels(to_image_tensor(image), size, fit)
        return io.NodeOutput(encode_pixels(clip_vision, pixels))
