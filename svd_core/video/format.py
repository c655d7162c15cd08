"""The form a clip takes in a file: names, frame rate, quality, and its settings as a comment."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import SVDError, show_number
from ..picture_files import count_frames, is_picture_name, open_picture
from ..reading import parse_json

Metadata = dict[str, Any]

# Where each format keeps its comment.
COMMENT = "comment"  # FFmpeg's containers and GIF
PNG_COMMENT, PNG_FPS = "Comment", "fps"  # the first is a keyword of the PNG specification
EXIF_DESCRIPTION = 0x010E  # WebP; ASCII

_NUMBER = re.compile(r"%(0\d{1,2})?d")  # as in C's printf; 99 digits at most
_RATE = re.compile(r"\d{1,9}([./]\d{1,9})?", re.ASCII)
_RATE_LINE = "fps="  # before the metadata, in comments of formats without a frame rate
MIN_RATE, MAX_RATE = Fraction(1, 10), Fraction(1000)


@dataclass(frozen=True)
class VideoFormat:
    """Settings of a writer, besides the frames."""

    rate: Fraction  # frames per second
    quality: float  # 0 to 10
    comment: str  # empty for none

    @property
    def described(self) -> str:
        """The comment for formats that store durations only, with the exact rate before it."""
        return f"{_RATE_LINE}{self.rate}\n{self.comment}"


def check_quality(quality: float) -> float:
    """Return `quality`; raises SVDError unless it is 0 to 10."""
    if not 0 <= quality <= 10:
        raise SVDError(f"quality is {show_number(quality)} and must be 0 to 10; 5 is usual, 8 looks lossless.")
    return quality


def check_rate(fps: float) -> Fraction:
    """Frames per second as a fraction that containers can store; raises SVDError unless it is 0.1 to 1000."""
    if not MIN_RATE <= fps <= MAX_RATE:
        raise SVDError(f"fps is {show_number(fps)} and must be 0.1 to 1000; 7 is usual.")
    return Fraction(fps).limit_denominator(1001)  # 23.976 is 24000/1001


def read_rate(text: Any) -> Fraction | None:
    """The frame rate of a text such as "24000/1001" or "7.5"; None for any other."""
    if not isinstance(text, str) or not _RATE.fullmatch(text) or re.search("/0+$", text):
        return None
    rate = Fraction(text)
    return rate if MIN_RATE <= rate <= MAX_RATE else None


def format_size(shape: tuple[int, ...]) -> str:
    """Width x height of a picture h w 3."""
    return f"{shape[1]}x{shape[0]}"


# --- metadata as JSON in a comment -------------------------------------------------------------------------------


def write_comment(metadata: Mapping[str, Any] | None) -> str:
    """Metadata as ASCII JSON, because not every format states the encoding of its comment; empty for none."""
    if not metadata:
        return ""
    try:
        comment = json.dumps(metadata, ensure_ascii=True, allow_nan=False)
        if not isinstance(parse_json(comment), dict):
            raise TypeError("it is no dictionary")
    except (TypeError, ValueError, RecursionError) as error:
        raise SVDError(f"The metadata cannot be written as JSON ({error}); give texts, numbers and lists.") from error
    return comment


def read_comment(comment: Any) -> tuple[Fraction | None, Metadata]:
    """The rate and the metadata of a comment of ours; None and empty for comments of other programs."""
    text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment
    if not isinstance(text, str):
        return None, {}
    rate = None
    if text.startswith(_RATE_LINE):
        line, _, text = text.partition("\n")
        rate = read_rate(line.removeprefix(_RATE_LINE))
    try:
        value = parse_json(text)
    except ValueError:
        return rate, {}
    return rate, value if isinstance(value, dict) else {}


# --- folders of numbered frames ----------------------------------------------------------------------------------


def is_pattern(path: Path) -> bool:
    """True if a name stands for many pictures, for example frames/%04d.png; not where a file has just this name."""
    has_number = len(_NUMBER.findall(path.name)) == 1
    return has_number and path.suffix.lower() != ".gif" and is_picture_name(path) and not os.path.isfile(path)


def number_name(pattern: str, index: int) -> str:
    """The name of one frame: "%04d.png" and 7 give "0007.png"."""
    return _NUMBER.sub(lambda found: found[0] % index, pattern)


def find_frames(path: Path) -> list[Path]:
    """The pictures of a folder or of a pattern, ordered by the numbers in their names; animations are none.

    Raises SVDError if there are none.
    """
    if is_pattern(path):
        before, _, after = _NUMBER.split(path.name)
        name = re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")
        files = [file for file in list_files(path.parent) if name.fullmatch(file.name)]
    else:
        files = [file for file in list_files(path) if is_picture_name(file) and not _is_animation(file)]
    if not files:
        raise SVDError(f"There are no frames at {path}; give a video, or a folder of pictures.")
    return sorted(files, key=split_numbers)


def _is_animation(path: Path) -> bool:
    """A clip, perhaps of these frames, that lies beside them."""
    if path.suffix.lower() not in (".gif", ".webp", ".apng", ".avif"):
        return False
    try:
        with open_picture(path) as picture:
            return count_frames(picture) > 1
    except SVDError:
        return False  # it is to be a frame, and is named when it is read


def list_files(folder: Path) -> list[Path]:
    """What a folder holds, but for folders and hidden files."""
    try:
        return [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        raise SVDError(f"The folder {folder} cannot be read ({error.strerror}); check the path.") from error


def split_numbers(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key that compares numbers by value, so that frame 10 comes after frame 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
