"""Frames to a file, in the format that its name asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError
from ..files import write_whole_file
from .animation import write_gif, write_webp
from .encode import write_h264, write_vp9
from .frames import pictures
from .metadata import to_comment
from .png_frames import is_pattern, write_pngs

Writer = Callable[[Iterator[np.ndarray], Path, "Form"], None]


@dataclass(frozen=True)
class Form:
    """What a writer needs beside the frames."""

    rate: Fraction  # frames per second
    quality: float  # 0 to 10
    comment: str  # empty for none


_WRITERS: dict[str, Writer] = {
    ".mp4": write_h264,
    ".mov": write_h264,
    ".mkv": write_h264,
    ".webm": write_vp9,
    ".gif": write_gif,
    ".webp": write_webp,
}
SUFFIXES = tuple(_WRITERS)


def save_video(
    frames: Any,
    path: str | Path,
    fps: float = 7,
    quality: float = 5,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write frames to a file and return its path. The suffix of the path chooses the format:

    .mp4, .mov, .mkv: H.264 (yuv420p, plays everywhere); .webm: VP9; .gif; .webp: an animation; and a name with the
    number of the frame in it, such as "frames/%04d.png": a new folder of PNGs, which lose nothing.

    frames: PIL images or pictures h w 3, in a list or coming one by one; or an array or tensor t h w 3; of uint8, or of
    floats in [0, 1]. fps: frames per second, 0.1 to 1000 (at most 100 in a GIF). quality: 0 (small) to 10 (lossless but
    for the colour format, which some players refuse; lossless in .webp); crf = int((1 - quality / 10) * 51) in H.264.
    metadata: anything that JSON can hold, written into the file; `load_metadata` reads it. Odd sides lose their last
    row or column in the video formats, which store colour at half size. The file appears whole or not at all: it is
    written beside and renamed. Raises SVDError for frames, names and places that cannot be.
    """
    path = Path(path)
    form = Form(checked_rate(fps), checked_quality(quality), to_comment(metadata))
    if is_pattern(path):
        write_pngs(pictures(frames), path, form)
        return path
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise SVDError(
            f"{path.name} has no video container this can write; end the name in {', '.join(SUFFIXES)}, "
            f"or give a name such as frames/%04d.png for a folder of frames."
        )
    with write_whole_file(path) as beside:
        writer(pictures(frames), beside, form)
    return path


def checked_quality(quality: float) -> float:
    if not 0 <= quality <= 10:
        raise SVDError(f"quality is {quality:g} and must be 0 to 10; 5 is usual, 8 looks lossless.")
    return quality


def checked_rate(fps: float) -> Fraction:
    if not 0.1 <= fps <= 1000:
        raise SVDError(f"fps is {fps:g} and must be 0.1 to 1000; 7 is usual.")
    return Fraction(fps).limit_denominator(1001)
