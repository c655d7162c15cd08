"""Weights from a checkpoint into modules the host manages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import comfy.memory_management
import comfy.utils
import torch
from torch import Tensor, nn

from ..svd_core.checkpoint import Checkpoint, Part, load_weights


def open_host_file() -> Callable[[Path], Mapping[str, Tensor]] | None:
    """The host's own file mapping where it streams weights from disk by itself, else None: the core's."""
    if not comfy.memory_management.aimdo_enabled:
        return None
    return lambda path: comfy.utils.load_torch_file(str(path))


def load_part(module: nn.Module, checkpoint: Checkpoint, part: Part, dtype: torch.dtype, dynamic: bool) -> None:
    """Fill a module that the host's patcher already holds.

    A dynamic patcher wants the file's own tensors, whatever their type: it faults them in and casts them at use. Any
    other gets copies in `dtype`, streamed, since the host moves and pins what it is given.
    """
    if dynamic:
        weights = dict(checkpoint.read(part))
        module.load_state_dict(weights, strict=True, assign=True)
    else:
        load_weights(module, checkpoint, part, dtype=dtype)
