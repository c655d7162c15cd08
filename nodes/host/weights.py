"""Weights from a checkpoint into modules the host manages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import comfy.memory_management
import comfy.utils
import torch
from torch import Tensor, nn

from ...svd_core.checkpoints import Checkpoint


def open_host_file() -> Callable[[Path], Mapping[str, Tensor]] | None:
    """The host's file reader where the host streams weights from disk, else None for the core's reader."""
    if not comfy.memory_management.aimdo_enabled:
        return None
    return lambda path: comfy.utils.load_torch_file(str(path))


def num_parameters(checkpoint: Checkpoint, part: str) -> int:
    return sum(math.prod(entry.shape) for entry in checkpoint.parameters_of(part).values())


def load_part(
    module: nn.Module,
    checkpoint: Checkpoint,
    part: str,
    dtype: torch.dtype,
    dynamic: bool,
    matrix_dtype: torch.dtype | None = None,
) -> None:
    """Fill a module that the host's patcher already holds. dtype, matrix_dtype: see `Checkpoint.read`.

    A dynamic patcher takes the file's own tensors, whatever their type: it reads them in and casts them when they are
    used. Other patchers get copies: the host moves, pins and patches them, and the file stays free.
    """
    if dynamic:
        module.load_state_dict(dict(checkpoint.read(part, matrix_dtype=matrix_dtype)), strict=True, assign=True)
        return
    for name, tensor in checkpoint.read(part, dtype=dtype, transient=True, matrix_dtype=matrix_dtype):
        parameter = module.get_parameter(name)
        if parameter.dtype != tensor.dtype and matrix_dtype is not None:
            parameter.data = torch.empty_like(parameter, dtype=tensor.dtype)
        parameter.data.copy_(tensor)
