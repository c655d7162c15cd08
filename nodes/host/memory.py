"""The memory choice of a sampling run, on its way through the host."""

from __future__ import annotations

import logging
from typing import Any

import torch

from ...svd_core.config import UNetConfig
from ...svd_core.memory.activations import UNetCall
from ...svd_core.memory.device import USABLE
from ...svd_core.memory.sampling_memory import SamplingMemory
from ...svd_core.memory.sampling_plan import smallest_bytes
from .folders import model_management

MEMORY = "svd_memory"  # key of the transformer_options


def host_memory(choice: str, device: torch.device, log_level: int = logging.INFO) -> SamplingMemory:
    """Fits a run to what the host has free. It may free more as it goes, so only the whole device is a limit."""
    return SamplingMemory(
        choice,
        free=lambda: int(model_management.get_free_memory(device)),
        is_oom=model_management.is_oom,
        release=model_management.soft_empty_cache,
        limit=int(model_management.get_total_memory(device)),
        log_level=log_level,
    )


def memory_of(transformer_options: dict[str, Any], device: torch.device) -> SamplingMemory:
    """That of the run. Where another sampler than ours runs the model each evaluation is planned alone, and quietly."""
    return transformer_options.get(MEMORY) or host_memory("automatic", device, logging.DEBUG)


def activation_bytes(config: UNetConfig, input_shape: list[int], dtype: torch.dtype) -> float:
    """What the host is to keep free of weights for one evaluation. input_shape: (b t) 4 h w.

    As little as the smallest split needs: a split costs a few percent of time, weights moved out cost more than that.
    """
    rows, _, height, width = input_shape
    return smallest_bytes(config, UNetCall(height, width, rows, dtype)) / USABLE
