"""The pictures of a command: files as they are named, and what a folder holds."""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SVDError
from ..picture_files import count_frames, describe_other, is_picture_name, open_picture
from ..video.format import split_numbers

logger = logging.getLogger(__name__)

_LINE = 800  # characters of names


@dataclass(frozen=True)
class Sources:
    pictures: Sequence[Path]
    left_out: dict[Path, str]  # what else is in the folders, and why it is not animated

    def log_left_out(self, expected: Collection[Path]) -> None:
        """Log what is left out of the folders, a line for each reason. expected: files and folders of this command."""
        known = set(map(os.path.realpath, expected))
        names: dict[tuple[Path, str], list[str]] = {}
        for path, reason in self.left_out.items():
            if os.path.realpath(path) not in known:
                names.setdefault((path.parent, reason), []).append(path.name)
        for (folder, reason), each in names.items():
            for line in textwrap.wrap(", ".join(each), _LINE):
                logger.warning("Left out of %s, %s: %s", folder, reason, line.rstrip(","))


def find_sources(paths: Iterable[Path]) -> Sources:
    """The pictures of folders, in the order of the numbers in their names, and files as they are named.

    A file that is missing or damaged fails in its turn and does not stop the others. Raises SVDError for a folder
    without pictures.
    """
    pictures: dict[Path, None] = {}
    left_out: dict[Path, str] = {}
    for path in paths:
        if not _is_folder(path):
            pictures[path] = None
            continue
        found = dict(_sort_folder(path))
        pictures.update({file: None for file, reason in found.items() if not reason})
        left_out.update({file: reason for file, reason in found.items() if reason})
        if all(found.values()):
            Sources([], left_out).log_left_out([])
            raise SVDError(f"There are no pictures in {path}; give a folder of pictures, or a picture.")
    return Sources(list(pictures), left_out)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that the system does not take
        return False


def _sort_folder(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each visible entry of a folder, and why it is left out; empty for a picture."""
    try:
        entries = sorted(folder.iterdir(), key=split_numbers)
    except OSError as error:
        raise SVDError(f"The folder {folder} cannot be read ({error.strerror}); check the path.") from error
    for entry in entries:
        if not entry.name.startswith("."):
            yield entry, _say_why_not(entry)


def _say_why_not(path: Path) -> str:
    if path.is_dir():
        return "folders (name them, too)"
    if not is_picture_name(path):
        return describe_other(path)
    try:
        with open_picture(path) as picture:
            animated = count_frames(picture) > 1  # as a clip is that was made before
    except SVDError:
        return ""  # it is to be a picture, and its clip is to be missed
    return "animations (of one that is named, the first frame is taken)" if animated else ""
