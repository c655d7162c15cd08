"""Trained networks to one file in the official single-file layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from svd_core.checkpoints.inventory import CLIP_PREFIX, FIRST_STAGE_PREFIX, UNET_PREFIX
from svd_core.checkpoints.names import clip_map
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import hidden_settings

from .settings import DEMO

Tensors = dict[str, Tensor]


def export(path: Path, unet: VideoUNet, vae: Autoencoder, clip: ClipVision, dtype: torch.dtype = torch.float16) -> None:
    """Write the checkpoint beside and rename it. What shapes cannot show travels in the metadata."""
    tensors = {UNET_PREFIX + name: value for name, value in unet.state_dict().items()}
    tensors |= {FIRST_STAGE_PREFIX + name: value for name, value in vae.state_dict().items()}
    tensors |= {CLIP_PREFIX + name: value for name, value in open_clip_names(clip).items()}
    metadata = {"svd_config": json.dumps(hidden_settings(DEMO)), "title": "SVD Nodes demo", "license": "Apache-2.0"}
    beside = path.with_name(path.name + ".part")
    save_file({name: value.to(dtype).contiguous() for name, value in tensors.items()}, beside, metadata)
    os.replace(beside, path)


def open_clip_names(clip: ClipVision) -> Tensors:
    """The image tower as OpenCLIP stores it: projections one below the other, the last one transposed."""
    names = clip_map(clip.config.num_layers)
    stored = clip.state_dict()
    tensors: Tensors = {"proj": stored.pop("visual_projection.weight").t()}
    for index in range(clip.config.num_layers):
        attention = f"vision_model.encoder.layers.{index}.self_attn"
        for leaf in ("weight", "bias"):
            parts = [stored.pop(f"{attention}.{projection}.{leaf}") for projection in ("q_proj", "k_proj", "v_proj")]
            tensors[f"transformer.resblocks.{index}.attn.in_proj_{leaf}"] = torch.cat(parts)
    for name, value in stored.items():
        official = names.to_official(name)
        assert official is not None, name
        tensors[official] = value
    return tensors
