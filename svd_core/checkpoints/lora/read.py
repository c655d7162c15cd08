"""Reading a LoRA file for a UNet: what matches, what does not, and whether it fits."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...errors import SVDError
from ..header import Header, TensorRef, read_header
from ..inventory import Shape
from ..stream import SafetensorsFile
from .alpha import AlphaSettings, alpha_settings
from .layer import LoRALayer, factors_fit, fold_mid, is_inert
from .names import Role, find_weight, is_magnitude, split_name, weight_names, without_prefixes

logger = logging.getLogger(__name__)

NAMED = 5  # names a report gives before it only counts

Factors = dict[Role, TensorRef]


@dataclass(frozen=True)
class LoRA:
    """The layers of a file that a UNet has, and the names of those it has not."""

    name: str
    layers: Mapping[str, LoRALayer]  # by the weight each changes, official names
    unmatched: tuple[str, ...] = ()  # paths of layers
    unread: tuple[str, ...] = ()  # tensors that are no part of a LoRA

    def report(self) -> str:
        """How much of the file is in use, on one line."""
        return describe_match(self.name, self.layers, self.unmatched, self.unread)


def read_lora(path: str | Path, shapes: Mapping[str, Shape]) -> LoRA:
    """Reads a LoRA for the UNet with these parameters (official names), and logs how much of it matched.

    Names: of peft, diffusers, kohya or Stability's own. Alpha is the rank where the file states none.
    Raises SVDError for a file that is no LoRA, that has no layer of this UNet, or whose layers have other shapes.
    """
    header = read_header(path)
    name = header.path.name
    factors, unread = _gather(header)
    paths, unmatched = _match(factors, shapes)
    if not paths:
        raise SVDError(describe_no_match(name, unmatched))
    for weight, layer in paths.items():
        _check_fit(name, weight, shapes[weight], factors[layer])
    settings, file = alpha_settings(name, header.metadata), SafetensorsFile(header.path)
    layers = {weight: _read(file, weight, layer, factors[layer], settings) for weight, layer in paths.items()}
    lora = LoRA(name, layers, tuple(unmatched), tuple(unread))
    log_match(name, lora.layers, lora.unmatched, lora.unread)
    return lora


def describe_match(name: str, weights: Collection[str], unmatched: Sequence[str], unread: Sequence[str]) -> str:
    """How much of a file is in use, on one line. weights: those it changes; the rest: see `LoRA`."""
    text = f"{name}: matched {len(weights)} of {len(weights) + len(unmatched)} layers"
    rest = [*unmatched, *unread]
    if not rest:
        return f"{text}."
    more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
    return f"{text}; not matched: {', '.join(rest[:NAMED])}{more}."


def log_match(name: str, weights: Collection[str], unmatched: Sequence[str], unread: Sequence[str]) -> None:
    """Log how much of a file is in use, as a warning where something is not. Arguments: see `describe_match`."""
    level = logging.WARNING if unmatched or unread else logging.INFO
    logger.log(level, describe_match(name, weights, unmatched, unread))
    inert = sum(map(is_inert, weights))
    if inert:
        logger.info(
            "%s: %d of its layers change queries and keys of the cross-attention, which do nothing in SVD: "
            "the picture is a single token there.",
            name,
            inert,
        )


def _gather(header: Header) -> tuple[dict[str, Factors], list[str]]:
    """The factors of each layer by its path, and the tensors that are none."""
    layers: dict[str, Factors] = {}
    unread: list[str] = []
    for name, ref in header.tensors.items():
        if is_magnitude(name):
            raise SVDError(
                f"{header.path.name} is a DoRA (it has {name}), which SVD Nodes does not read: use a plain LoRA."
            )
        split = split_name(name)
        if split is None:
            unread.append(name)
        else:
            layers.setdefault(split[0], {})[split[1]] = ref
    return layers, unread


def _match(factors: Mapping[str, Factors], shapes: Mapping[str, Shape]) -> tuple[dict[str, str], list[str]]:
    """The path of each weight that the file changes, and the paths that are left over."""
    weights = weight_names(shapes)
    paths: dict[str, str] = {}
    unmatched: list[str] = []
    for path, roles in factors.items():
        weight = find_weight(path, weights)
        if weight is None or weight in paths or not {"down", "up"} <= set(roles):
            unmatched.append(path)
        else:
            paths[weight] = path
    return paths, unmatched


def describe_no_match(name: str, unmatched: Sequence[str]) -> str:
    """The error for a file that changes no weight of this UNet. unmatched: paths of its layers."""
    if not unmatched:
        return f"{name} is not a LoRA, it has none of the names a LoRA's tensors have: pick another file."
    layers = f"none of its {len(unmatched)} layers (such as {unmatched[0]}) is a layer of this UNet"
    return f"{name} is a LoRA of another model, {layers}: pick a LoRA made for Stable Video Diffusion."


def _check_fit(name: str, weight: str, shape: Shape, factors: Factors) -> None:
    shapes = {role: ref.shape for role, ref in factors.items()}
    alpha = shapes.get("alpha", ())
    if factors_fit(shape, shapes["down"], shapes["up"], shapes.get("mid")) and math.prod(alpha) == 1:
        return
    found = ", ".join(f"{role} {list(each)}" for role, each in shapes.items())
    raise SVDError(
        f"{name} does not fit this model, it changes {weight} of shape {list(shape)} by {found}: "
        f"pick a LoRA made for Stable Video Diffusion."
    )


def _read(file: Mapping[str, Tensor], weight: str, path: str, factors: Factors, settings: AlphaSettings) -> LoRALayer:
    """Copies, so that the file is free for the program that trains it."""
    tensors = {role: file[ref.name].clone() for role, ref in factors.items()}
    down = fold_mid(tensors["mid"], tensors["down"]) if "mid" in tensors else tensors["down"]
    alpha = float(tensors["alpha"]) if "alpha" in tensors else settings.alpha(without_prefixes(path), down.shape[0])
    return LoRALayer(weight, down, tensors["up"], alpha)
