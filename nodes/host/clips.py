"""Several clips in one batch under the host's own samplers, which know of one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...svd_core.errors import SVDError

NUM_VIDEO_FRAMES = "num_video_frames"  # the host's name for the frames of one clip


def shared_frames(embeds: Tensor | None, frames: int) -> int:
    """Frames for each picture in the conditioning. embeds: b 1 d. Raises SVDError where the clips are not whole."""
    pictures = 1 if embeds is None else len(embeds)
    if frames % pictures:
        raise SVDError(
            f"The conditioning holds {pictures} pictures and the latents {frames} frames, which makes no whole "
            "clips; connect both to the same VAE Encode Conditioning."
        )
    return frames // pictures


def guide_clips_apart(
    predict_noise: Any,
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any] | None = None,
    seed: int | None = None,
) -> Tensor:
    """Wraps the host's prediction, (b t) 4 h w: its guidance nodes ramp over all frames they are given."""
    options = dict(model_options or {})
    num_frames = _frames_of_a_clip(predict_noise.class_obj)
    guide = options.get("sampler_cfg_function")
    if guide is not None and num_frames and len(x) > num_frames:
        options["sampler_cfg_function"] = lambda args: torch.cat([guide(own) for own in _clips_of(args, num_frames)])
    return predict_noise(x, timestep, options, seed)


def _frames_of_a_clip(guider: Any) -> int | None:
    """As `extra_conds` has counted them."""
    known = (
        cond.get("model_conds", {}).get(NUM_VIDEO_FRAMES) for conds in guider.conds.values() for cond in conds or ()
    )
    return next((frames.cond for frames in known if frames is not None), None)


def _clips_of(args: dict[str, Any], num_frames: int) -> list[dict[str, Any]]:
    """The arguments of a guidance function, clip by clip."""
    total = len(args["input"])
    whole = {name for name, value in args.items() if isinstance(value, Tensor) and value.shape[:1] == (total,)}
    return [
        {name: value[start : start + num_frames] if name in whole else value for name, value in args.items()}
        for start in range(0, total, num_frames)
    ]
