"""Match the names of a LoRA file to the weights of the UNet.

There is no standard. A name is the path of a layer, in diffusers' or Stability's spelling, with dots or underscores,
with or without a prefix; and an end that says which factor the tensor is.
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
    """Split a name into the layer's path and the tensor's role; None if it is not a LoRA factor."""
    for end, role in _ENDS:
        found = end.search(name)
        if found:
            return name[: found.start()], role
    return None


def is_magnitude(name: str) -> bool:
    """True if a tensor makes its file a DoRA, which rescales the weights it changes."""
    return _MAGNITUDE.search(name) is not None


def module_shapes(module: nn.Module) -> dict[str, Shape]:
    """Names and shapes of a network's parameters."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def weight_names(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The weight behind every spelling of a layer's path. shapes: the UNet's, official names."""
    names = unet_map_for_official_names(shapes)
    weights: dict[str, str] = {}
    for weight, shape in shapes.items():
        if len(shape) > 1 and weight.endswith(".weight"):
            official = weight.removesuffix(".weight")
            for path in (official, names.to_other(official) or official):
                weights[path] = weights[path.replace(".", "_")] = weight
    return weights


def find_weight(path: str, weights: Mapping[str, str]) -> str | None:
    """The weight that a path in a LoRA file means; None if the UNet has none of that name."""
    path = strip_prefixes(path).replace(".processor.", ".")
    if path.endswith((".to_out", "_to_out")):  # an attention processor names the list, not its first entry
        path += f"{path[-7]}0"
    return weights.get(path)


def strip_prefixes(path: str) -> str:
    """The path without the prefixes of trainers."""
    while prefix := next(filter(path.startswith, _PREFIXES), ""):
        path = path.removeprefix(prefix)
    return path
