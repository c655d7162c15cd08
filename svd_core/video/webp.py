"""Write an animated WebP in which every frame is stored.

Pillow hands frames to libwebp's encoder of animations, which leaves out those that look like the one before: of a slow
pan of 25 frames it keeps 3 at quality 50. Here each frame is a picture of its own, in the container of RFC 9649. Clips
that move or flicker everywhere, as SVD's do, become no larger by that; where a part of the picture never changes, the
file is up to four times as large, and lossless up to twelve times.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path
from struct import pack
from typing import Any, BinaryIO

import numpy as np

from ..errors import SVDError
from .format import EXIF_DESCRIPTION, VideoFormat
from .timing import WEBP_CLOCK, frame_durations

MAX_SIDE = 16383
_ANIMATION, _EXIF = 0x02, 0x08  # features, in VP8X
_NO_BLEND = 0x02  # the frame replaces what was shown before
_RIFF_HEADER = 12


def write_webp(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    """Quality 10 is lossless."""
    first = next(frames)
    height, width = first.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise SVDError(
            f"A .webp file holds at most {MAX_SIDE} pixels a side, not {width}x{height}; write a smaller clip."
        )
    size = _pack_24(width - 1) + _pack_24(height - 1)
    with path.open("wb") as file:
        file.write(bytes(_RIFF_HEADER))  # written at the end, when the size is known
        _write_chunk(file, b"VP8X", pack("<I", _ANIMATION | _EXIF) + size)
        _write_chunk(file, b"ANIM", bytes(4) + pack("<H", 0))  # background; played for ever
        for frame, duration in zip(chain([first], frames), frame_durations(form.rate, WEBP_CLOCK), strict=False):
            place = bytes(6) + size + _pack_24(duration) + bytes([_NO_BLEND])
            _write_chunk(file, b"ANMF", place + _encode_picture(frame, form.quality))
        _write_chunk(file, b"EXIF", _encode_description(form.described))
        length = file.tell() - 8
        file.seek(0)
        file.write(b"RIFF" + pack("<I", length) + b"WEBP")


def _encode_picture(frame: np.ndarray, quality: float) -> bytes:
    """The chunk of one picture, as a WebP file of one picture holds it."""
    from PIL import Image

    options: dict[str, Any] = {"lossless": True} if quality == 10 else {"quality": 10 * quality}
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(file, "WEBP", **options)
    return file.getvalue()[_RIFF_HEADER:]


def _encode_description(text: str) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[EXIF_DESCRIPTION] = text
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _write_chunk(file: BinaryIO, name: bytes, content: bytes) -> None:
    file.write(name + pack("<I", len(content)) + content + bytes(len(content) % 2))


def _pack_24(value: int) -> bytes:
    return value.to_bytes(3, "little")
