"""Read a LoRA file for a UNet: match its layers, check that they fit, and report what is not used."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...errors import SVDError, printable
from ...models.finite import is_finite
from ..header import Header, TensorRef, check_numbers, read_header
from ..inventory import Shape
from ..stream import SafetensorsFile
from .alpha import AlphaSettings, read_alpha
from .contents import Adapters, Contents, Factors, match_layers, sort_tensors
from .layer import LoRALayer, add_layers, factors_fit, fold_mid, is_inert
from .names import strip_prefixes

logger = logging.getLogger(__name__)

MAX_NAMED = 5  # names in a report before it only counts


@dataclass(frozen=True)
class LoRA:
    """A file's layers that match a UNet, and the names of the rest."""

    name: str
    layers: Mapping[str, LoRALayer]  # by the weight each changes, official names
    unmatched: tuple[str, ...] = ()  # paths of layers
    unread: tuple[str, ...] = ()  # tensors that belong to no LoRA layer

    def report(self) -> str:
        """The part of the file that is in use, on one line."""
        return describe_match(self.name, self.layers, self.unmatched, self.unread)


def read_lora(file: str | Path | Header, shapes: Mapping[str, Shape]) -> LoRA:
    """Read a LoRA for the UNet with these parameters (official names), and log how much of it matched.

    file: its path, or its header where that has been read. Names may be peft's, diffusers', kohya's or Stability's.
    Alpha is the rank if the file states none. Raises SVDError for a file that is not a LoRA, that has no layer of this
    UNet, whose layers have other shapes, or whose numbers are not finite.
    """
    header = file if isinstance(file, Header) else read_header(file)
    name = header.path.name
    contents = sort_tensors(header, shapes)
    paths, unmatched = match_layers(contents.layers, shapes)
    if not paths:
        raise SVDError(describe_no_match(name, unmatched))
    for weight, layer in paths.items():
        _check_fit(name, weight, shapes[weight], contents.layers[layer])
    settings, tensors = read_alpha(name, header.metadata), SafetensorsFile(header.path)
    layers: dict[str, LoRALayer] = {}
    for weight, layer in paths.items():
        adapters = contents.layers[layer].values()
        layers[weight] = add_layers([_read_layer(tensors, weight, layer, factors, settings) for factors in adapters])
    lora = LoRA(name, layers, tuple(unmatched), tuple(contents.unread))
    log_match(name, lora.layers, lora.unmatched, lora.unread)
    for note in _take_notes(contents):
        logger.warning(printable(f"{name} {note}."))
    if all(layer.is_zero for layer in layers.values()):
        log_zero(name)
    return lora


def _take_notes(contents: Contents) -> Iterator[str]:
    """Ends of sentences about a LoRA that begin with its name."""
    adapters = sorted({adapter for each in contents.layers.values() for adapter in each})
    if any(len(each) > 1 for each in contents.layers.values()):
        yield f"holds the adapters {', '.join(adapters[:MAX_NAMED])}; they are added up"
    if contents.base:
        yield f"also holds {len(contents.base)} weights of the model it was trained on, which are left out"


def log_zero(name: str) -> None:
    """Log that a file changes nothing."""
    logger.warning(
        printable(f"{name} changes nothing: each of its layers is zero, as before the first step of a training.")
    )


def describe_match(name: str, weights: Collection[str], unmatched: Sequence[str], unread: Sequence[str]) -> str:
    """The part of a file that is in use, on one line. weights: the names it changes; the rest as in `LoRA`."""
    text = f"{name}: matched {len(weights)} of {len(weights) + len(unmatched)} layers"
    rest = [*unmatched, *unread]
    if not rest:
        return f"{text}."
    more = f" and {len(rest) - MAX_NAMED} more" if len(rest) > MAX_NAMED else ""
    return printable(f"{text}; not matched: {', '.join(rest[:MAX_NAMED])}{more}.")


def log_match(name: str, weights: Collection[str], unmatched: Sequence[str], unread: Sequence[str]) -> None:
    """Log how much of a file is in use, as a warning if something is not. Arguments: see `describe_match`."""
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


def describe_no_match(name: str, unmatched: Sequence[str]) -> str:
    """The error for a file that changes no weight of this UNet. unmatched: paths of its layers."""
    if not unmatched:
        return f"{name} is not a LoRA, it has none of the names a LoRA's tensors have: pick another file."
    layers = f"none of its {len(unmatched)} layers (such as {unmatched[0]}) is a layer of this UNet"
    return f"{name} is a LoRA of another model, {layers}: pick a LoRA made for Stable Video Diffusion."


def _check_fit(name: str, weight: str, shape: Shape, adapters: Adapters) -> None:
    for factors in adapters.values():
        check_numbers(ref for role, ref in factors.items() if role != "alpha")
        shapes = {role: ref.shape for role, ref in factors.items()}
        alpha, magnitude = shapes.get("alpha", ()), shapes.get("magnitude", shape[:1])
        fits = factors_fit(shape, shapes["down"], shapes["up"], shapes.get("mid"))
        if not fits or math.prod(alpha) != 1 or math.prod(magnitude) != shape[0]:
            found = ", ".join(f"{role} {list(each)}" for role, each in shapes.items())
            raise SVDError(
                f"{name} does not fit this model, it changes {weight} of shape {list(shape)} by {found}: "
                f"pick a LoRA made for Stable Video Diffusion."
            )
    if len(adapters) > 1 and any("magnitude" in factors for factors in adapters.values()):
        raise SVDError(
            f"{name} holds several DoRA adapters for {weight} ({', '.join(sorted(adapters))}), which do not add up: "
            f"save the one to use in a file of its own."
        )


def _read_layer(
    file: Mapping[str, Tensor], weight: str, path: str, factors: Factors, settings: AlphaSettings
) -> LoRALayer:
    """Copies the tensors, so that the file is free for the program that trains it."""
    tensors = {role: read_finite(file, ref) for role, ref in factors.items()}
    down = fold_mid(tensors["mid"], tensors["down"]) if "mid" in tensors else tensors["down"]
    alpha = float(tensors["alpha"]) if "alpha" in tensors else settings.get_alpha(strip_prefixes(path), down.shape[0])
    return LoRALayer(weight, down, tensors["up"], alpha, tensors.get("magnitude"))


def read_finite(file: Mapping[str, Tensor], ref: TensorRef) -> Tensor:
    """A copy of a tensor. Raises SVDError if it holds NaN or infinity, which would make the whole clip black."""
    tensor = file[ref.name].clone()
    if not is_finite(tensor):
        raise SVDError(
            f"{ref.file.name} is damaged, its {ref.name} holds numbers that are not finite: "
            f"download the LoRA again, or save it before its training diverged."
        )
    return tensor
