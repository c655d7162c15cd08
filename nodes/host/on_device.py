"""The clip on the compute device, beside the LATENT that our nodes hand on.

`samples` lie where the host keeps latents: its nodes and other packs join them with theirs, or take them for arrays.
What our nodes computed travels beside them, so that the next of ours need not wait for it to come back. It counts only
while `samples` are that very tensor; a node that changes a LATENT puts another there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .folders import model_management

_COPY = "svd_on_device"  # key of the LATENT; the host's nodes hand on what they do not know


@dataclass(frozen=True, eq=False)
class _Copy:
    samples: Tensor
    latents: Tensor


def with_latents(latent: dict[str, Any], latents: Tensor) -> dict[str, Any]:
    """The LATENT with other latents, (b t) 4 h w, which stay on their device."""
    samples = latents.to(model_management.intermediate_device())
    return {**latent, "samples": samples, _COPY: _Copy(samples, latents)}


def take_latents(latent: dict[str, Any]) -> Tensor:
    """The latents of a LATENT, (b t) 4 h w: on the compute device if one of our nodes made them."""
    copy = latent.get(_COPY)
    samples: Tensor = latent["samples"]
    return copy.latents if isinstance(copy, _Copy) and copy.samples is samples else samples
