"""The low-rank change of one weight (Hu et al. 2021): its factors, and the alpha that scales their product."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import SVDError
from ..inventory import Shape

METADATA_KEY = "lora_adapter_metadata"  # peft's settings, as diffusers writes them into the file's header
_UNET = "unet."
_INERT = (".attn2.to_q.weight", ".attn2.to_k.weight")


@dataclass(frozen=True)
class LoRALayer:
    """alpha / r * up down, added to the weight named `weight` (official name).

    down: r i *kernel. up: o r, possibly with trailing ones.
    """

    weight: str
    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self, shape: Shape, device: torch.device | str = "cpu") -> Tensor:
        """The change at strength 1, in the shape of the weight, fp32."""
        up = self.up.to(device, torch.float32).flatten(1)  # o r
        down = self.down.to(device, torch.float32).flatten(1)  # r (i kernel)
        return (self.alpha / self.rank * (up @ down)).reshape(shape)


def is_inert(weight: str) -> bool:
    """True if changing this weight has no effect: attention over a single token ignores queries and keys."""
    return weight.endswith(_INERT)


def fold_mid(mid: Tensor, down: Tensor) -> Tensor:
    """Fold LoCon's convolution `mid` (r r *kernel) and the 1x1 convolution `down` (r i) into one, r i *kernel."""
    return torch.einsum("sr...,ri->si...", mid.float(), down.float().flatten(1))


def factors_fit(shape: Shape, down: Shape, up: Shape, mid: Shape | None) -> bool:
    """True if the product of the factors has the shape of the weight, o i *kernel."""
    c_out, c_in, *kernel = shape
    if not down or not up or min(*down, *up) < 1:
        return False
    rank = down[0]
    if (up[0], math.prod(up[1:])) != (c_out, rank):
        return False
    if mid is not None:
        return mid == (rank, rank, *kernel) and math.prod(down[1:]) == c_in
    return math.prod(down[1:]) == c_in * math.prod(kernel)


# --- alpha of layers that store none ------------------------------------------------------------------------------


@dataclass(frozen=True)
class AlphaSettings:
    """A file's alpha for all its layers; a file that states none means alpha = rank, a scale of one."""

    default: float | None = None
    patterns: Mapping[re.Pattern[str], float] = field(default_factory=dict)  # for the ends of paths
    by_root: bool = False  # rank-stabilised LoRA: alpha is divided by the root of the rank

    def get_alpha(self, path: str, rank: int) -> float:
        """The alpha of one layer, to be divided by its rank."""
        stated = next((alpha for end, alpha in self.patterns.items() if end.search(path)), self.default)
        if stated is None:
            return float(rank)
        return stated * math.sqrt(rank) if self.by_root else stated


def read_alpha(name: str, metadata: Mapping[str, str]) -> AlphaSettings:
    """Raises SVDError for unreadable metadata, because a wrong alpha would show only in the picture."""
    if METADATA_KEY not in metadata:
        return AlphaSettings()
    try:
        stated: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        own = {key.removeprefix(_UNET): value for key, value in stated.items()}
        default = own.get("lora_alpha")
        by_layer = (own.get("alpha_pattern") or {}).items()
        patterns = {re.compile(rf"(^|\.)({end})$"): float(alpha) for end, alpha in by_layer}
        return AlphaSettings(None if default is None else float(default), patterns, bool(own.get("use_rslora")))
    except (AttributeError, TypeError, ValueError, re.error):
        raise SVDError(f"{name} has unreadable {METADATA_KEY} metadata: save or download the LoRA again.") from None
