"""What decides a clip beside the files it is made from and its seed, with nothing left open."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import Checkpoint
from ..checkpoints.releases import UNKNOWN
from ..checks import check_num_frames, check_positions
from ..diffusion import conditioning, guidance, schedules
from ..diffusion.samplers import choose_sampler
from ..diffusion.speed import speed_mode
from ..errors import choose
from ..images import colours, pictures
from ..pipeline.loading import best_device
from ..video.format import check_rate


@dataclass(frozen=True)
class Settings:
    """Arguments of the pipeline."""

    width: int
    height: int
    num_frames: int
    fps: float
    motion_bucket_id: float
    noise_aug_strength: float
    num_inference_steps: int
    min_cfg_scale: float
    max_cfg_scale: float
    fit: str
    guidance_kind: str
    sampler: str
    schedule: str
    denoising_strength: float
    denoising_steps: str
    post_normalize: bool
    contrast_enhance_scale: float
    colour_match: float
    speed: str

    @classmethod
    def from_options(cls, options: argparse.Namespace, checkpoint: Checkpoint) -> Settings:
        """What the options leave open is what the checkpoint was made for."""
        made_for = checkpoint.release or UNKNOWN
        width, height = pictures.fit_size(
            options.width or made_for.width, options.height or made_for.height, checkpoint.config.pixel_multiple
        )
        num_frames = options.num_frames or checkpoint.num_frames or made_for.num_frames
        stated = {name: getattr(options, name) for name in cls.__dataclass_fields__}
        most = made_for.max_cfg_scale if options.max_cfg_scale is None else options.max_cfg_scale
        settings = cls(**{**stated, "width": width, "height": height, "num_frames": num_frames, "max_cfg_scale": most})
        settings.check()
        check_positions(num_frames, checkpoint.unet.num_positions)
        return settings

    def check(self) -> None:
        """Raises SVDError for what no clip can be made with, before anything is loaded."""
        check_num_frames(self.num_frames)
        conditioning.MicroConditioning(self.fps, self.motion_bucket_id, self.noise_aug_strength)
        guidance.guidance_scale(self.guidance_kind, self.min_cfg_scale, self.max_cfg_scale, self.num_frames)
        colours.check_settings(self.contrast_enhance_scale, self.colour_match)
        self.sigmas()
        choose_sampler(self.sampler)
        speed_mode(self.speed)
        choose("fit mode", self.fit, pictures.FIT_MODES)
        check_rate(self.fps)

    def sigmas(self) -> Tensor:
        """The noise levels of the run."""
        return schedules.sigmas(
            self.schedule, self.num_inference_steps, self.denoising_strength, shortening=self.denoising_steps
        )

    def arguments(self) -> dict[str, Any]:
        return asdict(self)


def default_dtype(device: str | None) -> torch.dtype:
    """What the pipeline computes in where nothing is said."""
    return torch.float16 if torch.device(device or best_device()).type == "cuda" else torch.float32
