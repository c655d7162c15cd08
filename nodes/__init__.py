"""The nodes, one file each: a schema and a few lines. `host/` makes core objects look native to ComfyUI."""

from __future__ import annotations

from pathlib import Path

from .clip_encode import SVDCLIPImageEncode
from .colour_match import SVDColourMatch
from .contact_sheet import SVDContactSheet
from .fit_size import SVDFitSize
from .hold_frames import SVDHoldFrames
from .host.folders import ComfyExtension, io, offer_picture
from .latent_correction import SVDLatentCorrection
from .loader import SVDLoader
from .lora import SVDLoRA
from .sampler import SVDSampler
from .temporal_decode import SVDTemporalVAEDecode
from .vae_conditioning import SVDVAEEncodeConditioning
from .video_encode import SVDVideoEncode

EXAMPLES = Path(__file__).parent.parent / "example_workflows"


class SVDExtension(ComfyExtension):
    async def on_load(self) -> None:
        for picture in EXAMPLES.glob("*.png"):
            offer_picture(picture)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            SVDLoader,
            SVDLoRA,
            SVDCLIPImageEncode,
            SVDVAEEncodeConditioning,
            SVDSampler,
            SVDTemporalVAEDecode,
            SVDVideoEncode,
            SVDHoldFrames,
            SVDLatentCorrection,
            SVDColourMatch,
            SVDContactSheet,
            SVDFitSize,
        ]
