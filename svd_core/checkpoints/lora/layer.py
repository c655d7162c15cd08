"""The low-rank change of one weight (Hu et al. 2021): its factors, and the alpha that scales their product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inventory import Shape

_INERT = (".attn2.to_q.weight", ".attn2.to_k.weight")


@dataclass(frozen=True)
class LoRALayer:
    """alpha / r * up down, added to the weight named `weight` (official name).

    down: r i *kernel. up: o r, possibly with trailing ones. magnitude: o values; with it the layer is a DoRA
    (Liu et al. 2024), which scales every row of the changed weight to that norm.
    """

    weight: str
    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def is_zero(self) -> bool:
        """True for a layer that changes nothing."""
        return self.magnitude is None and not (self.down.any() and self.up.any() and self.alpha)

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self, shape: Shape, device: torch.device | str = "cpu") -> Tensor:
        """The change at strength 1, in the shape of the weight, fp32."""
        up = self.up.to(device, torch.float32).flatten(1)  # o r
        down = self.down.to(device, torch.float32).flatten(1)  # r (i kernel)
        return (self.alpha / self.rank * (up @ down)).reshape(shape)

    def merge(self, weight: Tensor, strength: float) -> Tensor:
        """A weight in fp32 with the change; strength 0 leaves it, 1 is the full effect."""
        delta = self.delta(tuple(weight.shape), weight.device)
        if self.magnitude is None:
            return weight + strength * delta
        rows = torch.nn.functional.normalize((weight + delta).flatten(1), dim=1)
        magnitude = self.magnitude.to(weight.device, torch.float32).reshape(-1, 1)
        return weight + strength * ((magnitude * rows).reshape(weight.shape) - weight)


def add_layers(layers: Sequence[LoRALayer]) -> LoRALayer:
    """The sum of several changes of one weight, as one of the sum of their ranks."""
    if len(layers) == 1:
        return layers[0]
    rank = sum(layer.rank for layer in layers)
    down = torch.cat([layer.down.float() for layer in layers])
    up = torch.cat([layer.alpha / layer.rank * layer.up.float() for layer in layers], dim=1)
    return LoRALayer(layers[0].weight, down, up, float(rank))


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
