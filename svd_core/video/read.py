"""Read a video, an animation, or a folder of pictures as frames."""

from __future__ import annotations

import logging
import os.path
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError, needing
from ..picture_files import open_picture, to_rgb_levels, turn_upright
from ..reading import check_file
from .animation import read_animation, read_description
from .format import (
    COMMENT,
    PNG_FPS,
    Metadata,
    find_frames,
    format_size,
    is_pattern,
    list_files,
    read_comment,
    read_rate,
)
from .frames import Video, check_memory, stack_frames

logger = logging.getLogger(__name__)

# The first bytes of what Pillow reads, whatever the name says: animations are often renamed to .mp4, and back.
_PICTURE = re.compile(
    rb"GIF8|RIFF....WEBP|\x89PNG|\xff\xd8\xff|II\*\0|MM\0\*|BM|....ftyp(avi[fs]|mif1|msf1|hei[cx])", re.DOTALL
)
_HEADER = 16
_MAX_NAMES = 800  # characters


def load_video(path: str | Path, max_frames: int | None = None, min_frames: int = 1) -> Video:
    """Read a video file, an animation, or a folder of pictures (or a pattern such as "frames/%04d.png").

    max_frames: stop after this many; all by default (25 frames of 1024x576 take 44 MB), up to 4 GB. min_frames: fewer
    are an error. Pictures of a folder come in the order of the numbers in their names. What `save_video` wrote comes
    back with its number of frames and its fps. In an animation of another program a frame that is shown longer stands
    for several, as when its writer merged equal ones; a video gives each of its frames once, and fps is the average.
    Alpha is dropped; a video that a phone marked as rotated is turned upright. Raises SVDError for a file that cannot
    be read, or is too short.
    """
    path = Path(path)
    if max_frames is not None and max_frames < max(min_frames, 1):
        raise SVDError(f"max_frames is {max_frames} and must be at least {max(min_frames, 1)}.")
    if is_pattern(path) or os.path.isdir(path):
        video = _read_folder(path, max_frames)
    elif _PICTURE.match(_read_start(path)):
        video = read_animation(path, max_frames)
    else:
        video = _read_container(path, max_frames)
    if len(video.frames) < min_frames:
        count = len(video.frames)
        raise SVDError(f"{path.name} has {count} frames and {min_frames} are needed; take a longer video or fewer.")
    return video


def load_metadata(path: str | Path) -> Metadata:
    """The metadata that `save_video` wrote into a video, an animation or a folder of frames; empty if there is none.

    Raises SVDError for a file that cannot be read.
    """
    return load_video(path, max_frames=1).metadata


def _read_start(path: Path) -> bytes:
    check_file(path)
    try:
        with path.open("rb") as file:
            return file.read(_HEADER)
    except OSError as error:
        raise SVDError(f"{path} cannot be read ({error.strerror}); check the path.") from error


def _read_container(path: Path, max_frames: int | None) -> Video:
    with needing("av", "Reading a video"):
        import av
        from av.error import FFmpegError

    try:
        # An absolute path, because FFmpeg takes "shot:1.mp4" for a protocol.
        with av.open(str(path.absolute()), metadata_errors="replace") as file:
            stream: Any = file.streams.best("video")  # not the picture of a cover
            if stream is None:
                raise SVDError(f"{path.name} has no pictures in it; give a video file.")
            if stream.codec_context is None:  # decoding would end the process
                raise SVDError(f"{path.name} is in a codec that PyAV cannot read; save it again as H.264.")
            rate = stream.average_rate or stream.guessed_rate
            decoded = islice(file.decode(stream), max_frames)
            frames = stack_frames((_turn_upright(frame) for frame in decoded), path)
            metadata = {key.lower(): value for key, value in file.metadata.items()}
    except (FFmpegError, OSError) as error:
        raise SVDError(f"{path.name} cannot be read as a video ({error}); give another file.") from error
    return Video(frames, float(rate) if rate else None, read_comment(metadata.get(COMMENT))[1])


def _turn_upright(frame: Any) -> np.ndarray:
    """h w 3, rotated as the file asks: counter-clockwise, in degrees."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


def _read_folder(path: Path, max_frames: int | None) -> Video:
    frames: list[np.ndarray] = []
    fps, metadata = None, {}
    files = find_frames(path)
    if not is_pattern(path) and (others := sorted({file.name for file in list_files(path)} - {f.name for f in files})):
        logger.warning("%s: left out, as no frames: %s", path, ", ".join(others)[:_MAX_NAMES])
    for file in files[:max_frames]:
        with open_picture(file) as picture:
            if not frames:
                fps, metadata = read_rate(picture.info.get(PNG_FPS)), read_description(picture)[1]
            frames.append(to_rgb_levels(turn_upright(picture)))
        if frames[-1].shape != frames[0].shape:
            sizes = f"{format_size(frames[-1].shape)} and the first is {format_size(frames[0].shape)}"
            raise SVDError(f"The frame {file.name} of {path} is {sizes}; give frames of one size.")
        check_memory(len(frames), frames[0].shape, path)
    return Video(stack_frames(frames, path), None if fps is None else float(fps), metadata)
