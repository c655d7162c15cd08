"""A folder in the layout of diffusers: its files, their names, and what they are made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from torch import Tensor

from ...config import AutoencoderConfig, UNetConfig
from ...errors import SVDError
from .. import Checkpoint
from ..entries import Entries, Entry, combined, with_quant_conv
from ..layouts import FOLDERS, STEMS
from ..names import unet_map_of, vae_map
from ..releases import UNKNOWN
from .diffusers_json import MODEL_INDEX, SCHEDULER, clip_json, preprocessor_json, unet_json, vae_json


def folder_entries(checkpoint: Checkpoint) -> dict[PurePosixPath, Entries]:
    """The weights by file. Raises SVDError for a model that diffusers cannot express."""
    _check_expressible(checkpoint)
    parts = {
        "unet": _unet(checkpoint) if "unet" in checkpoint.parts else {},
        "vae": _vae(checkpoint) if "vae" in checkpoint.parts else {},
        "clip": checkpoint.plan("clip") if "clip" in checkpoint.parts else {},
    }
    return {PurePosixPath(FOLDERS[part], f"{STEMS[part]}.safetensors"): found for part, found in parts.items() if found}


def folder_json(checkpoint: Checkpoint) -> dict[PurePosixPath, dict[str, Any]]:
    """The settings by file; those of the whole pipeline only where all of it is there."""
    config, num_frames = checkpoint.config, checkpoint.num_frames or UNKNOWN.num_frames
    stated: dict[str, dict[str, Any] | None] = {
        "unet/config.json": unet_json(config.unet, num_frames) if config.unet else None,
        "vae/config.json": vae_json(config.vae) if config.vae else None,
        "image_encoder/config.json": clip_json(config.clip) if config.clip else None,
    }
    if not checkpoint.missing_parts:
        stated |= {
            "scheduler/scheduler_config.json": SCHEDULER,
            "feature_extractor/preprocessor_config.json": preprocessor_json(config),
            "model_index.json": MODEL_INDEX,
        }
    return {PurePosixPath(name): value for name, value in stated.items() if value}


def _unet(checkpoint: Checkpoint) -> Entries:
    names = unet_map_of(checkpoint.unet)
    return {names.to_other(name) or name: entry for name, entry in checkpoint.plan("unet").items()}


def _vae(checkpoint: Checkpoint) -> Entries:
    config = checkpoint.vae
    names = vae_map(len(config.channel_mult), config.num_res_blocks, config.temporal_decoder)
    entries = with_quant_conv(checkpoint.plan("vae"))
    return {names.to_other(name) or name: _as_linear(name, entry) for name, entry in entries.items()}


def _as_linear(name: str, entry: Entry) -> Entry:
    """diffusers keeps the attention's 1x1 convolutions as linears."""
    if ".attn_1." not in name or len(entry.shape) != 4:
        return entry
    return combined([entry], entry.shape[:2], _without_kernel)


def _without_kernel(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0][:, :, 0, 0]


def _check_expressible(checkpoint: Checkpoint) -> None:
    """diffusers has no setting for the groups of norms, nor for the eps values of these networks."""
    unet, vae = checkpoint.config.unet, checkpoint.config.vae
    names = ("norm_groups", "resnet_eps", "transformer_eps", "max_period", "spatial_eps", "temporal_eps")
    for title, config, released in (("UNet", unet, UNetConfig()), ("VAE", vae, AutoencoderConfig())):
        for name in names:
            found, wanted = getattr(config, name, None), getattr(released, name, None)
            if config and found != wanted:
                raise SVDError(
                    f"The {title} of {checkpoint.name} has {name} {found}, and the diffusers layout knows only "
                    f"{wanted}; convert to a .safetensors file instead."
                )
