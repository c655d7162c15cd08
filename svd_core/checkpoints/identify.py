"""What a file that is not a Stable Video Diffusion checkpoint seems to be, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .entries import Refs, find_clip, find_unet, find_vae
from .inventory import Shape

PICK = "pick an SVD checkpoint such as svd.safetensors, svd_xt.safetensors or svd_xt_1_1.safetensors"

_LORA_ENDS = (
    *(f".lora_{matrix}.weight" for matrix in ("A", "B", "A.default", "B.default", "down", "up")),
    *(".lora.down.weight", ".lora.up.weight", ".hada_w1_a", ".lokr_w1", ".lokr_w2"),
)
_SV3D = {256: "SV3D_u", 1280: "SV3D_p"}  # by the width of the micro-conditioning; SVD has 768
_SDXL_ADM = {2816: "a Stable Diffusion XL checkpoint", 2560: "a Stable Diffusion XL refiner"}
_SD_CONTEXT = {768: "a Stable Diffusion 1.x checkpoint", 1024: "a Stable Diffusion 2.x checkpoint"}
_OTHER_FAMILIES = (
    ("double_blocks.0.", "a Flux-like image model"),
    ("joint_blocks.0.", "a Stable Diffusion 3 checkpoint"),
    ("motion_modules.0.", "an AnimateDiff motion module"),
    ("text_model.encoder.layers.0.", "a text encoder"),
)


@dataclass(frozen=True)
class Kind:
    """What a file is, and what to do instead."""

    what: str
    remedy: str = PICK
    verdict: str = "not a Stable Video Diffusion checkpoint"

    def sentence(self, name: str) -> str:
        return f"{name} is {self.what}, {self.verdict}: {self.remedy}."


def identify(refs: Refs) -> Kind | None:
    """The kind of a file that cannot serve as the model; None when it has the UNet of an img2vid model."""
    kind = _extension(refs) or _quantised(refs)
    if kind:
        return kind
    unet = find_unet(refs)
    if unet is None:
        return _without_unet(refs)
    return _other_unet({name: entry.shape for name, entry in unet.items()})


def _extension(refs: Refs) -> Kind | None:
    """Files that extend a model instead of being one."""
    if any(name.endswith(_LORA_ENDS) for name in refs):
        return Kind("a LoRA", "pick an SVD checkpoint here and add the LoRA with a LoRA loader")
    if any(name.startswith(("controlnet_", "control_model.", "input_hint_block.")) for name in refs):
        return Kind("a ControlNet")
    if "blocks.7.positional_conv.weight" in refs:
        return Kind("an ExVideo patch", "pick svd_xt.safetensors here and this file as its extension")
    return None


def _quantised(refs: Refs) -> Kind | None:
    marks = (".comfy_quant", ".scale_weight", ".weight_scale", "scaled_fp8", ".quant_state")
    if any(name.endswith(marks) or ".quant_state." in name for name in refs):
        return Kind("a quantised file", "pick its fp32, fp16 or bf16 version", "which SVD Nodes does not read")
    return None


def _without_unet(refs: Refs) -> Kind:
    vae, clip = find_vae(refs) is not None, find_clip(refs) is not None
    if vae and clip:
        return Kind("a VAE and an image encoder without a UNet")
    if vae:
        return Kind("a VAE alone")
    if clip:
        return Kind("a CLIP image encoder alone")
    for fragment, what in _OTHER_FAMILIES:
        if any(fragment in name for name in refs):
            return Kind(what)
    return Kind(f"an unknown kind of model (its first tensor is {next(iter(refs))})")


def _other_unet(shapes: Mapping[str, Shape]) -> Kind | None:
    if any(".time_mix_blocks." in name for name in shapes):
        return Kind("an SV4D checkpoint")
    adm = _size(shapes, "label_emb.0.0.weight", 1)
    if not any(".time_stack." in name for name in shapes):
        return Kind(_SDXL_ADM.get(adm) or _SD_CONTEXT.get(_context(shapes)) or "a model for images")
    if adm in _SV3D:
        return Kind(f"an {_SV3D[adm]} checkpoint")
    inputs, outputs = _size(shapes, "input_blocks.0.0.weight", 1), _size(shapes, "out.2.weight", 0)
    if inputs and outputs and inputs != 2 * outputs:
        return Kind(f"a variant of Stable Video Diffusion with {inputs} input channels instead of {2 * outputs}")
    return None


def _context(shapes: Mapping[str, Shape]) -> int:
    """Width of the tokens the cross-attention reads; 0 when there is none."""
    return next((_size(shapes, name, 1) for name in shapes if name.endswith(".attn2.to_k.weight")), 0)


def _size(shapes: Mapping[str, Shape], name: str, axis: int) -> int:
    """Size of an axis; 0 for a tensor that is missing or has fewer axes."""
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else 0
