"""Which clips a command asks for, and where each goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SVDError
from ..video import SUFFIXES
from ..video.format import find_frames, is_pattern


@dataclass(frozen=True)
class Clip:
    """One clip to make. target: a file, or the pattern of a folder of frames."""

    picture: Path
    seed: int
    target: Path

    @property
    def place(self) -> Path:
        """What is there once the clip is made: the file, or the folder."""
        return self.target.parent if is_pattern(self.target) else self.target


def wanted_clips(paths: Sequence[Path], seeds: range, out: Path, format: str) -> list[Clip]:
    """The clips of each picture with each seed. Raises SVDError where two would go to one place."""
    pictures = list(dict.fromkeys(picture for path in paths for picture in _pictures(path)))
    if out.suffix.lower() in SUFFIXES or is_pattern(out):
        if len(pictures) * len(seeds) != 1:
            raise SVDError(f"{len(pictures) * len(seeds)} clips do not go into {out.name}; give a folder with --out.")
        clips = [Clip(pictures[0], seeds[0], out)]
    elif out.suffix and not out.is_dir():
        raise SVDError(f"{out.name} is no video or folder; end it in {', '.join(SUFFIXES)}, or give a folder.")
    else:
        clips = [
            Clip(picture, seed, _in_folder(out, picture, seed, seeds, format)) for picture in pictures for seed in seeds
        ]
    check_places(clips, (clip.picture for clip in clips))
    return clips


def _pictures(path: Path) -> list[Path]:
    """A file as it is, there or not: a missing one is told in its turn, and does not stop the others."""
    return [file for file in find_frames(path) if not is_clip(file)] if path.is_dir() else [path]


def is_clip(path: Path) -> bool:
    """Whether a picture file in a folder is an animation, such as a clip made before."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    from PIL import Image

    try:
        with Image.open(path) as file:
            return getattr(file, "n_frames", 1) > 1
    except OSError:
        return False


def _in_folder(folder: Path, picture: Path, seed: int, seeds: range, format: str) -> Path:
    name = picture.stem if len(seeds) == 1 else f"{picture.stem}_seed{seed}"
    return folder / name / "%04d.png" if format == "png" else folder / f"{name}.{format}"


def check_places(clips: Iterable[Clip], sources: Iterable[Path]) -> None:
    """Raises SVDError where two clips would go to one place, or one over a file that clips are made from."""
    taken: dict[Path, Clip] = {}
    kept = {source.resolve() for source in sources}
    for clip in clips:
        place = clip.place.resolve()
        if place in taken:
            raise SVDError(
                f"{taken[place].picture} and {clip.picture} would both become {clip.place.name}; rename one of them."
            )
        if place in kept:
            raise SVDError(
                f"The clip {clip.place} would replace a picture or video it is made from; "
                "choose another --out or --format."
            )
        taken[place] = clip
