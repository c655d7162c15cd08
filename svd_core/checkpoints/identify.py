"""Find out by its tensors which model a file holds that cannot serve as the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .entries import Refs
from .find import find_clip, find_unet, find_vae
from .inventory import Shape
from .lora.names import is_base, is_factor
from .wrappers import find_roots

PICK_SVD = "pick an SVD checkpoint such as svd.safetensors, svd_xt.safetensors or svd_xt_1_1.safetensors"

_OTHER_LORA_ENDS = (".hada_w1_a", ".lokr_w1", ".lokr_w2")
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
    if any(is_factor(name) or name.endswith(_OTHER_LORA_ENDS) for name in refs):
        if any(is_base(name) for name in refs):
            remedy = "pick the checkpoint it was trained from here, and add this file with a LoRA loader"
            return OtherModel("a UNet with a LoRA inside, as it is in training", remedy)
        return OtherModel("a LoRA", "pick an SVD checkpoint here and add the LoRA with a LoRA loader")
    if any(name.startswith(_CONTROLNET_STARTS) for name in refs):
        return OtherModel("a ControlNet")
    if "blocks.7.positional_conv.weight" in refs:
        return OtherModel("an ExVideo patch", "pick svd_xt.safetensors here and this file as its extension")
    if any(name.endswith(_QUANTISED_ENDS) or ".quant_state." in name for name in refs):
        return OtherModel("a quantised file", "pick its fp32, fp16 or bf16 version", "which SVD Nodes does not read")
    return None


def _identify_without_unet(refs: Refs) -> OtherModel:
    roots = find_roots(refs)
    if roots:
        places = " and ".join(root or "no prefix" for root in roots)
        return OtherModel(f"a file of {len(roots)} UNets (under {places})", "save the one to use in a file of its own")
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
