"""LoRA files as the host's own weight patches, which it applies, offloads, casts, stacks and saves like any other.

Plain LoRAs are read by the core, which checks that every layer fits. Files of other kinds (LoHa, LoKr, GLoRA, OFT,
BOFT, DoRA, whole differences) go to the host's own reader, under our names of the layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.lora
import torch
from comfy.weight_adapter import BOFTAdapter, LoRAAdapter, OFTAdapter
from torch import Tensor

from ...svd_core.checkpoints.header import Header, check_numbers, read_header
from ...svd_core.checkpoints.inventory import Shape
from ...svd_core.checkpoints.lora import LoRALayer, module_shapes, read_lora
from ...svd_core.checkpoints.lora.names import Role, find_weight, split_name, weight_names
from ...svd_core.checkpoints.lora.read import describe_no_match, log_match, log_zero, read_finite
from ...svd_core.checkpoints.stream import SafetensorsFile
from ...svd_core.errors import SVDError

_PREFIX = "diffusion_model."  # of the UNet's weights in a MODEL

# Ends of names that only the host reads.
_OTHER_KINDS = re.compile(
    r"\.(hada_(w[12]_[ab]|t[12])|lokr_(w[12](_[ab])?|t2)|[ab][12]\.weight|oft_blocks|rescale|dora_scale"
    r"|diff(_b)?|[wb]_norm|set_weight)$"
)
_ADDENDS = re.compile(r"\.(hada_|lokr_|diff|lora_)")  # of kinds that add to a weight, and do nothing else to it
# The host's spelling of a plain LoRA's tensors.
_ENDS: dict[Role, str] = {"down": ".lora_down.weight", "up": ".lora_up.weight", "mid": ".lora_mid.weight"}
_ENDS |= {"alpha": ".alpha"}


def add_lora(patcher: Any, path: Path, strength: float) -> Any:
    """A clone of the MODEL that changes its weights when it is loaded; the one given stays as it is.

    Logs how much of the file matched. Raises SVDError for a file that is not a LoRA, has no layer of this UNet, or
    does not fit its weights.
    """
    patched = patcher.clone()
    patched.add_patches(read_patches(patcher.model, path), strength)
    return patched


def read_patches(model: Any, path: Path) -> dict[str, Any]:
    """Patches of the weights of a host's model, ours or its own SVD: the names of the UNet are the same."""
    header, shapes = read_header(path), module_shapes(model.diffusion_model)
    if any(map(_OTHER_KINDS.search, header.tensors)):
        return _read_by_host(model, header, shapes)
    return {_PREFIX + weight: _make_adapter(layer) for weight, layer in read_lora(header, shapes).layers.items()}


class PeftDoRA(LoRAAdapter):
    """A DoRA as peft defines it. The host divides by the norms of the weight before the change, peft by those after."""

    def calculate_weight(
        self,
        weight: Tensor,
        key: str,
        strength: float,
        strength_model: float,
        offset: Any,
        function: Callable[[Tensor], Tensor],
        *_: Any,
        **later: Any,  # what newer hosts may pass
    ) -> Tensor:
        up, down, alpha, _, magnitude, _ = self.weights
        changed = LoRALayer(key, down, up, alpha, magnitude).merge(weight.float(), strength)
        return weight.copy_(weight + function(changed.to(weight.dtype) - weight))


def _make_adapter(layer: LoRALayer) -> LoRAAdapter:
    no_mid = no_reshape = None
    kind = LoRAAdapter if layer.magnitude is None else PeftDoRA
    return kind(set(), (layer.up, layer.down, layer.alpha, no_mid, layer.magnitude, no_reshape))


