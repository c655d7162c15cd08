"""Makes the clips of one command: skips what is there, goes on after a failure, tells what failed at the end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoints import Checkpoint, extend, open_checkpoint
from ..errors import SVDError, needing
from ..memory.sampling_plan import check_memory_choice
from ..pipeline.given_frames import GivenFrames
from ..pipeline.pipeline import SVDPipeline
from ..video import Metadata, load_metadata, save_video
from .clips import Clip, check_places, wanted_clips
from .given import GivenFiles, read_picture
from .options import check_device, torch_dtype
from .records import Recorder, same_clip
from .settings import Settings

NONE_MADE, SOME_FAILED = 2, 1


@dataclass
class Batch:
    options: argparse.Namespace
    checkpoint: Checkpoint
    settings: Settings
    files: GivenFiles
    given: GivenFrames
    clips: list[Clip]
    recorder: Recorder
    failures: dict[Clip, SVDError] = field(default_factory=dict)

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Batch:
        """Raises SVDError for what would stop every clip; nothing is computed yet."""
        seeds = range(options.seed, options.seed + options.seeds)
        clips = wanted_clips(options.pictures, seeds, options.out, options.format)
        plain = open_checkpoint(options.checkpoint, options.companion)
        plain.require("unet", "vae", "clip")
        checkpoint = extend(plain, options.extension) if options.extension else plain
        settings = Settings.from_options(options, checkpoint)
        files = GivenFiles.from_options(options, settings.num_frames)
        check_places(clips, files.places())
        check_memory_choice(options.memory)
        check_device(options.device)
        given = files.load(settings)
        return cls(options, checkpoint, settings, files, given, clips, Recorder(settings, plain, files, options))

    def run(self) -> int:
        todo = self.missing()
        if done := len(self.clips) - len(todo) - len(self.failures):
            print(f"{done} of {len(self.clips)} clips are there already, made with these settings.")
        if todo:
            self._make(todo)
        for clip, error in self.failures.items():
            print(f"svd-nodes: {clip.place.name} was not made: {error}", file=sys.stderr)
        if not self.failures:
            return 0
        return NONE_MADE if len(self.failures) == len(self.clips) else SOME_FAILED

    def missing(self) -> list[Clip]:
        """The clips that are still to be made and can be, as far as is known before."""
        todo: list[Clip] = []
        for clip in self.clips:
            try:
                if not self._is_there(clip):
                    todo.append(clip)
            except SVDError as error:
                self.failures[clip] = error
        return todo

    def _is_there(self, clip: Clip) -> bool:
        """Raises SVDError where something else is. Only where something is are the files of the run hashed."""
        place = clip.place
        if not clip.picture.is_file():
            raise SVDError(f"{clip.picture} does not exist; check the path.")
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return False
        found = _record_in(clip)
        if same_clip(found, self.recorder.record(clip.picture, clip.seed)):
            return True
        if place.is_dir():
            raise SVDError(f"The folder {place} holds something else; choose another --out, or take it away.")
        if "svd_nodes" not in found and not self.options.overwrite:
            raise SVDError(f"{place} is there and was not made by this program; choose another --out or --overwrite.")
        return False

    def _make(self, todo: list[Clip]) -> None:
        with needing("tqdm", "A progress bar"):
            from tqdm import tqdm

        pipe = self._pipeline()
        for clip in tqdm(todo, desc="clips", disable=None if len(todo) > 1 else True):
            try:
                record = self.recorder.record(clip.picture, clip.seed)
                frames = self._frames(pipe, clip)
            except SVDError as error:
                self.failures[clip] = error
                continue
            _make_folder(clip.place.parent)
            save_video(frames, clip.target, self.settings.fps, self.options.quality, record)
            tqdm.write(str(clip.place))

    def _pipeline(self) -> SVDPipeline:
        options = self.options
        pipe = SVDPipeline.from_checkpoint(
            options.checkpoint,
            options.companion,
            options.device,
            torch_dtype(options.dtype),
            torch_dtype(options.weight_dtype),
            options.extension,
        )
        for lora in options.lora:
            pipe.load_lora(lora.path, lora.strength)
        return pipe

    def _frames(self, pipe: SVDPipeline, clip: Clip) -> Any:
        return pipe(
            read_picture(clip.picture),
            seed=clip.seed,
            **{**self.settings.arguments(), **vars(self.given)},
            memory=self.options.memory,
            frames_at_once=self.options.frames_at_once,
            output="array",
            progress=sys.stderr.isatty(),
        )


def _record_in(clip: Clip) -> Metadata:
    try:
        return load_metadata(clip.target)
    except SVDError:
        return {}


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SVDError(f"The folder {path} cannot be made ({error.strerror}); choose another --out.") from error
