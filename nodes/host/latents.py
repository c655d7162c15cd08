"""Several clips in one LATENT: their frames one after another, and beside them how long each is and its seed.

Every clip is sampled and decoded alone, so its neighbours never change it: the guidance ramp, the moments of the norms
and the temporal layers see its own frames only. The second half of this file does the same under the host's samplers,
which know one clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...svd_core.diffusion.noise import seed_of_clip
from ...svd_core.errors import SVDError
from .on_device import take_latents, with_latents

# Keys of the LATENT dict. The host's nodes hand on what they do not know, so both survive KSampler and the like.
NUM_FRAMES = "svd_num_frames"
SEEDS = "svd_seeds"
PER_FRAME = ("samples", "noise_mask", "batch_index")

NUM_VIDEO_FRAMES = "num_video_frames"  # the host's name for the frames of one clip, in its conditioning


@dataclass(frozen=True)
class ClipRun:
    """Input of the sampler for one clip."""

    positive: Any
    negative: Any
    latent: dict[str, Any]
    seed: int


def count_pictures(cond: Any) -> int:
    """Pictures in CONDITIONING: VAE Encode Conditioning gives each an embedding of its own, b 1 d."""
    return len(cond[0][0])


def clip_length(latent: dict[str, Any], pictures: int = 1, num_frames: int = 0) -> int:
    """Frames of each clip in a LATENT: `num_frames` unless it is 0, else the length noted in the LATENT.

    Without a note there is one clip for each picture. Raises SVDError where the frames are not whole clips.
    """
    frames = len(latent["samples"])
    length = num_frames or latent.get(NUM_FRAMES) or max(1, frames // pictures)
    if frames < length:
        return frames  # a part of one clip, as LatentFromBatch takes it
    if frames % length:
        raise SVDError(
            f"{frames} frames of latents are not whole clips of {length}; join only clips of the same length, "
            "and take whole ones."
        )
    return length


def take_lone_clip(latent: dict[str, Any], node: str) -> Tensor:
    """The clip in a LATENT, t 4 h w. Raises SVDError where there are several."""
    samples, num_frames = latent["samples"], clip_length(latent)
    if num_frames < len(samples):
        raise SVDError(
            f"{node} takes one clip and this LATENT holds {len(samples) // num_frames}; connect one picture to VAE "
            "Encode Conditioning, and make several clips of it with `clips` on SVD Sampler."
        )
    return samples


def split_runs(
    positive: Any, negative: Any, latent: dict[str, Any], num_frames: int, clips: int, seed: int
) -> list[ClipRun]:
    """The runs behind one LATENT: `clips` of each clip in it, picture by picture; the k-th has the seed `seed` + k.

    Raises SVDError where the pictures cannot be shared out among the clips.
    """
    latent = {**latent, "samples": take_latents(latent)}
    frames, pictures = len(latent["samples"]), count_pictures(positive)
    held = frames // num_frames
    if held % pictures or count_pictures(negative) != pictures:
        raise SVDError(
            f"The conditioning holds {pictures} pictures and latent_image {held} clips; "
            "connect both to the same VAE Encode Conditioning."
        )
    runs = []
    for place in range(held * clips):
        clip = place // clips
        picture, rows = clip * pictures // held, slice(clip * num_frames, (clip + 1) * num_frames)
        with_picture, without = (_take_picture(cond, picture, pictures) for cond in (positive, negative))
        runs.append(ClipRun(with_picture, without, _take_frames(latent, rows, frames), seed_of_clip(seed, place)))
    return runs


def join_clips(latent: dict[str, Any], clips: list[Tensor], seeds: list[int]) -> dict[str, Any]:
    """A LATENT of all clips, t 4 h w each. Keeps the other entries of `latent` that still fit the frames."""
    latents = torch.cat(clips)
    fits = len(latents) == len(latent["samples"])
    kept = {key: value for key, value in latent.items() if fits or key not in PER_FRAME}
    return with_latents({**kept, NUM_FRAMES: len(clips[0]), SEEDS: seeds}, latents)


def _take_picture(cond: Any, index: int, pictures: int) -> Any:
    """CONDITIONING of one picture out of several."""
    if pictures == 1:
        return cond
    own = []
    for embeds, options in cond:
        latents = options["concat_latent_image"].chunk(pictures)
        own.append([embeds[index : index + 1], {**options, "concat_latent_image": latents[index]}])
    return own


def _take_frames(latent: dict[str, Any], rows: slice, frames: int) -> dict[str, Any]:
    own = {key: latent[key][rows] for key in PER_FRAME if key in latent and len(latent[key]) == frames}
    return {**latent, **own}


def count_frames_per_picture(embeds: Tensor | None, frames: int) -> int:
    """Frames for each picture in the conditioning. embeds: b 1 d. Raises SVDError where the clips are not whole."""
    pictures = 1 if embeds is None else len(embeds)
    if frames % pictures:
        raise SVDError(
            f"The conditioning holds {pictures} pictures and the latents {frames} frames, which makes no whole "
            "clips; connect both to the same VAE Encode Conditioning."
        )
    return frames // pictures


def check_embeds(embeds: Tensor | None, model_config: Any) -> None:
    """Raises SVDError for embeddings that a model of the host's configuration cannot take. embeds: b m k."""
    width = model_config.unet_config.get("context_dim")
    if embeds is not None and width and embeds.shape[-1] != width:
        raise SVDError(
            f"The conditioning holds embeddings of {embeds.shape[-1]} numbers and this model takes {width}: they are "
            "of a text or of another image encoder; connect the CLIP_VISION of SVD Loader to CLIP Image Encode."
        )


