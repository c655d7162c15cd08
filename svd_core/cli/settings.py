"""What decides a clip beside its picture and seed, with nothing left open; and the record of it in the file."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .. import __version__, conditioning, guidance, image, schedules
from ..checkpoint import Checkpoint
from ..checks import check_num_frames
from ..digest import checkpoint_sha256, file_sha256
from ..pipeline import best_device, choose_sampler
from ..releases import UNKNOWN
from ..video import Metadata
from ..video.write import checked_quality, checked_rate
from .options import LoRAOption, dtype_name

_NAMES_ONLY = ("svd_nodes", "checkpoint", "picture")  # of a record; what they name is in its hashes


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

    @classmethod
    def from_options(cls, options: argparse.Namespace, checkpoint: Checkpoint) -> Settings:
        """What the options leave open is what the checkpoint was made for."""
        made_for = checkpoint.release or UNKNOWN
        width, height = image.fit_size(
            options.width or made_for.width, options.height or made_for.height, checkpoint.config.pixel_multiple
        )
        num_frames = options.num_frames or checkpoint.num_frames or made_for.num_frames
        stated = {name: getattr(options, name) for name in cls.__dataclass_fields__}
        most = made_for.max_cfg_scale if options.max_cfg_scale is None else options.max_cfg_scale
        settings = cls(**{**stated, "width": width, "height": height, "num_frames": num_frames, "max_cfg_scale": most})
        settings.check()
        return settings

    def check(self) -> None:
        """Raises SVDError for what no clip can be made with, before anything is loaded."""
        check_num_frames(self.num_frames)
        conditioning.MicroConditioning(self.fps, self.motion_bucket_id, self.noise_aug_strength)
        guidance.guidance_scale(self.guidance_kind, self.min_cfg_scale, self.max_cfg_scale, self.num_frames)
        schedules.sigmas(self.schedule, self.num_inference_steps)
        choose_sampler(self.sampler)
        image.check_mode(self.fit, image.FIT_MODES)
        checked_rate(self.fps)

    def arguments(self) -> dict[str, Any]:
        return asdict(self)


class Recorder:
    """Writes the records of a run's clips. Files are hashed once."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint, options: argparse.Namespace) -> None:
        self.settings, self.checkpoint = settings, checkpoint
        self.quality = checked_quality(options.quality)
        self.dtypes = [options.dtype or dtype_name(default_dtype(options.device)), options.weight_dtype]
        self.loras: list[LoRAOption] = options.lora

    def record(self, picture: Path, seed: int) -> Metadata:
        """Raises SVDError for a file that cannot be read."""
        return {
            **self.of_all_clips,
            "picture": picture.name,
            "picture_sha256": file_sha256(picture),
            "seed": seed,
        }

    @cached_property
    def of_all_clips(self) -> Metadata:
        return {
            "svd_nodes": __version__,
            "checkpoint": self.checkpoint.name,
            "checkpoint_sha256": checkpoint_sha256(self.checkpoint),
            "loras": [[lora.path.name, file_sha256(lora.path), lora.strength] for lora in self.loras],
            "settings": {
                **self.settings.arguments(),
                "dtype": self.dtypes[0],
                "weight_dtype": self.dtypes[1] or self.dtypes[0],
                "quality": self.quality,
            },
        }


def same_clip(a: Metadata, b: Metadata) -> bool:
    """Whether two records are of one clip, whatever its files were called."""
    return _decisive(a) == _decisive(b)


def default_dtype(device: str | None) -> torch.dtype:
    """What the pipeline computes in where nothing is said."""
    return torch.float16 if torch.device(device or best_device()).type == "cuda" else torch.float32


def _decisive(record: Metadata) -> Metadata:
    kept = {key: value for key, value in record.items() if key not in _NAMES_ONLY}
    loras = kept.get("loras")
    if isinstance(loras, list):
        kept["loras"] = [lora[1:] for lora in loras if isinstance(lora, list)]
    return kept
