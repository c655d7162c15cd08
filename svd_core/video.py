"""Frames to a video file: H.264 in the container that the file's name asks for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .errors import SVDError

CONTAINERS = (".mp4", ".mov", ".mkv")
MAX_CRF = 51


def save_video(frames: Any, path: str | Path, fps: float = 7, quality: float = 5) -> Path:
    """Write frames as H.264 (yuv420p, plays everywhere) and return the path.

    frames: PIL images, or an array or tensor t h w 3 of uint8 or of floats in [0, 1]. fps: frames per second, above 0.
    quality: 0 (small) to 10 (lossless but for the colour format); crf = int((1 - quality / 10) * 51). Odd sides lose
    their last row or column, since the format stores colour at half size. The file appears whole or not at all: it is
    written beside and renamed. Raises SVDError for frames, names and places that cannot be.
    """
    path = Path(path)
    crf = _crf(quality)
    rate = _rate(fps)
    if path.suffix.lower() not in CONTAINERS:
        raise SVDError(f"{path.name} has no video container this can write; end the name in {', '.join(CONTAINERS)}.")
    if not path.parent.is_dir():
        raise SVDError(f"The folder {path.parent} of {path.name} does not exist; make it first.")
    pictures = _as_uint8(frames)
    try:
        handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}-", dir=path.parent)
    except OSError as error:
        raise SVDError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
    os.close(handle)
    try:
        _encode(pictures, name, rate, crf)
        os.chmod(name, 0o666 & ~_umask())  # temporary files are private, videos are not
        os.replace(name, path)
    except OSError as error:
        raise SVDError(f"{path} cannot be written ({error}); free some space or choose another folder.") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def _encode(pictures: np.ndarray, name: str, rate: Fraction, crf: int) -> None:
    """pictures: t h w 3, even sides."""
    import av

    with av.open(name, mode="w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _as_uint8(frames: Any) -> np.ndarray:
    """t h w 3, cut to even sides."""
    if isinstance(frames, Sequence):
        if not frames:
            raise SVDError("There are no frames to write; give at least one.")
        frames = np.stack([_picture(frame) for frame in frames])
    array = np.asarray(frames.detach().cpu() if hasattr(frames, "detach") else frames)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise SVDError(f"The frames have the shape {array.shape}; give frames x height x width x 3.")
    if min(array.shape[1:3]) < 2:
        raise SVDError(f"Frames of {array.shape[2]}x{array.shape[1]} are too small for a video; give at least 2x2.")
    if array.dtype != np.uint8:
        if not np.isfinite(array).all():
            raise SVDError("The frames hold values that are not finite (NaN or infinity); decode them again in fp32.")
        array = (array.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
    height, width = (side - side % 2 for side in array.shape[1:3])
    return array[:, :height, :width]


def _picture(frame: Any) -> np.ndarray:
    if hasattr(frame, "convert"):
        frame = frame.convert("RGB")
    return np.asarray(frame.detach().cpu() if hasattr(frame, "detach") else frame)


def _crf(quality: float) -> int:
    if not 0 <= quality <= 10:
        raise SVDError(f"quality is {quality:g} and must be 0 to 10; 5 is usual, 8 looks lossless.")
    return int((1 - quality / 10) * MAX_CRF)


def _rate(fps: float) -> Fraction:
    if not 0 < fps <= 1000:
        raise SVDError(f"fps is {fps:g} and must be above 0 and at most 1000; 7 is usual.")
    return Fraction(fps).limit_denominator(1001)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
