"""Merge LoRAs into the weights of a network, and take them out again."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from ...errors import SVDError
from ...models.finite import is_finite
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

    def __len__(self) -> int:
        return len(self._loras)

    def add(self, lora: LoRA, strength: float) -> None:
        """Merge one more LoRA. Raises SVDError, and changes nothing, where the strength or a weight is not finite."""
        if not abs(strength) <= sys.float_info.max:  # compares whole numbers of any size
            raise SVDError(f"The strength of {lora.name} is no finite number; give one, and 1 is its full effect.")
        self._loras.append((lora, float(strength)))
        try:
            for name in lora.layers:
                self._merge(name, lora)
        except SVDError:
            self._loras.pop()
            for name in lora.layers.keys() & self._originals.keys():
                self._merge(name, None)
            raise

    def clear(self) -> None:
        """Restore the original weights, bit for bit."""
        for name, original in self._originals.items():
            parameter = self._module.get_parameter(name)
            parameter.data = original.to(parameter.device)
        self._originals.clear()
        self._loras.clear()

    def _merge(self, name: str, added: LoRA | None) -> None:
        """Merge all LoRAs into one weight. added: the last of them, to blame for a weight that overflows."""
        parameter = self._module.get_parameter(name)
        original = self._originals.setdefault(name, parameter.detach().cpu()).to(parameter.device)
        total = original.to(torch.float32)
        for lora, strength in self._loras:
            if name in lora.layers:
                total = lora.layers[name].merge(total, strength)
        merged = total.to(original.dtype)
        if added is not None and not is_finite(merged) and is_finite(original):
            dtype = str(merged.dtype).removeprefix("torch.")
            raise SVDError(f"{added.name} overflows {dtype} in {name} at its strength: choose a smaller one.")
        parameter.data = merged
