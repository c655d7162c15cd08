"""The writers: each makes one thing, or the clips of a batch, in a folder."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from svd_core import save_video
from svd_core.checkpoints.convert import convert_checkpoint
from svd_core.cli import main
from tests.support.random_checkpoint import tiny_config, write_checkpoint

Content = bytes | dict[str, bytes]
Write = Callable[[Path, str], object]  # folder, and the name without its suffix

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", "/%04d.png")
QUICK = ["--num-inference-steps", "1", "--num-frames", "2", "--width", "32", "--height", "16"]
TEMPORARY = ".svd-"


@dataclass(frozen=True)
class Writer:
    name: str
    write: Write
    makes_folders: bool = False
    is_batch: bool = False
    contents: list[Content] = field(default_factory=list)  # what is made when nothing goes wrong
    seconds: list[float] = field(default_factory=list)

    def try_out(self, folder: Path) -> None:
        """Note what is made, and how long it takes the second time, with everything imported."""
        for name in ("first", "second"):
            place = folder / name
            place.mkdir()
            start = time.monotonic()
            self.write(place, "clip")
            self.seconds[:] = [time.monotonic() - start]
            self.contents[:] = read_entries(place).values()

    @property
    def largest(self) -> int:
        """Bytes of the largest file."""
        return max(len(file) for content in self.contents for file in _list_files(content))

    @property
    def total(self) -> int:
        return sum(len(file) for content in self.contents for file in _list_files(content))


def _list_files(content: Content) -> list[bytes]:
    return [content] if isinstance(content, bytes) else list(content.values())


def read_entries(folder: Path) -> dict[str, Content]:
    """What a person sees in a folder, by name."""
    return {path.name: _read(path) for path in folder.iterdir() if not path.name.startswith(TEMPORARY)}


def list_leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(TEMPORARY))


def _read(path: Path) -> Content:
    if path.is_file():
        return path.read_bytes()
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def make_writers(desk: Path) -> list[Writer]:
    """desk: an empty folder for what they read."""
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)
    checkpoint = write_checkpoint(desk / "tiny.safetensors", tiny_config())
    for index in range(3):
        Image.fromarray(frames[index]).save(desk / f"{index}.png")

    def save(suffix: str) -> Write:
        return lambda folder, name: save_video(frames, folder / f"{name}{suffix}")

    def convert(suffix: str, overwrite: bool) -> Write:
        return lambda folder, name: convert_checkpoint(checkpoint, folder / f"{name}{suffix}", overwrite=overwrite)

    def animate(format: str) -> Write:
        pictures = [str(desk / f"{index}.png") for index in range(3)]
        words = ["animate", *pictures, *QUICK, "--checkpoint", str(checkpoint), "--format", format, "-o"]
        return lambda folder, name: run(*words, str(folder))

    return [
        *(Writer(f"save {suffix}", save(suffix), "/" in suffix) for suffix in VIDEOS),
        Writer("convert to a file", convert(".safetensors", True)),
        Writer("convert to a folder", convert("", False), makes_folders=True),
        Writer("batch of files", animate("mp4"), is_batch=True),
        Writer("batch of folders", animate("png"), makes_folders=True, is_batch=True),
    ]


class CommandError(Exception):
    """A command failed; with all that it printed."""


def run(*words: str) -> None:
    """Run a command. Raises CommandError if it fails."""
    with contextlib.redirect_stderr(io.StringIO()) as printed, contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    if code:
        raise CommandError(printed.getvalue())
