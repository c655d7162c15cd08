"""Read a video, an animation, or a folder of pictures as frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError, needing
from .format import (
    COMMENT,
    EXIF_DESCRIPTION,
    PICTURE_SUFFIXES,
    PNG_COMMENT,
    PNG_FPS,
    Metadata,
    find_frames,
    format_size,
    is_pattern,
    read_comment,
    read_rate,
)

ANIMATION_SUFFIXES = (".gif", *PICTURE_SUFFIXES)
DEFAULT_DURATION = 100  # milliseconds; browsers show a frame this long if the file states no duration


@dataclass(frozen=True)
class Video:
    """frames: t h w 3, uint8. fps: None for pictures without a stated rate. metadata: from `save_video`, or empty."""

    frames: np.ndarray
    fps: float | None
    metadata: Metadata


def load_video(path: str | Path, max_frames: int | None = None, min_frames: int = 1) -> Video:
    """Read a video file, a GIF or WebP, or a folder of pictures (or a pattern such as "frames/%04d.png").

    max_frames: stop after this many; all by default (25 frames of 1024x576 take 44 MB). min_frames: fewer are an error.
    Pictures of a folder come in the order of the numbers in their names. Alpha is dropped; a video that a phone marked
    as rotated is turned upright. Raises SVDError for a file that cannot be read, or is too short.
    """
    path = Path(path)
    if max_frames is not None and max_frames < max(min_frames, 1):
        raise SVDError(f"max_frames is {max_frames} and must be at least {max(min_frames, 1)}.")
    if path.is_dir() or is_pattern(path):
        video = _read_folder(path, max_frames)
    elif not path.exists():
        raise SVDError(f"{path} does not exist; check the path.")
    elif path.suffix.lower() in ANIMATION_SUFFIXES:
        video = _read_animation(path, max_frames)
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


def _read_container(path: Path, max_frames: int | None) -> Video:
    with needing("av", "Reading a video"):
        import av
        from av.error import FFmpegError

    try:
        with av.open(str(path.absolute())) as file:
            if not file.streams.video:
                raise SVDError(f"{path.name} has no pictures in it; give a video file.")
            stream = file.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            frames = [_turn_upright(frame) for frame in islice(file.decode(stream), max_frames)]
            metadata = {key.lower(): value for key, value in file.metadata.items()}
    except (FFmpegError, OSError) as error:
        raise SVDError(f"{path.name} cannot be read as a video ({error}); give another file.") from error
    return Video(_stack_frames(frames, path), float(rate) if rate else None, read_comment(metadata.get(COMMENT))[1])


def _turn_upright(frame: Any) -> np.ndarray:
    """h w 3, rotated as the file asks: counter-clockwise, in degrees."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


def _read_animation(path: Path, max_frames: int | None) -> Video:
    from PIL import Image

    try:
        with Image.open(path) as file:
            metadata = _read_metadata(file)
            frames, durations = zip(*islice(_iterate_frames(file), max_frames), strict=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SVDError(f"{path.name} cannot be read as a picture ({error}); give another file.") from error
    # Writers merge equal frames into one of a longer duration; the shortest duration is that of a single frame.
    repeats = [round(each / min(durations)) for each in durations]
    fps = 1000 * sum(repeats) / sum(durations) if len(frames) > 1 else None
    return Video(np.repeat(_stack_frames(frames, path), repeats, axis=0)[:max_frames], fps, metadata)


def _iterate_frames(file: Any) -> Iterator[tuple[np.ndarray, float]]:
    """Yield each frame, h w 3, and its duration in milliseconds."""
    for index in range(getattr(file, "n_frames", 1)):
        file.seek(index)
        picture = np.asarray(file.convert("RGB"))  # first, because WebP knows a duration only after decoding
        yield picture, float(file.info.get("duration") or DEFAULT_DURATION)


def _read_folder(path: Path, max_frames: int | None) -> Video:
    from PIL import Image, ImageOps

    frames: list[np.ndarray] = []
    fps, metadata = None, {}
    for file in find_frames(path)[:max_frames]:
        try:
            with Image.open(file) as picture:
                if not frames:
                    fps, metadata = _read_rate(picture), _read_metadata(picture)
                frames.append(np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise SVDError(f"{file} cannot be read as a picture ({error}); remove it or replace it.") from error
        if frames[-1].shape != frames[0].shape:
            sizes = f"{format_size(frames[-1].shape)} and the first is {format_size(frames[0].shape)}"
            raise SVDError(f"The frame {file.name} of {path} is {sizes}; give frames of one size.")
    return Video(_stack_frames(frames, path), fps, metadata)


def _read_rate(picture: Any) -> float | None:
    rate = read_rate(picture.info.get(PNG_FPS))
    return None if rate is None else float(rate)


def _read_metadata(picture: Any) -> Metadata:
    comments = (picture.info.get(COMMENT), picture.info.get(PNG_COMMENT), picture.getexif().get(EXIF_DESCRIPTION))
    return next(filter(None, (read_comment(comment)[1] for comment in comments)), {})


def _stack_frames(frames: Sequence[np.ndarray], path: Path) -> np.ndarray:
    if not frames:
        raise SVDError(f"{path.name} holds no frames that can be read; give another file.")
    return np.stack(frames)
