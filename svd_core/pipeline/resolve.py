"""Settings for one checkpoint: fills in what is left open, checks the rest and gives advice, in one place."""

from __future__ import annotations

import logging
from dataclasses import replace

from torch import Tensor

from ..checkpoints.release_names import describe_guess
from ..checkpoints.releases import UNKNOWN, Release, advise
from ..config import ModelConfig
from ..diffusion import guidance, schedules
from ..diffusion.conditioning import MicroConditioning
from ..diffusion.latents import check_contrast, check_num_frames
from ..diffusion.samplers import choose_sampler
from ..diffusion.speed import speed_mode
from ..errors import choose
from ..images import colours, pictures
from ..models.embeddings import check_positions
from ..video.format import check_rate
from .settings import ClipSettings, ResolvedSettings, read_numbers

logger = logging.getLogger(__name__)


def resolve_settings(
    settings: ClipSettings, model: ModelConfig, release: Release | None, trained_frames: int | None
) -> ResolvedSettings:
    """Fill what is None with what the checkpoint was made for, and check all of it before any work.

    trained_frames: as the files state it, which may differ from the release. Sizes are rounded to a multiple the model
    takes. Logs advice about settings far from the training. Raises SVDError for settings that make no clip.
    """
    settings = read_numbers(settings)
    made_for = release or UNKNOWN
    positions = model.unet.num_positions if model.unet else 0

    open_fields = {
        "width": made_for.width,
        "height": made_for.height,
        "num_frames": trained_frames or positions or made_for.num_frames,
        "max_cfg_scale": made_for.max_cfg_scale,
    }
    stated = {name: value for name, value in vars(settings).items() if value is not None}
    resolved = ResolvedSettings(**{**open_fields, **stated})
    width, height = pictures.fit_size(resolved.width, resolved.height, model.pixel_multiple)
    resolved = replace(resolved, width=width, height=height)
    check_settings(resolved)
    if "num_frames" not in stated and not trained_frames:
        guess = describe_guess(release, positions)
        if guess:
            logger.warning(guess)
    check_positions(resolved.num_frames, positions)
    num_frames, fps, bucket = resolved.num_frames, resolved.fps, resolved.motion_bucket_id
    for sentence in advise(
        release, num_frames=num_frames, fps=fps, motion_bucket_id=bucket, width=width, height=height
    ):
        logger.warning(sentence)
    return resolved


def check_settings(settings: ResolvedSettings) -> None:
    """Raises SVDError for a value out of its range, and for names that do not exist."""
    check_num_frames(settings.num_frames)
    micro_conditioning(settings)
    check_rate(settings.fps)
    frame_scales(settings)
    noise_levels(settings)
    choose_sampler(settings.sampler)
    speed_mode(settings.speed)
    choose("fit mode", settings.fit, pictures.FIT_MODES)
    check_contrast(settings.contrast_enhance_scale)
    colours.check_strength(settings.colour_match)


def micro_conditioning(settings: ClipSettings) -> MicroConditioning:
    return MicroConditioning(settings.fps, settings.motion_bucket_id, settings.noise_aug_strength)


def frame_scales(settings: ResolvedSettings) -> Tensor:
    """The guidance scale of every frame, t."""
    return guidance.guidance_scale(
        settings.guidance_kind, settings.min_cfg_scale, settings.max_cfg_scale, settings.num_frames
    )


def noise_levels(settings: ClipSettings) -> Tensor:
    """The noise levels of the run, [steps + 1], the last one 0."""
    return schedules.sigmas(
        settings.schedule,
        settings.num_inference_steps,
        settings.denoising_strength,
        shortening=settings.denoising_steps,
    )
