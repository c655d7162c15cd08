"""The files that all clips of a command are made from beside their pictures: a video to start from, frames to hold."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.held_frames import resolve_frame_ids
from ..errors import SVDError, needing
from ..images import pictures
from ..pipeline.given_frames import GivenFrames
from ..video import Metadata, load_video
from ..video.format import find_frames, is_pattern
from .digest import file_sha256, files_sha256
from .options import HoldOption
from .settings import Settings


@dataclass(frozen=True)
class HeldFile:
    """mask: white is held; all of the picture where there is none."""

    frame_id: int  # 0 .. num_frames - 1
    picture: Path
    mask: Path | None = None


@dataclass(frozen=True)
class GivenFiles:
    input_video: Path | None
    held: Sequence[HeldFile]  # in the order of their frames

    @classmethod
    def from_options(cls, options: argparse.Namespace, num_frames: int) -> GivenFiles:
        """Raises SVDError for frames that the clip has not, or that are named twice; nothing is read."""
        if options.hold_mask and not options.hold:
            raise SVDError("There is a --hold-mask and no frame it could be for; add --hold ID=FILE, or leave it out.")
        pictures = _by_frame(options.hold, num_frames)
        masks = _masks_by_frame(options.hold_mask, pictures, num_frames)
        held = [HeldFile(frame_id, pictures[frame_id], masks.get(frame_id)) for frame_id in sorted(pictures)]
        return cls(options.input_video, held)

    def load(self, settings: Settings) -> GivenFrames:
        """Raises SVDError for a file that cannot be read, a video too short, or a strength without a video."""
        num_frames = settings.num_frames
        given = GivenFrames(
            None if self.input_video is None else load_video(self.input_video, num_frames).frames,
            settings.denoising_strength,
            [read_picture(each.picture) for each in self.held],
            [each.frame_id for each in self.held],
            self._masks(settings),
        )
        given.check(num_frames)
        return given

    def record(self, num_frames: int) -> Metadata:
        """Names and hashes of the files; empty where there is none. Raises SVDError for one that cannot be read."""
        record: Metadata = {}
        if self.input_video is not None:
            frames = _files_of_video(self.input_video, num_frames)
            record = {"input_video": self.input_video.name, "input_video_sha256": files_sha256(frames)}
        return record | ({"held_frames": [_held_record(each) for each in self.held]} if self.held else {})

    def places(self) -> Iterator[Path]:
        """What no clip may be written over."""
        if self.input_video is not None:
            yield self.input_video.parent if is_pattern(self.input_video) else self.input_video
        for each in self.held:
            yield from filter(None, (each.picture, each.mask))

    def _masks(self, settings: Settings) -> list[Tensor] | None:
        """h w each."""
        if not any(each.mask for each in self.held):
            return None
        whole = torch.ones(settings.height, settings.width)
        return [_read_mask(each.mask) if each.mask else whole for each in self.held]


def read_picture(path: Path) -> Any:
    """A PIL image. Raises SVDError for a file that is none."""
    with needing("Pillow", "Reading a picture"):
        from PIL import Image

    if not path.is_file():
        raise SVDError(f"{path} does not exist; check the path.")
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SVDError(f"{path} cannot be read as a picture ({error}); replace it.") from error


def _read_mask(path: Path) -> Tensor:
    """h w, 1 where the picture is white."""
    return pictures.to_image_tensor(read_picture(path)).mean(dim=1)[0]


def _by_frame(options: Sequence[HoldOption], num_frames: int) -> dict[int, Path]:
    """Raises SVDError for a frame that there is not, and one named twice."""
    if not options:
        return {}
    frame_ids = [option.frame_id for option in options if option.frame_id is not None]
    return dict(zip(resolve_frame_ids(frame_ids, num_frames), (option.path for option in options), strict=True))


def _masks_by_frame(options: Sequence[HoldOption], held: dict[int, Path], num_frames: int) -> dict[int, Path]:
    """One mask for all held frames, or one for each of some."""
    if len(options) == 1 and options[0].frame_id is None:
        return dict.fromkeys(held, options[0].path)
    if any(option.frame_id is None for option in options):
        raise SVDError("A --hold-mask for all held frames stands alone; give one, or one with each ID as ID=FILE.")
    masks = _by_frame(options, num_frames)
    for frame_id in masks:
        if frame_id not in held:
            raise SVDError(f"There is a --hold-mask for frame {frame_id}, which is not held; add a --hold for it.")
    return masks


def _held_record(held: HeldFile) -> Metadata:
    mask = {} if held.mask is None else {"mask": held.mask.name, "mask_sha256": file_sha256(held.mask)}
    return {
        "frame_id": held.frame_id,
        "picture": held.picture.name,
        "picture_sha256": file_sha256(held.picture),
        **mask,
    }


def _files_of_video(path: Path, num_frames: int) -> list[Path]:
    """The file, or those of a folder's frames that the clip starts from."""
    return find_frames(path)[:num_frames] if path.is_dir() or is_pattern(path) else [path]
