"""A part's settings as a tensor among its weights.

Shapes do not show them, and programs that save weights keep no metadata of the file they came from. Only models of
another size than the released ones need it.
"""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from torch import Tensor

from ..config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from ..errors import SVDError
from .entries import Refs
from .infer import HIDDEN, METADATA_KEY, PARTS, Settings, parse_settings, released_num_heads

MAX_BYTES = 4096


def settings_tensor(part: str, config: UNetConfig | AutoencoderConfig | ClipVisionConfig) -> dict[str, Tensor]:
    """{"svd_config.<part>": JSON in UTF-8, b}; empty where the settings are those of the released models."""
    released = type(config)()
    if isinstance(released, ClipVisionConfig) and isinstance(config, ClipVisionConfig):
        released = replace(released, num_heads=released_num_heads(config.width))
    if all(getattr(config, name) == getattr(released, name) for name in HIDDEN[part]):
        return {}
    text = json.dumps({name: getattr(config, name) for name in HIDDEN[part]})
    return {f"{METADATA_KEY}.{part}": torch.tensor(list(text.encode()), dtype=torch.uint8)}


def stored_settings(name: str, refs: Refs) -> dict[str, Settings]:
    """The settings of each part that a file holds as a tensor, under whatever prefix it was saved.

    Raises SVDError where they cannot be read.
    """
    found: dict[str, Settings] = {}
    for part in PARTS:
        for key, ref in refs.items():
            if not f".{key}".endswith(f".{METADATA_KEY}.{part}"):
                continue
            if ref.dtype != torch.uint8 or ref.nbytes > MAX_BYTES:
                raise SVDError(f"{name} has unreadable {METADATA_KEY} settings: save the checkpoint again.")
            with ref.file.open("rb") as file:
                file.seek(ref.offset)
                found[part] = parse_settings(name, file.read(ref.nbytes))
    return found
