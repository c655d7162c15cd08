"""Contents of a converted checkpoint: the tensors and settings of the official file, and of a diffusers folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from ...config import AutoencoderConfig, UNetConfig
from ...errors import SVDError
from ..entries import Entries, Entry, conv_to_linear, join_rows, transpose, unfold_quant_conv
from ..find import PROJECTIONS
from ..inventory import CLIP_PREFIX, ENCODER_PREFIX, FIRST_STAGE_PREFIX, UNET_PREFIX
from ..layouts import FOLDERS, NUM_FRAMES_KEY, STEMS
from ..load import Checkpoint
from ..names import clip_map, unet_map_of, vae_map
from ..releases import UNKNOWN
from ..settings import HIDDEN, METADATA_KEY
from .diffusers_json import MODEL_INDEX, SCHEDULER, clip_json, preprocessor_json, unet_json, vae_json

# --- official single file ----------------------------------------------------------------------------------------


def list_file_entries(checkpoint: Checkpoint) -> Entries:
    """Every tensor of the official file that something reads; parts that the checkpoint lacks stay out.

    Left out as well: the text encoder's leftovers beside the image encoder, and the second autoencoder's decoder.
    """
    entries: Entries = {}
    if "unet" in checkpoint.parts:
        entries |= _add_prefix(UNET_PREFIX, checkpoint.parameters_of("unet"))
    if "vae" in checkpoint.parts:
        entries |= _list_both_vaes(checkpoint)
    if "clip" in checkpoint.parts:
        image_encoder = _rename_to_open_clip(checkpoint.parameters_of("clip"), checkpoint.clip.num_layers)
        entries |= _add_prefix(CLIP_PREFIX, image_encoder)
    return entries


def make_file_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """The settings that shapes cannot show."""
    config = asdict(checkpoint.config)
    hidden = {part: {name: config[part][name] for name in HIDDEN[part]} for part in checkpoint.parts}
    metadata = {METADATA_KEY: json.dumps(hidden), "format": "pt"}
    return metadata | ({NUM_FRAMES_KEY: str(checkpoint.num_frames)} if checkpoint.num_frames else {})


def _list_both_vaes(checkpoint: Checkpoint) -> Entries:
    """The first stage, and the encoder that the conditioning was trained with.

    A temporal first stage has quant_conv merged into its encoder; the first stage of an image decoder has it apart.
    """
    vae = checkpoint.parameters_of("vae")
    apart = unfold_quant_conv(vae)
    encoder = {name: entry for name, entry in apart.items() if name.startswith(("encoder.", "quant_conv."))}
    first_stage = vae if checkpoint.vae.temporal_decoder else apart
    return _add_prefix(FIRST_STAGE_PREFIX, first_stage) | _add_prefix(ENCODER_PREFIX, encoder)


def _rename_to_open_clip(entries: Entries, num_layers: int) -> Entries:
    names = clip_map(num_layers)
    found: Entries = {}
    for name, entry in entries.items():
        if name == "visual_projection.weight":
            found["proj"] = transpose(entry)
        elif not any(f".{projection}." in name for projection in PROJECTIONS):
            found[names.to_official(name) or name] = entry
    for layer in range(num_layers):
        attention = f"vision_model.encoder.layers.{layer}.self_attn"
        for leaf in ("weight", "bias"):
            joint = join_rows([entries[f"{attention}.{projection}.{leaf}"] for projection in PROJECTIONS])
            found[f"transformer.resblocks.{layer}.attn.in_proj_{leaf}"] = joint
    return found


def _add_prefix(prefix: str, entries: Entries) -> Entries:
    return {prefix + name: entry for name, entry in entries.items()}


# --- diffusers folder --------------------------------------------------------------------------------------------


def list_folder_entries(checkpoint: Checkpoint) -> dict[PurePosixPath, Entries]:
    """The weights of each file. Raises SVDError for a model that diffusers cannot express."""
    _check_expressible(checkpoint)
    parts = {
        "unet": _rename_unet(checkpoint) if "unet" in checkpoint.parts else {},
        "vae": _rename_vae(checkpoint) if "vae" in checkpoint.parts else {},
        "clip": checkpoint.parameters_of("clip") if "clip" in checkpoint.parts else {},
    }
    return {PurePosixPath(FOLDERS[part], f"{STEMS[part]}.safetensors"): found for part, found in parts.items() if found}


def make_folder_json(checkpoint: Checkpoint) -> dict[PurePosixPath, dict[str, Any]]:
    """The content of each JSON file; those of the whole pipeline only for a complete checkpoint."""
    config, num_frames = checkpoint.config, checkpoint.num_frames or UNKNOWN.num_frames
    files: dict[str, dict[str, Any] | None] = {
        "unet/config.json": unet_json(config.unet, num_frames) if config.unet else None,
        "vae/config.json": vae_json(config.vae) if config.vae else None,
        "image_encoder/config.json": clip_json(config.clip) if config.clip else None,
    }
    if not checkpoint.missing_parts:
        files |= {
            "scheduler/scheduler_config.json": SCHEDULER,
            "feature_extractor/preprocessor_config.json": preprocessor_json(config),
            "model_index.json": MODEL_INDEX,
        }
    return {PurePosixPath(name): value for name, value in files.items() if value}


def _rename_unet(checkpoint: Checkpoint) -> Entries:
    names = unet_map_of(checkpoint.unet)
    return {names.to_other(name) or name: entry for name, entry in checkpoint.parameters_of("unet").items()}


def _rename_vae(checkpoint: Checkpoint) -> Entries:
    config = checkpoint.vae
    names = vae_map(len(config.channel_mult), config.num_res_blocks, config.temporal_decoder)
    entries = unfold_quant_conv(checkpoint.parameters_of("vae"))
    return {names.to_other(name) or name: _to_linear(name, entry) for name, entry in entries.items()}


def _to_linear(name: str, entry: Entry) -> Entry:
    """diffusers stores the attention's 1x1 convolutions as linears."""
    return conv_to_linear(entry) if ".attn_1." in name and len(entry.shape) == 4 else entry


def _check_expressible(checkpoint: Checkpoint) -> None:
    """diffusers has no setting for the groups of norms, nor for the eps values of these networks."""
    unet, vae = checkpoint.config.unet, checkpoint.config.vae
    names = ("norm_groups", "resnet_eps", "transformer_eps", "max_period", "spatial_eps", "temporal_eps")
    for title, config, released in (("UNet", unet, UNetConfig()), ("VAE", vae, AutoencoderConfig())):
        for name in names:
            found, wanted = getattr(config, name, None), getattr(released, name, None)
            if config and found != wanted:
                raise SVDError(
                    f"The {title} of {checkpoint.name} has {name} {found}, and the diffusers layout allows only "
                    f"{wanted}; convert to a .safetensors file instead."
                )
