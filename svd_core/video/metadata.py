"""The settings a clip was made with, as text in its file: JSON in the comment that each format has a place for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SVDError

Metadata = dict[str, Any]

COMMENT = "comment"  # of FFmpeg's containers and of GIF
PNG_COMMENT, PNG_FPS = "Comment", "fps"  # the first is a keyword of the PNG specification
EXIF_DESCRIPTION = 0x010E  # of WebP; ASCII


def to_comment(metadata: Mapping[str, Any] | None) -> str:
    """ASCII, since not every format says which encoding its comment has; empty for no metadata."""
    if not metadata:
        return ""
    try:
        return json.dumps(metadata, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SVDError(f"The metadata cannot be written as JSON ({error}); give texts, numbers and lists.") from error


def from_comment(comment: str | bytes | None) -> Metadata:
    """What `to_comment` wrote; empty for a comment of another kind."""
    try:
        value = json.loads(comment or "")
    except (UnicodeDecodeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def load_metadata(path: str | Path) -> Metadata:
    """The metadata that `save_video` wrote into a video, an animation or a folder of frames; empty where there is none.

    Raises SVDError for a file that cannot be read.
    """
    from .read import load_video

    return load_video(path, max_frames=1).metadata
