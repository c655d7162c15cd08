"""The official single file of a checkpoint: its names, and what they are made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from .. import Checkpoint
from ..entries import Entries, Entry, combined, with_quant_conv
from ..infer import HIDDEN, METADATA_KEY
from ..inventory import CLIP_PREFIX, ENCODER_PREFIX, FIRST_STAGE_PREFIX, UNET_PREFIX
from ..layouts import NUM_FRAMES_KEY
from ..names import clip_map

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def single_entries(checkpoint: Checkpoint) -> Entries:
    """Every tensor of the official file that something reads; parts the checkpoint lacks stay out.

    Not there: the text leftovers beside the image tower, and the decoder of the second autoencoder.
    """
    entries: Entries = {}
    if "unet" in checkpoint.parts:
        entries |= _prefixed(UNET_PREFIX, checkpoint.plan("unet"))
    if "vae" in checkpoint.parts:
        entries |= _vae(checkpoint)
    if "clip" in checkpoint.parts:
        entries |= _prefixed(CLIP_PREFIX, open_clip_entries(checkpoint.plan("clip"), checkpoint.clip.num_layers))
    return entries


def single_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What shapes cannot show."""
    config = asdict(checkpoint.config)
    hidden = {part: {name: config[part][name] for name in HIDDEN[part]} for part in checkpoint.parts}
    stated = {METADATA_KEY: json.dumps(hidden), "format": "pt"}
    return stated | ({NUM_FRAMES_KEY: str(checkpoint.num_frames)} if checkpoint.num_frames else {})


def open_clip_entries(entries: Entries, num_layers: int) -> Entries:
    """The image tower under the names of open_clip, from those of transformers."""
    names = clip_map(num_layers)
    found: Entries = {}
    for name, entry in entries.items():
        if name == "visual_projection.weight":
            found["proj"] = combined([entry], entry.shape[::-1], _transposed)
        elif not any(f".{projection}." in name for projection in _PROJECTIONS):
            found[names.to_official(name) or name] = entry
    for layer in range(num_layers):
        for leaf in ("weight", "bias"):
            found[f"transformer.resblocks.{layer}.attn.in_proj_{leaf}"] = _joint_projection(entries, layer, leaf)
    return found


def _joint_projection(entries: Entries, layer: int, leaf: str) -> Entry:
    """The query, key and value projections one below the other."""
    parts = [entries[f"vision_model.encoder.layers.{layer}.self_attn.{name}.{leaf}"] for name in _PROJECTIONS]
    width, *rest = parts[0].shape
    return combined(parts, (len(parts) * width, *rest), _joined)


def _vae(checkpoint: Checkpoint) -> Entries:
    """The first stage, and the encoder that the conditioning was trained with.

    A temporal first stage has quant_conv merged into its encoder; that of an image decoder has it apart.
    """
    apart = with_quant_conv(checkpoint.plan("vae"))
    first_stage = checkpoint.plan("vae") if checkpoint.vae.temporal_decoder else apart
    encoder = {name: entry for name, entry in apart.items() if name.startswith(("encoder.", "quant_conv."))}
    return _prefixed(FIRST_STAGE_PREFIX, first_stage) | _prefixed(ENCODER_PREFIX, encoder)


def _prefixed(prefix: str, entries: Entries) -> Entries:
    return {prefix + name: entry for name, entry in entries.items()}


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors))


def _transposed(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0].t().contiguous()
