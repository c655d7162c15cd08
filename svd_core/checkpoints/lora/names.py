"""What the tensors of a LoRA file are called, and which weight of the UNet each belongs to.

There is no standard. A name is the path of a layer, spelled as diffusers or as Stability has it, with dots or with
underscores, behind a prefix or none; and an end that says which factor the tensor is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from torch import nn

from ..inventory import Shape
from ..names import unet_map_for_official_names

Role = Literal["down", "up", "mid", "alpha"]

_ENDS: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"\.lora_A(\.\w+)?\.weight$"), "down"),  # peft, with or without the name of the adapter
    (re.compile(r"\.lora_B(\.\w+)?\.weight$"), "up"),
    (re.compile(r"[._]lora(_linear_layer)?\.down\.weight$"), "down"),  # diffusers: x.lora.down, x_lora.down
    (re.compile(r"[._]lora(_linear_layer)?\.up\.weight$"), "up"),
    (re.compile(r"\.lora_down\.weight$"), "down"),  # kohya
    (re.compile(r"\.lora_up\.weight$"), "up"),
    (re.compile(r"\.lora_mid\.weight$"), "mid"),
    (re.compile(r"([._]lora)?\.alpha$"), "alpha"),
)
_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "unet.", "lora_unet_")
_MAGNITUDE = re.compile(r"\.(dora_scale|lora_magnitude_vector(\.\w+)*)$")


def split_name(name: str) -> tuple[str, Role] | None:
    """The layer's path and the tensor's role; None for what is no factor of a LoRA."""
    for end, role in _ENDS:
        found = end.search(name)
        if found:
            return name[: found.start()], role
    return None


def is_magnitude(name: str) -> bool:
    """Whether a tensor makes its file a DoRA: a LoRA that rescales the weight it has changed."""
    return _MAGNITUDE.search(name) is not None


def module_shapes(module: nn.Module) -> dict[str, Shape]:
    """Names and shapes of a network's parameters, wherever their values are at the moment."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def weight_names(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The weight behind every spelling of the path of a layer. shapes: of a UNet, official names."""
    names = unet_map_for_official_names(shapes)
    weights: dict[str, str] = {}
    for weight, shape in shapes.items():
        if len(shape) > 1 and weight.endswith(".weight"):
            official = weight.removesuffix(".weight")
            for path in (official, names.to_other(official) or official):
                weights[path] = weights[path.replace(".", "_")] = weight
    return weights


def find_weight(path: str, weights: Mapping[str, str]) -> str | None:
    """The weight that a path in a LoRA file means; None where the UNet has none of that name."""
    path = without_prefixes(path).replace(".processor.", ".")
    if path.endswith((".to_out", "_to_out")):  # an attention processor names the list, not its first entry
        path += f"{path[-7]}0"
    return weights.get(path)


def without_prefixes(path: str) -> str:
    """The path as the network itself has it, in either spelling."""
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            return without_prefixes(path.removeprefix(prefix))
    return path
