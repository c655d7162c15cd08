"""Jobs: the clips that a command asks for, where each goes, and whether it is there already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SVDError
from ..files import is_free
from ..video import SUFFIXES, Metadata, load_metadata
from ..video.format import find_frames, is_pattern
from .records import is_same_clip


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
        """Raises SVDError for a missing picture."""
        if not self.picture.is_file():
            raise SVDError(f"{self.picture} does not exist; check the path.")

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


def list_jobs(paths: Sequence[Path], seeds: Sequence[int], out: Path, format: str) -> list[Job]:
    """A job for each picture and seed. Raises SVDError where two would go to the same place."""
    pictures = list(dict.fromkeys(picture for path in paths for picture in _list_pictures(path)))
    if out.suffix.lower() in SUFFIXES or is_pattern(out):
        if len(pictures) * len(seeds) != 1:
            raise SVDError(f"{len(pictures) * len(seeds)} clips do not go into {out.name}; give a folder with --out.")
        jobs = [Job(pictures[0], seeds[0], out)]
    elif out.suffix and not out.is_dir():
        raise SVDError(
            f"{out.name} is neither a video nor a folder; end it in {', '.join(SUFFIXES)}, or give a folder."
        )
    else:
        jobs = [
            Job(picture, seed, _choose_target(out, picture, seed, len(seeds) > 1, format))
            for picture in pictures
            for seed in seeds
        ]
    check_places(jobs, (job.picture for job in jobs))
    return jobs


def _list_pictures(path: Path) -> list[Path]:
    """The pictures of a folder, or the file itself; a missing file fails in its turn and does not stop the others."""
    return [file for file in find_frames(path) if not is_animation(file)] if path.is_dir() else [path]


def is_animation(path: Path) -> bool:
    """True if a picture file has several frames, as a clip made before has."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    from PIL import Image

    try:
        with Image.open(path) as file:
            return getattr(file, "n_frames", 1) > 1
    except OSError:
        return False


def _choose_target(folder: Path, picture: Path, seed: int, with_seed: bool, format: str) -> Path:
    name = f"{picture.stem}_seed{seed}" if with_seed else picture.stem
    return folder / name / "%04d.png" if format == "png" else folder / f"{name}.{format}"


def check_places(jobs: Iterable[Job], sources: Iterable[Path]) -> None:
    """Raises SVDError where two clips would go to one place, or where one would replace a source."""
    taken: dict[Path, Job] = {}
    kept = {source.resolve() for source in sources}
    for job in jobs:
        place = job.place.resolve()
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
