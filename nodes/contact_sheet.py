"""SVD Contact Sheet: several clips side by side, and the one that is picked."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor

from ..svd_core.errors import SVDError
from ..svd_core.images.contact_sheet import SHEET_LAYOUTS, draw_sheet
from ..svd_core.images.pictures import to_rgb
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import SEEDS, clip_length


class SVDContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_ContactSheet",
            display_name="SVD Contact Sheet",
            category=CATEGORY,
            description="Shows several clips side by side, each with its seed, and hands on the one you pick.",
            search_aliases=[*ALIASES, "compare seeds", "grid", "pick clip"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of all clips, from Temporal VAE Decode."),
                io.Latent.Input("samples", tooltip="The same clips from SVD Sampler: their length and their seeds."),
                io.Int.Input(
                    "pick",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="Number of the clip for the output picked, as written on the sheet. Another number needs "
                    "no new sampling.",
                ),
                io.Combo.Input(
                    "layout",
                    options=list(SHEET_LAYOUTS),
                    default="moving",
                    tooltip="moving plays all clips at once, in a grid; first middle last is one still picture with a "
                    "row for each clip.",
                ),
                io.Int.Input(
                    "width",
                    default=1536,
                    min=64,
                    max=8192,
                    step=2,
                    tooltip="Width of the sheet in pixels, at most. Clips are made smaller to fit, never larger.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="For Create Video, or Preview Image where it is still."),
                io.Image.Output(display_name="picked", tooltip="The frames of the clip you picked, in full size."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, images: Tensor, samples: dict[str, Any], pick: int, layout: str, width: int) -> io.NodeOutput:
        check_same_frames(len(images), len(samples["samples"]))
        clips = rearrange(to_rgb(images), "(b t) h w d -> b t h w d", t=clip_length(samples))
        if pick > len(clips):
            raise SVDError(f"There are {len(clips)} clips on the contact sheet and number {pick} was picked.")
        sheet = draw_sheet(clips, label_clips(len(clips), samples.get(SEEDS, ())), width, layout)
        return io.NodeOutput(sheet, clips[pick - 1])


def check_same_frames(frames: int, latents: int) -> None:
    """Raises SVDError for latents of other frames. frames, latents: how many there are."""
    if frames != latents:
        raise SVDError(
            f"SVD Contact Sheet got {frames} frames and latents of {latents}; "
            "connect the latents that Temporal VAE Decode has decoded."
        )


def label_clips(clips: int, seeds: Any) -> list[str]:
    """The number of each clip, and its seed where the LATENT notes it. clips: how many there are."""
    numbers = [str(number) for number in range(1, clips + 1)]
    if len(seeds) != clips:
        return numbers
    return [f"{number}: seed {seed}" for number, seed in zip(numbers, seeds, strict=True)]
