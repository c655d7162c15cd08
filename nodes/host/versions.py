"""What not every supported host has: the host is asked, and where it has no answer, the one of that time is given.

Newer hosts hand more to the methods that stand in their place here, so those take keywords that they do not know.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management as model_management
import torch

from ...svd_core.memory.device import is_out_of_memory


@contextmanager
def without_lack_of_weights() -> Iterator[None]:
    """Keep the host's VAE from warning that it has no weights."""
    log = logging.getLogger()
    log.addFilter(_is_another_message)
    try:
        yield
    finally:
        log.removeFilter(_is_another_message)


def _is_another_message(record: logging.LogRecord) -> bool:
    return "No VAE weights" not in record.getMessage()


def output_dtype(vae: Any) -> torch.dtype:
    """Type of the latents and frames that a VAE hands on. Hosts before 0.18 have no choice of it."""
    ask = getattr(vae, "vae_output_dtype", None)
    return torch.float32 if ask is None else ask()


def is_oom(error: Exception) -> bool:
    """True if memory ran out. Hosts from 0.17 on tell, and clear what a failed allocation leaves behind."""
    ask = getattr(model_management, "is_oom", is_out_of_memory)
    return ask(error) or is_out_of_memory(error)  # the host knows its accelerators, we the words of a CPU too
