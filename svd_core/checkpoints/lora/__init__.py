"""LoRA: low-rank changes of the UNet's weights, spatial and temporal, under any of the names they are saved with."""

from .layer import LoRALayer
from .merge import LoRAStack
from .names import module_shapes
from .read import LoRA, read_lora

__all__ = ["LoRA", "LoRALayer", "LoRAStack", "module_shapes", "read_lora"]
