"""Networks without memory are built without initial values, which are what building them would spend its time on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from svd_core.config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.kernels import fp8
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import SMALL_UNET, SMALL_VAE

SMALL_TOWER = ClipVisionConfig(width=32, num_layers=1, num_heads=4, mlp_width=64, patch_size=8, image_size=16)
BUILDERS: dict[str, Callable[[Layers], nn.Module]] = {
    "unet": lambda layers: VideoUNet(SMALL_UNET, layers),
    "unet with trained positions": lambda layers: VideoUNet(UNetConfig(num_positions=4), layers),
    "autoencoder": lambda layers: Autoencoder(SMALL_VAE, layers),
    "image decoder": lambda layers: Autoencoder(AutoencoderConfig(temporal_decoder=False), layers),
    "image encoder": lambda layers: ClipVision(SMALL_TOWER, layers),
}


class OperationsOnMeta(TorchDispatchMode):
    """Names of the operations that write to tensors without memory."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_meta:
            self.seen.add(func.overloadpacket.__name__)
        return result


@pytest.mark.parametrize("operations", [nn, fp8], ids=["nn", "fp8"])
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_nothing_is_initialised_without_memory(build: Callable[[Layers], nn.Module], operations: Any) -> None:
    with OperationsOnMeta() as made:
        network = build(Layers(operations, device="meta"))
    assert all(parameter.is_meta for name, parameter in network.named_parameters() if "mix_factor" not in name)
    assert made.seen <= {"empty", "zeros", "detach"}, "nothing is filled, drawn or scaled"


def test_what_is_counted_is_there_to_be_counted() -> None:
    with OperationsOnMeta() as made:
        nn.Embedding(4, 4, device="meta")
    assert "normal_" in made.seen, "PyTorch's own layer draws its values"


def test_weights_with_memory_are_initialised() -> None:
    torch.manual_seed(0)
    assert 0.9 < float(Layers().embedding(100, 100).weight.detach().std()) < 1.1
    assert type(Layers(device="meta").linear(4, 4)).__name__ == "Linear"
