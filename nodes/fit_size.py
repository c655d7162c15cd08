"""SVD Fit Size: the size of a video in the shape of a picture."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ..svd_core.checkpoints.releases import UNKNOWN
from ..svd_core.images.pictures import size_like, to_image_tensor
from .host.folders import ALIASES, CATEGORY, io, show_text
from .host.inputs import checked
from .host.sockets import pixel_multiple_of_model, release_of

logger = logging.getLogger(__name__)


class SVDFitSize(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_FitSize",
            display_name="SVD Fit Size",
            category=CATEGORY,
            description="Proposes the size of the video: as near to the picture's shape as the model takes it, with as "
            "many pixels as the model was trained on.",
            search_aliases=[*ALIASES, "resolution", "aspect ratio", "size"],
            inputs=[
                io.Image.Input("image", tooltip="The picture to animate."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="From SVD Loader, for the size it was trained at; 1024x576 where nothing is connected.",
                ),
            ],
            outputs=[
                io.Int.Output(display_name="width", tooltip="For VAE Encode Conditioning, in pixels."),
                io.Int.Output(display_name="height", tooltip="For VAE Encode Conditioning, in pixels."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, image: Tensor, model: Any = None) -> io.NodeOutput:
        picture_height, picture_width = to_image_tensor(image[:1]).shape[-2:]
        release, multiple = release_of(model) or UNKNOWN, pixel_multiple_of_model(model)
        width, height = size_like(picture_width, picture_height, release.width * release.height, multiple)
        text = (
            f"{picture_width}x{picture_height} ({picture_width / picture_height:.2f} : 1) becomes "
            f"{width}x{height} ({width / height:.2f} : 1): multiples of {multiple}, "
            f"about {release.width}x{release.height} pixels as in training"
        )
        logger.info("SVD Fit Size: %s.", text)
        show_text(cls, text)
        return io.NodeOutput(width, height)
