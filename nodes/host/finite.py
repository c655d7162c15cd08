"""Sampling that overflows, or whose model is damaged, ends in a sentence instead of a black clip."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...svd_core.models.finite import check_finite


def check_sampled(patcher: Any, latents: Tensor) -> None:
    """Raises SVDError, with the cause, for latents of a MODEL that are not finite."""
    model = patcher.model
    dtype, with_loras = model.get_dtype_inference(), bool(patcher.patches)
    check_finite(latents, "The latents of the clip", model.diffusion_model, "UNet", dtype, with_loras)


def check_outcome(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Wraps sampling as a whole, by whichever of the host's nodes."""
    latents = executor(*args, **kwargs)
    check_sampled(executor.class_obj.model_patcher, latents)
    return latents
