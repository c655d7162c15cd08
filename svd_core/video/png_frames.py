"""A folder of pictures as a clip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SVDError, needing
from ..files import write_whole_folder
from .metadata import PNG_COMMENT, PNG_FPS

if TYPE_CHECKING:
    from .write import Form

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_NUMBER = re.compile(r"%(0\d+)?d")  # as C's printf has it


def is_pattern(path: Path) -> bool:
    """Whether a name stands for many pictures, such as frames/%04d.png."""
    return path.suffix.lower() in PICTURE_SUFFIXES and len(_NUMBER.findall(path.name)) == 1


def write_pngs(frames: Iterator[np.ndarray], pattern: Path, form: Form) -> None:
    """A new folder with a PNG for each frame, counted from 0; each holds the frame rate and the metadata."""
    if pattern.suffix.lower() != ".png":
        raise SVDError(f"Frames are written as PNG, not as {pattern.suffix}; end {pattern.name} in .png.")
    with needing("Pillow", "Writing a PNG"):
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(PNG_FPS, str(form.rate))
    if form.comment:
        info.add_text(PNG_COMMENT, form.comment)
    with write_whole_folder(pattern.parent) as folder:
        for index, frame in enumerate(frames):
            Image.fromarray(np.ascontiguousarray(frame)).save(folder / numbered(pattern.name, index), pnginfo=info)


def numbered(pattern: str, index: int) -> str:
    return _NUMBER.sub(lambda found: found[0] % index, pattern)


def find_frames(path: Path) -> list[Path]:
    """The pictures of a folder or of a pattern, in the order of the numbers in their names."""
    if is_pattern(path):
        before, _, after = _NUMBER.split(path.name)
        name = re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")
        files = [file for file in _files(path.parent) if name.fullmatch(file.name)]
    else:
        files = [file for file in _files(path) if file.suffix.lower() in PICTURE_SUFFIXES]
    if not files:
        raise SVDError(f"There are no frames at {path}; give a video, or a folder of pictures.")
    return sorted(files, key=_natural)


def _files(folder: Path) -> list[Path]:
    try:
        return [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        raise SVDError(f"The folder {folder} cannot be read ({error.strerror}); check the path.") from error


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Numbers by value, so that frame 10 comes after frame 9; texts in between by letters."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