def guide_clips_apart(
    predict_noise: Any,
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any] | None = None,
    seed: int | None = None,
    **others: Any,
) -> Tensor:
    """Wraps the host's prediction, (b t) 4 h w: guiders ramp, average and project over all frames they are given."""
    guider = predict_noise.class_obj
    num_frames, conds = _find_cond(guider, NUM_VIDEO_FRAMES), guider.conds
    check_asked_for(x, num_frames, _find_cond(guider, "c_concat"))
    if num_frames is None or len(x) <= num_frames:
        return predict_noise(x, timestep, model_options, seed, **others)
    if any("control" in cond for some in conds.values() for cond in some or ()):
        # A control network shares its pictures out over all rows, so these stay together.
        return predict_noise(x, timestep, _split_guidance(model_options or {}, num_frames), seed, **others)
    clips = []
    try:
        for start in range(0, len(x), num_frames):
            rows = slice(start, start + num_frames)
            guider.conds = {
                name: some and [_take_rows(cond, rows, len(x)) for cond in some] for name, some in conds.items()
            }
            clips.append(predict_noise(x[rows], timestep[rows], model_options, seed, **others))
    finally:
        guider.conds = conds
    return torch.cat(clips)


def _split_guidance(model_options: dict[str, Any], num_frames: int) -> dict[str, Any]:
    """Options whose guidance function sees one clip at a time."""
    guide = model_options.get("sampler_cfg_function")
    if guide is None:
        return model_options

    def apart(args: dict[str, Any]) -> Tensor:
        return torch.cat([guide(own) for own in _split_args(args, num_frames)])

    return {**model_options, "sampler_cfg_function": apart}


def _take_rows(cond: dict[str, Any], rows: slice, total: int) -> dict[str, Any]:
    """The part of a processed conditioning that belongs to one clip. total: rows of all clips."""

    def own(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows] if value.shape[:1] == (total,) else value
        if isinstance(getattr(value, "cond", None), Tensor):
            return value._copy_with(own(value.cond))
        return {name: own(inner) for name, inner in value.items()} if isinstance(value, dict) else value

    return {name: own(value) for name, value in cond.items()}


def check_asked_for(x: Tensor, num_frames: int | None, pictures: Tensor | None) -> None:
    """Raises SVDError where a sampler asks for other latents than those it was given. x, pictures: (b t) 4 h w."""
    if num_frames is None or pictures is None:
        return
    (height, width), (own_height, own_width) = x.shape[-2:], pictures.shape[-2:]
    if len(x) % num_frames or (height, width) != (own_height, own_width):
        raise SVDError(
            f"The sampler asked the model for {len(x)} frames of {width}x{height} latents and the clip has "
            f"{num_frames} of {own_width}x{own_height}: it is made for single images; choose another sampler."
        )


def _find_cond(guider: Any, name: str) -> Any:
    """What our model's `extra_conds` has put into the conditioning of a guider; None where there is none."""
    known = (cond.get("model_conds", {}).get(name) for conds in guider.conds.values() for cond in conds or ())
    return next((found.cond for found in known if found is not None), None)


def _split_args(args: dict[str, Any], num_frames: int) -> list[dict[str, Any]]:
    """The arguments of a guidance function, clip by clip."""
    total = len(args["input"])
    whole = {name for name, value in args.items() if isinstance(value, Tensor) and value.shape[:1] == (total,)}
    return [
        {name: value[start : start + num_frames] if name in whole else value for name, value in args.items()}
        for start in range(0, total, num_frames)
    ]
