"""Find out which model a file holds: a released SVD by its name, any other model by its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .entries import Refs
from .find import find_clip, find_unet, find_vae
from .inventory import Shape
from .releases import DEMO, RELEASES, SVD, SVD_XT, SVD_XT_1_1, Release

# --- released models, by name ------------------------------------------------------------------------------------

# Words in file names that say how a file was stored, not which model it is.
_STORAGE_WORDS = {"fp32", "fp16", "bf16", "float16", "half", "f16"}
_STORAGE_WORDS |= {"comfy", "comfyui", "safetensors", "diffusers", "main"}

# Distilled and derived models: they need other defaults, whatever their trained length.
_OTHER_MODELS = re.compile(r"lcm|turbo|lightning|sv3d|sv4d|exvideo|controlnext|distil")


def guess_release(
    path: str | Path, *, num_frames: int | None = None, temporal_decoder: bool | None = None
) -> Release | None:
    """Guess the release from the name of a file or folder, and from what the files state.

    num_frames: the trained length if the files state it (`unet/config.json`); it decides if the name says nothing, and
    overrules a name that contradicts it. temporal_decoder: what the file holds; it overrules the name.
    None for the name of another model or fine-tune, and for a name that says nothing without num_frames.
    """
    path = Path(path)
    release = _find_by_name(path.stem if path.suffix == ".safetensors" else path.name)
    if release is None and path.parent.name == "snapshots":  # the hub's cache: models--OWNER--NAME/snapshots/HASH
        release = _find_by_name(path.parent.parent.name.rpartition("--")[2])
        path = path.parent.parent
    if release is not None and num_frames not in (None, release.num_frames):
        release = None
    if release is None and not _OTHER_MODELS.search(path.name.lower()):
        release = {14: SVD, 25: SVD_XT}.get(num_frames or 0)
    if release is None or temporal_decoder in (None, release.temporal_decoder):
        return release
    return _swap_decoder(release)


def _find_by_name(name: str) -> Release | None:
    words = _split_words(name)
    for release in RELEASES:
        if any(words == _split_words(known) for known in release.file_names):
            return release
    return None


def _split_words(name: str) -> list[str]:
    """The words of a file name that tell models apart."""
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word and word not in _STORAGE_WORDS]


def _swap_decoder(release: Release) -> Release | None:
    """The release of this length with the other decoder; None if none was published."""
    if release in (SVD_XT_1_1, DEMO):
        return None
    length, temporal = release.num_frames, release.temporal_decoder
    return next((each for each in RELEASES if each.num_frames == length and each.temporal_decoder != temporal), None)


# --- other models, by their tensors ------------------------------------------------------------------------------

PICK_SVD = "pick an SVD checkpoint such as svd.safetensors, svd_xt.safetensors or svd_xt_1_1.safetensors"

_LORA_MATRICES = ("A", "B", "A.default", "B.default", "down", "up")
_LORA_ENDS = tuple(f".lora_{matrix}.weight" for matrix in _LORA_MATRICES)
_LORA_ENDS += (".lora.down.weight", ".lora.up.weight", ".hada_w1_a", ".lokr_w1", ".lokr_w2")
_CONTROLNET_STARTS = ("controlnet_", "control_model.", "input_hint_block.")
_QUANTISED_ENDS = (".comfy_quant", ".scale_weight", ".weight_scale", "scaled_fp8", ".quant_state")
_SV3D = {256: "SV3D_u", 1280: "SV3D_p"}  # by the width of the micro-conditioning; SVD has 768
_SDXL_ADM = {2816: "a Stable Diffusion XL checkpoint", 2560: "a Stable Diffusion XL refiner"}
_SD_CONTEXT = {768: "a Stable Diffusion 1.x checkpoint", 1024: "a Stable Diffusion 2.x checkpoint"}
_OTHER_FAMILIES = {
    "double_blocks.0.": "a Flux-like image model",
    "joint_blocks.0.": "a Stable Diffusion 3 checkpoint",
    "motion_modules.0.": "an AnimateDiff motion module",
    "text_model.encoder.layers.0.": "a text encoder",
}


@dataclass(frozen=True)
class OtherModel:
    """A file that cannot serve as the model: what it is, and what to do instead."""

    what: str
    remedy: str = PICK_SVD
    verdict: str = "not a Stable Video Diffusion checkpoint"

    def describe(self, name: str) -> str:
        return f"{name} is {self.what}, {self.verdict}: {self.remedy}."


def identify_other(refs: Refs) -> OtherModel | None:
    """The kind of a file that cannot serve as the model; None if it holds the UNet of an img2vid model."""
    other = _identify_addition(refs)
    if other:
        return other
    unet = find_unet(refs)
    if unet is None:
        return _identify_without_unet(refs)
    return _identify_other_unet({name: entry.shape for name, entry in unet.items()})


def _identify_addition(refs: Refs) -> OtherModel | None:
    """Files that extend a model instead of being one, and quantised models."""
    if any(name.endswith(_LORA_ENDS) for name in refs):
        return OtherModel("a LoRA", "pick an SVD checkpoint here and add the LoRA with a LoRA loader")
    if any(name.startswith(_CONTROLNET_STARTS) for name in refs):
        return OtherModel("a ControlNet")
    if "blocks.7.positional_conv.weight" in refs:
        return OtherModel("an ExVideo patch", "pick svd_xt.safetensors here and this file as its extension")
    if any(name.endswith(_QUANTISED_ENDS) or ".quant_state." in name for name in refs):
        return OtherModel("a quantised file", "pick its fp32, fp16 or bf16 version", "which SVD Nodes does not read")
    return None


def _identify_without_unet(refs: Refs) -> OtherModel:
    vae, clip = find_vae(refs) is not None, find_clip(refs) is not None
    if vae and clip:
        return OtherModel("a VAE and an image encoder without a UNet")
    if vae:
        return OtherModel("a VAE alone")
    if clip:
        return OtherModel("a CLIP image encoder alone")
    for fragment, what in _OTHER_FAMILIES.items():
        if any(fragment in name for name in refs):
            return OtherModel(what)
    return OtherModel(f"an unknown kind of model (its first tensor is {next(iter(refs))})")


def _identify_other_unet(shapes: Mapping[str, Shape]) -> OtherModel | None:
    if any(".time_mix_blocks." in name for name in shapes):
        return OtherModel("an SV4D checkpoint")
    adm = _axis_size(shapes, "label_emb.0.0.weight", 1)
    if not any(".time_stack." in name for name in shapes):
        return OtherModel(_SDXL_ADM.get(adm) or _SD_CONTEXT.get(_context_width(shapes)) or "a model for images")
    if adm in _SV3D:
        return OtherModel(f"an {_SV3D[adm]} checkpoint")
    inputs, outputs = _axis_size(shapes, "input_blocks.0.0.weight", 1), _axis_size(shapes, "out.2.weight", 0)
    if inputs and outputs and inputs != 2 * outputs:
        channels = f"{inputs} input channels instead of {2 * outputs}"
        return OtherModel(f"a variant of Stable Video Diffusion with {channels}")
    return None


def _context_width(shapes: Mapping[str, Shape]) -> int:
    """Width of the tokens that the cross-attention reads; 0 if there is none."""
    return next((_axis_size(shapes, name, 1) for name in shapes if name.endswith(".attn2.to_k.weight")), 0)


def _axis_size(shapes: Mapping[str, Shape], name: str, axis: int) -> int:
    """Size of an axis; 0 for a tensor that is missing or has fewer axes."""
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else 0
