"""LoRA layers as the host's own weight patches, which it applies, offloads, casts, stacks and saves like any other."""

from __future__ import annotations

from typing import Any

from comfy.weight_adapter.lora import LoRAAdapter

from ...svd_core.checkpoints.inventory import Shape
from ...svd_core.checkpoints.lora import LoRA, LoRALayer, module_shapes

_PREFIX = "diffusion_model."


def unet_shapes_of(patcher: Any) -> dict[str, Shape]:
    """Official names and shapes of a MODEL's UNet; the host's own SVD has the same names as ours."""
    return module_shapes(patcher.model.diffusion_model)


def with_lora(patcher: Any, lora: LoRA, strength: float) -> Any:
    """A clone of the MODEL that changes its weights when it is loaded; the one given stays as it is."""
    patched = patcher.clone()
    patched.add_patches({_PREFIX + weight: _adapter(layer) for weight, layer in lora.layers.items()}, strength)
    return patched


def _adapter(layer: LoRALayer) -> LoRAAdapter:
    no_mid = no_dora_scale = no_reshape = None
    return LoRAAdapter(set(), (layer.up, layer.down, layer.alpha, no_mid, no_dora_scale, no_reshape))
