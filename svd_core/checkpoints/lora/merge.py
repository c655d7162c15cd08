"""LoRAs in the weights of a network, and the way back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import SVDError
from ..inventory import Shape
from .names import module_shapes
from .read import LoRA


class LoRAStack:
    """Merges LoRAs into a network's weights and keeps the weights as they were, on the CPU.

    Merged weights are made anew from those each time: the LoRAs add up in fp32, and are rounded once.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._loras: list[tuple[LoRA, float]] = []
        self._originals: dict[str, Tensor] = {}

    @property
    def shapes(self) -> dict[str, Shape]:
        """Of the network's parameters, for `read_lora`."""
        return module_shapes(self._module)

    def add(self, lora: LoRA, strength: float) -> None:
        """Raises SVDError for a strength that is no number."""
        if not math.isfinite(strength):
            raise SVDError(f"The strength of {lora.name} is {strength}; it must be a number, and 1 is its full effect.")
        self._loras.append((lora, strength))
        for name in lora.layers:
            parameter = self._module.get_parameter(name)
            original = self._originals.setdefault(name, parameter.detach().cpu())
            parameter.data = self._merged(name, original.to(parameter.device))

    def clear(self) -> None:
        """Puts the weights back, bit for bit."""
        for name, original in self._originals.items():
            parameter = self._module.get_parameter(name)
            parameter.data = original.to(parameter.device)
        self._originals.clear()
        self._loras.clear()

    def _merged(self, name: str, original: Tensor) -> Tensor:
        total = original.to(torch.float32)
        for lora, strength in self._loras:
            if name in lora.layers:
                total = total + strength * lora.layers[name].delta(tuple(original.shape), original.device)
        return total.to(original.dtype)
