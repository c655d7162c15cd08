"""SVD Colour Match: the picture's colours for every frame of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from ..svd_core.errors import SVDError
from ..svd_core.images.colours import match_colours
from ..svd_core.images.pictures import to_rgb
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked


class SVDColourMatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_ColourMatch",
            display_name="SVD Colour Match",
            category=CATEGORY,
            description="Brings the colours of every frame back to those of the picture, where a clip drifts.",
            search_aliases=[*ALIASES, "color match", "color drift", "color correction"],
            inputs=[
                io.Image.Input("frames", tooltip="The frames, from Temporal VAE Decode."),
                io.Image.Input(
                    "picture",
                    tooltip="The picture whose colours count, of any size. Several share the frames out, in order: the "
                    "pictures that several clips were made from.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0 leaves the frames as they are, 1 gives them the picture's mean and contrast in each "
                    "channel. Lower it where the scene itself changes its colours.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The frames, for Create Video or Save Animated WEBP.")],
        )

    @classmethod
    @checked
    def execute(cls, frames: Tensor, picture: Tensor, strength: float) -> io.NodeOutput:
        if len(frames) % len(picture):
            raise SVDError(
                f"{len(frames)} frames cannot be shared out among {len(picture)} pictures; connect the pictures that "
                "the clips were made from."
            )
        shares = to_rgb(frames).chunk(len(picture))
        matched = [match_colours(*pair, strength) for pair in zip(shares, to_rgb(picture), strict=True)]
        return io.NodeOutput(torch.cat(matched))
