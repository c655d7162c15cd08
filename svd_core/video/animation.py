"""GIF and animated WebP, through Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SVDError, needing
from .metadata import EXIF_DESCRIPTION

if TYPE_CHECKING:
    from .write import Form

GIF_TICK, WEBP_TICK = 10, 1  # milliseconds
MAX_GIF_FPS = 100


def write_gif(frames: Iterator[np.ndarray], path: Path, form: Form) -> None:
    """Each frame has its own 256 colours; quality has no say."""
    if form.rate > MAX_GIF_FPS:
        raise SVDError(f"A GIF plays at most {MAX_GIF_FPS} frames per second, not {float(form.rate):g}; write a .webp.")
    _write(frames, path, form.rate, GIF_TICK, **({"comment": form.comment} if form.comment else {}))


def write_webp(frames: Iterator[np.ndarray], path: Path, form: Form) -> None:
    with needing("Pillow", "Writing a WebP"):
        from PIL import Image

    options: dict[str, Any] = {"lossless": True} if form.quality == 10 else {"quality": 10 * form.quality}
    if form.comment:
        options["exif"] = exif = Image.Exif()
        exif[EXIF_DESCRIPTION] = form.comment
    _write(frames, path, form.rate, WEBP_TICK, **options)


def _write(frames: Iterator[np.ndarray], path: Path, rate: Fraction, tick: int, **options: Any) -> None:
    with needing("Pillow", "Writing an animation"):
        from PIL import Image

    first, *rest = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    shown = _durations(rate, tick)
    durations = [next(shown) for _ in (first, *rest)]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, **options)


def _durations(rate: Fraction, tick: int) -> Iterator[int]:
    """How long each frame is shown, in milliseconds: whole ticks whose sum never drifts from the frame rate."""
    ends = (tick * round(index * 1000 / rate / tick) for index in count(1))
    start = 0
    for end in ends:
        yield end - start
        start = end