def _read_by_host(model: Any, header: Header, shapes: dict[str, Shape]) -> dict[str, Any]:
    """Patches of a file in which any kind may stand beside any other."""
    name = header.path.name
    if any(factor and factor.role == "magnitude" for factor in map(split_name, header.tensors)):
        raise SVDError(f"{name} mixes peft's DoRA with other kinds than LoRA: save each in a file of its own.")
    layers, places, unmatched, unread = _rename(model, header, shapes)
    tensors = {layer + end: tensor for layer, ends in layers.items() for end, tensor in ends.items()}
    try:
        patches = comfy.lora.load_lora(tensors, places, log_missing=False)
    except KeyError as error:
        raise SVDError(f"{name} lacks the tensor {error.args[0]}: download it again.") from None
    if not patches:
        raise SVDError(describe_no_match(name, unmatched))
    for key, patch in patches.items():
        weight = key.removeprefix(_PREFIX)
        if weight not in shapes or not _fits(patch, key, shapes[weight]):
            raise SVDError(
                f"{name} does not fit this model, the host cannot apply it to {weight} of shape "
                f"{list(shapes.get(weight, ()))}: pick a LoRA made for Stable Video Diffusion."
            )
    log_match(name, [key.removeprefix(_PREFIX) for key in patches], unmatched, unread)
    if all(map(_is_zero, layers.values())):
        log_zero(name)
    return patches


def _is_zero(layer: dict[str, Tensor]) -> bool:
    """True for a layer that adds nothing: whole differences of zeros, or a product with a factor of zeros."""
    tensors = {end: tensor for end, tensor in layer.items() if end != _ENDS["alpha"]}
    if not all(map(_ADDENDS.match, tensors)):
        return False
    differences = [tensor for end, tensor in tensors.items() if end.startswith(".diff")]
    factors = [tensor for end, tensor in tensors.items() if not end.startswith(".diff")]
    return not any(each.any() for each in differences) and (not factors or not all(each.any() for each in factors))


def _rename(
    model: Any, header: Header, shapes: dict[str, Shape]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, str], list[str], list[str]]:
    """The file's tensors by layer and end, under names that the host reads, and the weight that each layer changes.

    Beside them, as `LoRA` has them: layers that this UNet has not, and tensors that are no part of a layer.
    """
    weights, known = weight_names(shapes), comfy.lora.model_lora_keys_unet(model, {})
    layers: dict[str, dict[str, Tensor]] = {}
    places: dict[str, str] = {}
    unmatched: dict[str, None] = {}
    unread: list[str] = []
    file = SafetensorsFile(header.path)
    for name, ref in header.tensors.items():
        split = _split_name(name)
        if split is None:
            unread.append(name)
            continue
        path, end = split
        weight = find_weight(path, weights)
        key = known.get(path) if weight is None else _PREFIX + weight
        if key is None:
            unmatched[path] = None
            continue
        place = key.removesuffix(".weight")
        if end in layers.setdefault(place, {}):
            raise SVDError(
                f"{header.path.name} changes {key.removeprefix(_PREFIX)} twice and holds other kinds than LoRA: "
                f"save its adapters in files of their own."
            )
        if end != _ENDS["alpha"]:
            check_numbers([ref])
        places[place], layers[place][end] = key, read_finite(file, ref)
    return layers, places, list(unmatched), unread


def _split_name(name: str) -> tuple[str, str] | None:
    """Path of the layer and the end that says what a tensor of it is; None for a tensor of no known kind."""
    if found := _OTHER_KINDS.search(name):
        return name[: found.start()], found.group()
    plain = split_name(name)
    return None if plain is None or plain.role not in _ENDS else (plain.path, _ENDS[plain.role])


def _fits(patch: Any, key: str, shape: Shape) -> bool:
    """True if the host can add a patch to a weight of this shape; where it cannot, it only logs an error.

    Rehearsed without the weight's values. Whatever the kind of patch, success changes the weight in place.
    """
    # The constraint of these two compares numbers, which a tensor on "meta" does not have.
    device = "cpu" if isinstance(patch, (OFTAdapter, BOFTAdapter)) else "meta"
    with torch.inference_mode(False):  # inference tensors do not count how often they were changed
        weight = torch.zeros(shape, device=device)
        try:
            comfy.lora.calculate_weight([(1.0, patch, 1.0, None, None)], weight, key)
        except RuntimeError:  # of factors that do not fit each other
            return False
    return weight._version > 0
