"""The step cache of a sampling run, on its way through the host."""

from __future__ import annotations

from typing import Any

from ...svd_core.diffusion.speed import MODES
from ...svd_core.diffusion.step_cache import Features, StepCache

STEP_CACHE = "svd_step_cache"  # key of the transformer_options


def cache_of(transformer_options: dict[str, Any]) -> StepCache:
    """That of the run; one that keeps nothing where another sampler than ours runs the model."""
    return transformer_options.get(STEP_CACHE) or StepCache(MODES["exact"])


def features_of(transformer_options: dict[str, Any], control: Any) -> Features | None:
    """For one evaluation. The host names each conditioning in it."""
    cache = cache_of(transformer_options)
    if cache.mode.reuses and control is not None:
        cache.stand_aside("a control network adds to the deep blocks")
        return None
    if cache.mode.reuses and transformer_options.get("context_window") is not None:
        cache.stand_aside("the model sees the clip in windows")
        return None
    return cache.features(tuple(transformer_options.get("uuids", ())))
