"""Match the names of a LoRA file to the weights of the UNet.

There is no standard. A name is the path of a layer, in diffusers' or Stability's spelling, with dots or underscores,
with or without a prefix; and an end that says which factor the tensor is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..inventory import Shape
from ..names import unet_map_for_official_names

Role = Literal["down", "up", "mid", "alpha", "magnitude"]

# An adapter's name, which peft puts into its tensors' names, is free text without dots.
_ADAPTER = r"(\.(?P<adapter>[^.]+))?"
_ENDS: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(rf"\.lora_A{_ADAPTER}\.weight$"), "down"),  # peft
    (re.compile(rf"\.lora_B{_ADAPTER}\.weight$"), "up"),
    (re.compile(rf"\.lora_magnitude_vector{_ADAPTER}\.weight$"), "magnitude"),  # of a DoRA
    (re.compile(rf"\.lora_magnitude_vector{_ADAPTER}$"), "magnitude"),  # of older peft
    (re.compile(r"[._]lora(_linear_layer)?\.down\.weight$"), "down"),  # diffusers: x.lora.down, x_lora.down
    (re.compile(r"[._]lora(_linear_layer)?\.up\.weight$"), "up"),
    (re.compile(r"\.lora_down\.weight$"), "down"),  # kohya
    (re.compile(r"\.lora_up\.weight$"), "up"),
    (re.compile(r"\.lora_mid\.weight$"), "mid"),
    (re.compile(r"([._]lora)?\.alpha$"), "alpha"),
)
_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "unet.", "lora_unet_", "model.")
BASE_WORDS = (".base_layer.", ".original_module.")  # peft's names of the layers it puts its own beside
_OTHER_DORA = ".dora_scale"  # its norms are counted in more than one way


@dataclass(frozen=True)
class Factor:
    """Place of a tensor in a LoRA file: the path of its layer, the adapter, and its role there."""

    path: str
    role: Role
    adapter: str = ""  # empty where the file names none


def split_name(name: str) -> Factor | None:
    """The place that a name states; None if it is not a LoRA factor."""
    for end, role in _ENDS:
        found = end.search(name)
        if found:
            return Factor(name[: found.start()], role, found.groupdict().get("adapter") or "")
    return None


def is_factor(name: str) -> bool:
    """True for one of the two factors that make a file a LoRA."""
    factor = split_name(name)
    return factor is not None and factor.role in ("down", "up")


def is_base(name: str) -> bool:
    """True for a weight of the model itself in a file saved with an adapter inside."""
    return any(word in name for word in BASE_WORDS)


def is_other_dora(name: str) -> bool:
    """True for the magnitudes of a DoRA that peft has not made."""
    return name.endswith(_OTHER_DORA)


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
