"""State of a sampling run, handed to the model through the host: its memory and its step cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...svd_core.config import UNetConfig
from ...svd_core.diffusion.speed import MODES
from ...svd_core.diffusion.step_cache import Features, StepCache
from ...svd_core.memory.activations import UNetCall
from ...svd_core.memory.device import USABLE
from ...svd_core.memory.sampling import SamplingMemory, smallest_bytes
from .folders import model_management
from .versions import is_oom

_RUN = "svd_run"  # key of the transformer_options


@dataclass(frozen=True)
class RunState:
    """State of one sampling run, shared by its evaluations of the model."""

    memory: SamplingMemory
    cache: StepCache
    guided: bool = False  # whether both branches are evaluated now

    def add_to(self, transformer_options: dict[str, Any], guided: bool) -> dict[str, Any]:
        """A copy of the options, which the host hands on to the model."""
        return {**transformer_options, _RUN: replace(self, guided=guided)}

    def features(self, transformer_options: dict[str, Any], control: Any) -> Features | None:
        """Deep features for one evaluation; None where they cannot be used."""
        if self.cache.mode.reuses and control is not None:
            self.cache.disable("a control network adds to the deep blocks")
            return None
        if self.cache.mode.reuses and transformer_options.get("context_window") is not None:
            self.cache.disable("the model sees the clip in windows")
            return None
        branches = tuple(transformer_options.get("uuids", ()))  # named by the host
        return self.cache.features(branches, self.guided)


def run_of(transformer_options: dict[str, Any], device: torch.device) -> RunState:
    """State of the run. Under another sampler than ours, every evaluation is planned alone, and quietly."""
    if _RUN in transformer_options:
        return transformer_options[_RUN]
    return RunState(make_memory("automatic", device, logging.DEBUG), StepCache(MODES["exact"]))


def make_memory(choice: str, device: torch.device, log_level: int = logging.INFO) -> SamplingMemory:
    """Memory of a run on a device of the host.

    The host may free more memory during the run, so only the size of the whole device is a limit.
    """
    return SamplingMemory(
        choice,
        free=lambda: int(model_management.get_free_memory(device)),
        is_oom=is_oom,
        release=model_management.soft_empty_cache,
        limit=int(model_management.get_total_memory(device)),
        log_level=log_level,
    )


def activation_bytes(config: UNetConfig, input_shape: list[int], dtype: torch.dtype) -> float:
    """Bytes that the host is to keep free of weights for one evaluation. input_shape: (b t) 4 h w.

    Counts the smallest split: splitting costs a few percent of time, moving weights out costs more.
    """
    rows, _, height, width = input_shape
    on_cpu = model_management.get_torch_device().type == "cpu"
    return smallest_bytes(config, UNetCall(height, width, rows, dtype, on_cpu=on_cpu)) / USABLE
