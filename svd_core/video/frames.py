"""Frames in memory: of one size, and no more than fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SVDError
from .format import Metadata, format_size

MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Video:
    """frames: t h w 3, uint8. fps: None for pictures without a stated rate. metadata: from `save_video`, or empty."""

    frames: np.ndarray
    fps: float | None
    metadata: Metadata


def stack_frames(frames: Iterable[np.ndarray], path: Path) -> np.ndarray:
    """t h w 3. Raises SVDError for none, for frames of several sizes, and before they take more than MAX_BYTES."""
    kept: list[np.ndarray] = []
    for frame in frames:
        if kept and frame.shape != kept[0].shape:
            sizes = f"{format_size(frame.shape)} and the first is {format_size(kept[0].shape)}"
            raise SVDError(f"Frame {len(kept)} of {path.name} is {sizes}; give frames of one size.")
        check_memory(len(kept) + 1, frame.shape, path)
        kept.append(frame)
    if not kept:
        raise SVDError(f"{path.name} holds no frames that can be read; give another file.")
    return np.stack(kept)


def check_memory(count: int, shape: Sequence[int], path: Path) -> None:
    """Raises SVDError if so many frames h w would take more than MAX_BYTES."""
    height, width = shape[:2]
    if count * height * width * 3 > MAX_BYTES:
        raise SVDError(
            f"{path.name} has {count} frames of {width}x{height} or more, which take over "
            f"{MAX_BYTES / 2**30:.0f} GB; read fewer with max_frames, or make it smaller."
        )
