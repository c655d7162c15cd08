"""Frames to a video file: H.264 in the container that the file's name asks for."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .errors import SVDError, needing

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
MAX_CRF = 51


def save_video(frames: Any, path: str | Path, fps: float = 7, quality: float = 5) -> Path:
    """Write frames as H.264 (yuv420p, plays everywhere) and return the path.

    frames: PIL images or pictures h w 3, in a list or coming one by one; or an array or tensor t h w 3; of uint8, or of
    floats in [0, 1]. fps: frames per second, 0.1 to 1000. quality: 0 (small) to 10 (lossless but for the colour format,
    which some players refuse); crf = int((1 - quality / 10) * 51). Odd sides lose their last row or column, since the
    format stores colour at half size. The file appears whole or not at all: it is written beside and renamed. Raises
    SVDError for frames, names and places that cannot be.
    """
    path = Path(path)
    crf, rate = _crf(quality), _rate(fps)
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise SVDError(f"{path.name} has no video container this can write; end the name in {', '.join(CONTAINERS)}.")
    if not path.parent.is_dir():
        raise SVDError(f"The folder {path.parent} of {path.name} does not exist; make it first.")
    beside = path.with_name(f".svd-{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        _encode(_pictures(frames), beside, container, rate, crf)
        os.replace(beside, path)
    except OSError as error:
        raise SVDError(f"{path} cannot be written ({error}); free some space or choose another place.") from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def _encode(pictures: Iterator[np.ndarray], path: Path, container: str, rate: Fraction, crf: int) -> None:
    """pictures: h w 3 uint8 each, of equal and even sides."""
    with needing("av", "Writing a video"):
        import av
        from av.codec.codec import UnknownCodecError
        from av.error import FFmpegError

    first = next(pictures)
    try:
        with av.open(str(path), mode="w", format=container, options=_web_options(container)) as file:
            stream = file.add_stream("libx264", rate=rate, options={"crf": str(crf)})
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"
            _tag_colours(stream.codec_context)
            for picture in chain([first], pictures):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    except UnknownCodecError as error:
        raise SVDError("This PyAV has no libx264 to write H.264 with; install PyAV from its own wheels.") from error
    except FFmpegError as error:
        raise OSError(str(error)) from error


def _web_options(container: str) -> dict[str, str]:
    """The index goes to the front of the file, so that a browser can play what it has not wholly fetched."""
    return {} if container == "matroska" else {"movflags": "+faststart"}


def _tag_colours(codec: Any) -> None:
    """Say what the conversion from RGB does, so that players need not guess from the height (codes of ITU-T H.273).

    The matrix and range are those that FFmpeg takes where nothing is said, so readers that skip the tags agree.
    """
    codec.colorspace = 6  # SMPTE 170M
    codec.color_range = 1  # 16 to 235
    codec.color_primaries = 1  # BT.709, which are those of sRGB
    codec.color_trc = 1


def _pictures(frames: Any) -> Iterator[np.ndarray]:
    """The frames one by one as h w 3 uint8, cut to even sides."""
    if not isinstance(frames, Iterable) or getattr(frames, "ndim", 4) != 4:
        shape = tuple(getattr(frames, "shape", ()))
        raise SVDError(
            f"Frames of the shape {shape} are no clip; give a list of pictures or frames x height x width x 3."
        )
    size = None
    for index, frame in enumerate(frames):
        picture = _as_uint8(frame, index)
        size = size or picture.shape
        if picture.shape != size:
            raise SVDError(
                f"Frame {index} is {_side(picture.shape)} and the first is {_side(size)}; give frames of one size."
            )
        height, width = (side - side % 2 for side in size[:2])
        yield picture[:height, :width]
    if size is None:
        raise SVDError("There are no frames to write; give at least one.")


def _as_uint8(frame: Any, index: int) -> np.ndarray:
    if hasattr(frame, "convert"):  # a PIL image
        frame = frame.convert("RGB")
    if hasattr(frame, "detach"):  # a tensor; numpy has no bfloat16
        frame = frame.detach().cpu()
        frame = frame.float() if frame.is_floating_point() else frame
    picture = np.asarray(frame)
    if picture.ndim != 3 or picture.shape[-1] != 3:
        raise SVDError(f"Frame {index} has the shape {picture.shape}; give height x width x 3.")
    if min(picture.shape[:2]) < 2:
        raise SVDError(f"Frame {index} of {_side(picture.shape)} is too small for a video; give at least 2x2.")
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype.kind != "f":
        raise SVDError(f"Frame {index} holds {picture.dtype} values; give uint8, or floats in 0..1.")
    if not np.isfinite(picture).all():
        raise SVDError(f"Frame {index} holds values that are not finite (NaN or infinity); decode it again in fp32.")
    return (picture.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def _side(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _crf(quality: float) -> int:
    if not 0 <= quality <= 10:
        raise SVDError(f"quality is {quality:g} and must be 0 to 10; 5 is usual, 8 looks lossless.")
    return int((1 - quality / 10) * MAX_CRF)


def _rate(fps: float) -> Fraction:
    if not 0.1 <= fps <= 1000:
        raise SVDError(f"fps is {fps:g} and must be 0.1 to 1000; 7 is usual.")
    return Fraction(fps).limit_denominator(1001)
