"""Jobs: the clips that a command asks for, where each goes, and whether it is there already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SVDError
from ..files import is_free
from ..picture_files import is_picture_name, log_first_of, open_picture
from ..video import SUFFIXES, Metadata, load_metadata
from ..video.format import is_pattern
from .records import is_same_clip

# Endings of videos that are not written here: whoever gives one does not mean a folder.
_OTHER_VIDEOS = (".avi", ".wmv", ".flv", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".mxf")


@dataclass(frozen=True)
class Job:
    """One clip to make. target: a file, or the pattern of a folder of frames."""

    picture: Path
    seed: int
    target: Path

    @property
    def place(self) -> Path:
        """The file or folder that holds the clip once it is made."""
        return self.target.parent if is_pattern(self.target) else self.target

    @property
    def is_place_free(self) -> bool:
        return is_free(self.place)

    def check_picture(self) -> None:
        """Raises SVDError for a picture that is missing, or no picture. Logs which of several frames will be taken."""
        with open_picture(self.picture) as picture:
            log_first_of(self.picture, picture)

    def is_done(self, record: Metadata, overwrite: bool = False) -> bool:
        """True if the file at the place is this clip.

        overwrite: also replace files of others. Raises SVDError where the place holds what must not be replaced.
        """
        found = self._read_record()
        if is_same_clip(found, record):
            return True
        if self.place.is_dir():
            raise SVDError(f"The folder {self.place} holds something else; choose another --out, or remove it.")
        if "svd_nodes" not in found and not overwrite:
            raise SVDError(
                f"{self.place} exists and was not made by this program; choose another --out, or add --overwrite."
            )
        return False

    def _read_record(self) -> Metadata:
        """Empty for a file that cannot be read as a clip."""
        try:
            return load_metadata(self.target)
        except SVDError:
            return {}


def list_jobs(pictures: Sequence[Path], seeds: Sequence[int], out: str, format: str) -> list[Job]:
    """A job for each picture and seed. Raises SVDError where two would go to the same place."""
    path = Path(out)
    if _names_a_file(out):
        if len(pictures) * len(seeds) != 1:
            raise SVDError(f"{len(pictures) * len(seeds)} clips do not go into {path.name}; give a folder with --out.")
        jobs = [Job(pictures[0], seeds[0], path)]
    else:
        jobs = [
            Job(picture, seed, _choose_target(path, picture, seed, len(seeds) > 1, format))
            for picture in pictures
            for seed in seeds
        ]
    check_places(jobs, (job.picture for job in jobs))
    return jobs


def _names_a_file(out: str) -> bool:
    """True for the name of a clip, False for a folder, which may have a dot in its name.

    Raises SVDError for a file of a format that is not written.
    """
    path = Path(out)
    if out.endswith(("/", os.sep)) or path.is_dir():
        return False
    if path.suffix.lower() in SUFFIXES or is_pattern(path):
        return True
    if path.suffix.lower() in _OTHER_VIDEOS or is_picture_name(path) or (path.suffix and path.exists()):
        raise SVDError(
            f"{path.name} is neither a video nor a folder; end it in {', '.join(SUFFIXES)}, or in / for a folder."
        )
    return False


def _choose_target(folder: Path, picture: Path, seed: int, with_seed: bool, format: str) -> Path:
    name = f"{picture.stem}_seed{seed}" if with_seed else picture.stem
    if format == "png":
        return folder / name / "%04d.png"
    target = folder / f"{name}.{format}"
    return target.with_name(target.name.replace("%", "_")) if is_pattern(target) else target


def check_places(jobs: Iterable[Job], sources: Iterable[Path]) -> None:
    """Raises SVDError where two clips would go to one place, or where one would replace a source."""
    taken: dict[str, Job] = {}
    kept = set(map(os.path.realpath, sources))  # unlike Path.resolve, of links that lead in a circle too
    for job in jobs:
        place = os.path.realpath(job.place)
        if place in taken:
            raise SVDError(
                f"{taken[place].picture} and {job.picture} would both become {job.place.name}; rename one of them."
            )
        if place in kept:
            raise SVDError(
                f"The clip {job.place} would replace a picture or video it is made from; "
                "choose another --out or --format."
            )
        taken[place] = job
