"""Settings that tensor shapes cannot show: read from metadata, from a tensor among the weights, or from config.json.

Programs that save weights keep no metadata of the file they came from, hence the tensor. Only models of another size
than the released ones need any of this.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from ..errors import SVDError
from ..reading import parse_json
from .entries import Refs

Settings = Mapping[str, Any]
Config = TypeVar("Config", UNetConfig, AutoencoderConfig, ClipVisionConfig)

PARTS = ("unet", "vae", "clip")
METADATA_KEY = "svd_config"
HIDDEN = {
    "unet": ("head_dim", "norm_groups", "resnet_eps", "transformer_eps", "max_period"),
    "vae": ("norm_groups", "spatial_eps", "temporal_eps", "scale_factor"),
    "clip": ("num_heads", "norm_eps"),
}
"""The fields of each configuration that tensor shapes cannot show."""

RELEASED_HEAD_WIDTH = 80  # of the image encoder
MAX_BYTES = 4096
SMALLEST, LARGEST = 1e-12, 1e6  # of an epsilon, a period or a scale; others would make a grey clip, or none


def count_heads(width: int) -> int:
    """Attention heads of an image encoder of this width with heads as wide as the released one's."""
    return max(1, width // RELEASED_HEAD_WIDTH)


def apply_settings(name: str, part: str, config: Config, settings: Settings) -> Config:
    """Put a file's settings into the configuration inferred from its shapes.

    Raises SVDError for an unknown setting, and for one that contradicts the shapes.
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    changes = {}
    for key, value in settings.items():
        if key not in known:
            raise SVDError(f"{name} has the setting {part}.{key}, which this version does not know: update SVD Nodes.")
        changes[key] = _convert(value, known[key])
        if changes[key] is None or (key not in HIDDEN[part] and changes[key] != known[key]):
            raise SVDError(
                f"{name} says {part}.{key} is {value}, which does not fit its tensors: save the checkpoint again."
            )
    return replace(config, **changes)


def _convert(value: Any, known: Any) -> Any:
    """The value in the type of the known one; None if it does not convert."""
    if isinstance(known, bool) or isinstance(value, bool):
        return value if isinstance(known, bool) and isinstance(value, bool) else None
    if isinstance(known, tuple):
        return tuple(value) if isinstance(value, (list, tuple)) else None
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        return None
    if isinstance(known, int):
        return int(value) if value == int(value) else None
    return float(value) if SMALLEST <= value <= LARGEST else None


# --- metadata and tensors ----------------------------------------------------------------------------------------


def read_metadata(name: str, metadata: Mapping[str, str]) -> dict[str, Settings]:
    """The settings of each part in a file's `svd_config` metadata; empty without it."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        return {}
    settings = _parse_json(name, text)
    if not all(isinstance(value, dict) for value in settings.values()):
        raise SVDError(_describe_unreadable(name))
    return settings


def read_settings_tensors(name: str, refs: Refs) -> dict[str, Settings]:
    """The settings of each part that a file holds as a tensor, under any prefix. Raises SVDError if unreadable."""
    found: dict[str, Settings] = {}
    for part in PARTS:
        for key, ref in refs.items():
            if not f".{key}".endswith(f".{METADATA_KEY}.{part}"):
                continue
            if ref.dtype != torch.uint8 or ref.nbytes > MAX_BYTES:
                raise SVDError(_describe_unreadable(name))
            with ref.file.open("rb") as file:
                file.seek(ref.offset)
                found[part] = _parse_json(name, file.read(ref.nbytes))
    return found


def settings_tensor(part: str, config: UNetConfig | AutoencoderConfig | ClipVisionConfig) -> dict[str, Tensor]:
    """{"svd_config.<part>": JSON in UTF-8, b}; empty if the settings are those of the released models."""
    released = type(config)()
    if isinstance(released, ClipVisionConfig) and isinstance(config, ClipVisionConfig):
        released = replace(released, num_heads=count_heads(config.width))
    if all(getattr(config, name) == getattr(released, name) for name in HIDDEN[part]):
        return {}
    text = json.dumps({name: getattr(config, name) for name in HIDDEN[part]})
    return {f"{METADATA_KEY}.{part}": torch.tensor(list(text.encode()), dtype=torch.uint8)}


def _parse_json(name: str, text: str | bytes) -> dict[str, Any]:
    try:
        settings = parse_json(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise SVDError(_describe_unreadable(name))
    return settings


def _describe_unreadable(name: str) -> str:
    return f"{name} has unreadable {METADATA_KEY} settings: save the checkpoint again."


# --- config.json of the diffusers layout -------------------------------------------------------------------------


def read_config_json(part: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a part's config.json. name: the part's folder, for messages."""
    if part == "unet":
        return _read_head_dim(name, config)
    if part == "vae":
        return {"scale_factor": config["scaling_factor"]} if "scaling_factor" in config else {}
    activation = config.get("hidden_act", "gelu")
    if activation != "gelu":
        raise SVDError(
            f"{name} uses the activation {activation}; Stable Video Diffusion's encoder uses gelu: pick another."
        )
    names = {"num_attention_heads": "num_heads", "layer_norm_eps": "norm_eps"}
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}


def _read_head_dim(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers states the number of heads per level where we state the width of a head."""
    heads, widths = config.get("num_attention_heads"), config.get("block_out_channels")
    if heads is None or not isinstance(widths, list):
        return {}
    heads = heads if isinstance(heads, list) else [heads] * len(widths)
    try:
        head_dims = {width / count for width, count in zip(widths, heads, strict=True)}
    except (TypeError, ValueError, ZeroDivisionError):
        raise SVDError(f"{name}/config.json has unusable num_attention_heads: download the file again.") from None
    if len(head_dims) != 1:
        raise SVDError(f"{name} has attention heads of different widths, which is not supported: pick another model.")
    return {"head_dim": head_dims.pop()}
