"""The low-rank change of one weight (Hu et al. 2021): its factors, and the alpha that scales their product."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inventory import Shape

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
