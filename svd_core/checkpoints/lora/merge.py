"""Merge LoRAs into the weights of a network, and take them out again."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import SVDError
from ..inventory import Shape
from .names import module_shapes
from .read import LoRA


class LoRAStack:
    """LoRAs merged into a network's weights; the original weights are kept on the CPU.

    Each change merges all LoRAs into the originals again, in fp32, so that the result is rounded only once.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._loras: list[tuple[LoRA, float]] = []
        self._originals: dict[str, Tensor] = {}

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the network's parameters, for `read_lora`."""
        return module_shapes(self._module)

    def add(self, lora: LoRA, strength: float) -> None:
        """Merge one more LoRA. Raises SVDError unless the strength is finite."""
        if not math.isfinite(strength):
            raise SVDError(f"The strength of {lora.name} is {strength}; it must be a number, and 1 is its full effect.")
        self._loras.append((lora, strength))
        for name in lora.layers:
            parameter = self._module.get_parameter(name)
            original = self._originals.setdefault(name, parameter.detach().cpu())
            parameter.data = self._merge_all(name, original.to(parameter.device))

    def clear(self) -> None:
        """Restore the original weights, bit for bit."""
        for name, original in self._originals.items():
            parameter = self._module.get_parameter(name)
            parameter.data = original.to(parameter.device)
        self._originals.clear()
        self._loras.clear()

    def _merge_all(self, name: str, original: Tensor) -> Tensor:
        total = original.to(torch.float32)
        for lora, strength in self._loras:
            if name in lora.layers:
                total = total + strength * lora.layers[name].delta(tuple(original.shape), original.device)
        return total.to(original.dtype)
