"""SVD LoRA: a LoRA on the UNet, its temporal layers included."""

from __future__ import annotations

from typing import Any

from .host.folders import ALIASES, CATEGORY, find_lora, io, list_loras
from .host.inputs import checked
from .host.lora import add_lora


class SVDLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_LoRA",
            display_name="SVD LoRA",
            category=CATEGORY,
            description="Adds a LoRA to the model, its temporal layers included, whichever trainer named them.",
            search_aliases=[*ALIASES, "lora", "load lora", "lora loader", "motion lora"],
            inputs=[
                io.Model.Input("model", tooltip="From SVD Loader or another SVD LoRA; ComfyUI's own SVD models too."),
                io.Combo.Input(
                    "lora",
                    options=list_loras(),
                    tooltip="A .safetensors file from models/loras, made for Stable Video Diffusion: LoRA, LoHa, LoKr, "
                    "OFT or DoRA, with names of peft, diffusers, kohya or Stability. The log says how many layers "
                    "matched.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How strongly the LoRA acts: 1 as it was trained, 0 off, below 0 the opposite. Several "
                    "LoRAs in a row add up.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with the LoRA, for SVD Sampler.")],
        )

    @classmethod
    @checked
    def execute(cls, model: Any, lora: str, strength: float) -> io.NodeOutput:
        if strength == 0:
            return io.NodeOutput(model)
        return io.NodeOutput(add_lora(model, find_lora(lora), strength))
