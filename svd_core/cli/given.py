"""Files that all clips of a command share: a video to start from, and pictures to hold."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..diffusion.held_frames import resolve_frame_ids
from ..errors import SVDError
from ..images.pictures import to_image_tensor
from ..picture_files import read_picture
from ..pipeline.given_frames import GivenFrames
from ..pipeline.settings import ResolvedSettings
from ..video import load_video
from ..video.format import is_pattern
from .options import HoldOption

DARKEST_MASK = 0.01  # of 1, the level of white


@dataclass(frozen=True)
class HeldFile:
    """A picture for a frame; where there is a mask, only what is white in it is held."""

    frame_id: int  # 0 .. num_frames - 1
    picture: Path
    mask: Path | None = None


@dataclass(frozen=True)
class GivenFiles:
    input_video: Path | None
    held: Sequence[HeldFile]  # in the order of their frames

    @classmethod
    def from_options(cls, options: argparse.Namespace, num_frames: int) -> GivenFiles:
        """Reads nothing yet. Raises SVDError for frames that the clip does not have, or that are given twice."""
        if options.hold_mask and not options.hold:
            raise SVDError("--hold-mask needs a frame to be for; add --hold ID=FILE, or leave it out.")
        pictures = _sort_by_frame(options.hold, num_frames)
        masks = _sort_masks(options.hold_mask, pictures, num_frames)
        held = [HeldFile(frame_id, pictures[frame_id], masks.get(frame_id)) for frame_id in sorted(pictures)]
        return cls(options.input_video, held)

    def load(self, settings: ResolvedSettings) -> GivenFrames:
        """Read the files. Raises SVDError for one that cannot be read, for a video that is too short or missing."""
        given = GivenFrames(
            None if self.input_video is None else load_video(self.input_video, settings.num_frames).frames,
            [read_picture(each.picture) for each in self.held],
            [each.frame_id for each in self.held],
            self._read_masks(settings),
        )
        given.check(settings)
        return given

    def list_places(self) -> Iterator[Path]:
        """Files and folders that no clip may replace."""
        if self.input_video is not None:
            yield self.input_video.parent if is_pattern(self.input_video) else self.input_video
        for each in self.held:
            yield from filter(None, (each.picture, each.mask))

    def _read_masks(self, settings: ResolvedSettings) -> list[Tensor] | None:
        """h w each."""
        if not any(each.mask for each in self.held):
            return None
        whole = torch.ones(settings.height, settings.width)
        return [_read_mask(each.mask) if each.mask else whole for each in self.held]


def _read_mask(path: Path) -> Tensor:
    """h w, 1 where the picture is white. Raises SVDError for a black one, such as one with levels of 0 and 1."""
    mask = to_image_tensor(read_picture(path)).mean(dim=1)[0]
    if float(mask.max()) < DARKEST_MASK:
        raise SVDError(f"{path} is black, so that nothing would be held; make white in it what is to be held.")
    return mask


def _sort_by_frame(options: Sequence[HoldOption], num_frames: int) -> dict[int, Path]:
    """The file of each frame. Raises SVDError for frames that the clip does not have, or that are given twice."""
    if not options:
        return {}
    frame_ids = [option.frame_id for option in options if option.frame_id is not None]
    return dict(zip(resolve_frame_ids(frame_ids, num_frames), (option.path for option in options), strict=True))


def _sort_masks(options: Sequence[HoldOption], held: dict[int, Path], num_frames: int) -> dict[int, Path]:
    """One mask for all held frames, or one each for some of them."""
    if len(options) == 1 and options[0].frame_id is None:
        return dict.fromkeys(held, options[0].path)
    if any(option.frame_id is None for option in options):
        raise SVDError("A --hold-mask for all held frames stands alone; give several with the ID of each, as ID=FILE.")
    masks = _sort_by_frame(options, num_frames)
    for frame_id in masks:
        if frame_id not in held:
            raise SVDError(f"There is a --hold-mask for frame {frame_id}, which is not held; add a --hold for it.")
    return masks
