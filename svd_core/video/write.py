"""Write frames to a file, in the format that its name asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError
from ..files import write_whole_file
from .encode import check_encoder, write_gif, write_h264, write_pngs, write_vp9
from .format import VideoFormat, check_quality, check_rate, format_size, is_pattern, write_comment
from .timing import GIF_CLOCK, WEBP_CLOCK, check_browser_rate
from .webp import write_webp

_WRITERS: dict[str, Callable[[Iterator[np.ndarray], Path, VideoFormat], None]] = {
    ".mp4": write_h264,
    ".mov": write_h264,
    ".mkv": write_h264,
    ".webm": write_vp9,
    ".gif": write_gif,
    ".webp": write_webp,
}
_CLOCKS = {".gif": GIF_CLOCK, ".webp": WEBP_CLOCK}
SUFFIXES = tuple(_WRITERS)


def save_video(
    frames: Any,
    path: str | Path,
    fps: float | None = None,
    quality: float = 5,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write frames to a file and return its path. The suffix of the path chooses the format:

    .mp4, .mov, .mkv: H.264 (yuv420p, plays everywhere); .webm: VP9; .gif; .webp: an animation; a name with the number
    of the frame in it, such as "frames/%04d.png": a new folder of PNGs, which lose nothing.

    frames: PIL images or pictures h w 3, in a list or coming one by one; or an array or tensor t h w 3; uint8, or
    floats in [0, 1]. fps: frames per second, 0.1 to 1000 (at most 50 in .gif and 90 in .webp, because browsers slow
    shorter frames down); by default a Clip's own, else 7. quality: 0 (small) to 10 (lossless except for the colour
    format, which some players refuse; lossless in .webp); H.264 gets crf = int((1 - quality / 10) * 51). metadata: a
    dictionary of anything JSON can hold, written into the file; `load_metadata` reads it. Every frame is kept in every
    format: `load_video` gives as many, at the same fps. The video formats store colour at half size, so odd sides lose
    their last row or column there. The file appears whole or not at all: it is written beside its place and renamed.
    Raises SVDError for frames, names and places that cannot be used.
    """
    path = Path(path)
    speed = getattr(frames, "fps", 7.0) if fps is None else fps
    check_format(path, speed, quality)
    form = VideoFormat(check_rate(speed), quality, write_comment(metadata))
    if is_pattern(path):
        write_pngs(read_frames(frames), path, form)
        return path
    with write_whole_file(path) as beside:
        _WRITERS[path.suffix.lower()](read_frames(frames), beside, form)
    return path


def check_format(path: Path, fps: float, quality: float) -> None:
    """Check all that is known before there are frames. Raises SVDError for what `save_video` would refuse."""
    rate = check_rate(fps)
    check_quality(quality)
    suffix = path.suffix.lower()
    if is_pattern(path):
        if suffix != ".png":
            raise SVDError(f"Frames are written as PNG, not as {path.suffix}; end {path.name} in .png.")
    elif suffix not in _WRITERS:
        raise SVDError(
            f"The video container of {path.name} is unknown; end the name in {', '.join(SUFFIXES)}, "
            f"or give a name such as frames/%04d.png for a folder of frames."
        )
    elif suffix in _CLOCKS:
        check_browser_rate(rate, _CLOCKS[suffix], suffix)
    else:
        check_encoder(suffix)


def read_frames(frames: Any) -> Iterator[np.ndarray]:
    """Yield the frames one by one as h w 3 uint8, all of one size. Raises SVDError for anything but frames."""
    if not isinstance(frames, Iterable) or getattr(frames, "ndim", 4) != 4:
        shape = tuple(getattr(frames, "shape", ()))
        raise SVDError(f"The frames have the shape {shape}; give a list of pictures, or frames x height x width x 3.")
    size = None
    for index, picture in enumerate(_read_pictures(frames)):
        size = size or picture.shape
        if picture.shape != size:
            raise SVDError(
                f"Frame {index} is {format_size(picture.shape)} and the first is {format_size(size)}; "
                "give frames of one size."
            )
        yield picture
    if size is None:
        raise SVDError("There are no frames to write; give at least one.")


def _read_pictures(frames: Iterable[Any]) -> Iterator[np.ndarray]:
    """Frames may be read from files only now; such an error is not one of the place they are written to."""
    waiting = iter(frames)
    for index in count():
        try:
            yield _to_uint8(next(waiting), index)
        except StopIteration:
            return
        except OSError as error:
            raise SVDError(f"Frame {index} cannot be read ({error}); give another.") from error


def _to_uint8(frame: Any, index: int) -> np.ndarray:
    """One frame as h w 3 uint8. index: for messages."""
    if hasattr(frame, "convert"):  # a PIL image
        frame = frame.convert("RGB")
    if hasattr(frame, "detach"):  # a tensor; numpy has no bfloat16
        frame = frame.detach().cpu()
        frame = frame.float() if frame.is_floating_point() else frame
    picture = np.asarray(frame)
    if picture.ndim != 3 or picture.shape[-1] != 3:
        raise SVDError(f"Frame {index} has the shape {picture.shape}; give height x width x 3.")
    if min(picture.shape[:2]) < 2:
        raise SVDError(f"Frame {index} of {format_size(picture.shape)} is too small for a video; give at least 2x2.")
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype.kind != "f":
        raise SVDError(f"Frame {index} holds {picture.dtype} values; give uint8, or floats in 0..1.")
    if not np.isfinite(picture).all():
        raise SVDError(f"Frame {index} holds values that are not finite (NaN or infinity); decode it again in fp32.")
    return (picture.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
