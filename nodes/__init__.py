"""The nodes, and the adapters that make core objects look native to the host.

Each node file is a schema and a few lines. Files named `host*` are the only ones that touch the host's internals.
"""

from __future__ import annotations

from pathlib import Path

from .clip_encode import SVDCLIPImageEncode
from .contact_sheet import SVDContactSheet
from .fit_size import SVDFitSize
from .host import ComfyExtension, io, offer_picture
from .loader import SVDLoader
from .lora import SVDLoRA
from .sampler import SVDSampler
from .temporal_decode import SVDTemporalVAEDecode
from .vae_conditioning import SVDVAEEncodeConditioning

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
            SVDContactSheet,
            SVDFitSize,
        ]
