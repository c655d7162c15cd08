"""Whatever a user has as frames, as 8-bit pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import SVDError


def pictures(frames: Any) -> Iterator[np.ndarray]:
    """The frames one by one as h w 3 uint8, all of one size. Raises SVDError for what is no clip."""
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
                f"Frame {index} is {side(picture.shape)} and the first is {side(size)}; give frames of one size."
            )
        yield picture
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
        raise SVDError(f"Frame {index} of {side(picture.shape)} is too small for a video; give at least 2x2.")
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype.kind != "f":
        raise SVDError(f"Frame {index} holds {picture.dtype} values; give uint8, or floats in 0..1.")
    if not np.isfinite(picture).all():
        raise SVDError(f"Frame {index} holds values that are not finite (NaN or infinity); decode it again in fp32.")
    return (picture.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def side(shape: tuple[int, ...]) -> str:
    """Width x height of h w 3."""
    return f"{shape[1]}x{shape[0]}"
