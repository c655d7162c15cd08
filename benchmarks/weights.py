"""One set of weights for all implementations: random ones, or those of the bundled model, under everyone's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from svd_core.checkpoints import load_weights, open_checkpoint
from svd_core.checkpoints.names import NameMap, unet_map_of, vae_map
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.config import ModelConfig
from tests.support.random_checkpoint import random_weight

from .cases import Case

Weights = dict[str, Tensor]


def load_case(module: nn.Module, case: Case, part: str, device: torch.device, dtype: torch.dtype) -> None:
    """Give a part ("unet", "vae" or "clip") built on the meta device its weights."""
    if case.trained:
        load_weights(module, open_checkpoint(DEMO_CHECKPOINT), part, dtype=dtype, device=device)
        return
    weights = {
        name: random_weight(name, tuple(tensor.shape), seed=0).to(device, dtype)
        for name, tensor in module.state_dict().items()
    }
    module.load_state_dict(weights, assign=True)


def diffusers_unet_names(config: ModelConfig, weights: Weights) -> Weights:
    assert config.unet is not None
    return _renamed(unet_map_of(config.unet), weights)


def diffusers_vae_names(config: ModelConfig, weights: Weights) -> Weights:
    """The attention's 1x1 convolutions are linears there, and our folded `quant_conv` is an identity."""
    assert config.vae is not None
    vae = config.vae
    names = vae_map(len(vae.channel_mult), vae.num_res_blocks, vae.temporal_decoder)
    attention = {name: tensor.flatten(1) for name, tensor in weights.items() if ".attn_1." in name and tensor.ndim == 4}
    moments = 2 * vae.latent_channels
    like = weights["encoder.conv_out.weight"]
    quant = {
        "quant_conv.weight": torch.eye(moments).to(like)[:, :, None, None],
        "quant_conv.bias": torch.zeros(moments).to(like),
    }
    return _renamed(names, weights | attention | quant)


def _renamed(names: NameMap, weights: Weights) -> Weights:
    return {names.to_other(name) or name: tensor for name, tensor in weights.items()}


def under(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
