"""What every evaluation of a run would compute alike, computed once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models.unet.hooks import UNetHooks


class RunConstants(UNetHooks):
    """The plain network through one run of one set of guidance branches, at one size, with weights that stay.

    Only for evaluations that are not split: a split asks the same layer for some rows at a time.
    """

    def __init__(self) -> None:
        self._made: dict[nn.Module, Tensor] = {}

    def once(self, layer: nn.Module, make: Callable[[], Tensor]) -> Tensor:
        if torch.compiler.is_compiling():
            return make()
        if layer not in self._made:
            self._made[layer] = make()
        return self._made[layer]
