"""A batch: makes the clips of one command, skips those that exist, and reports what failed at the end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from ..checkpoints import Checkpoint, extend, open_checkpoint, unet_shapes
from ..checkpoints.lora import LoRA, read_lora
from ..diffusion.noise import seed_of_clip
from ..errors import SVDError, choose, one_line, printable
from ..files import check_writable
from ..memory.device import MEMORY_CHOICES, is_out_of_memory
from ..picture_files import read_picture
from ..pipeline.clip import Clip
from ..pipeline.given_frames import GivenFrames
from ..pipeline.pipeline import SVDPipeline
from ..pipeline.resolve import resolve_settings
from ..pipeline.settings import ClipSettings, ResolvedSettings, RunOptions
from ..video.write import check_format
from .given import GivenFiles
from .jobs import Job, check_places, list_jobs
from .options import OUT_OF_MEMORY, find_dtype, read_settings
from .records import Recorder
from .sources import find_sources

NONE_MADE, SOME_FAILED = 2, 1


@dataclass
class Batch:
    options: argparse.Namespace
    checkpoint: Checkpoint
    settings: ResolvedSettings
    files: GivenFiles
    given: GivenFrames
    loras: list[tuple[LoRA, float]]
    jobs: list[Job]
    recorder: Recorder
    failures: dict[Job, SVDError] = field(default_factory=dict)

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Batch:
        """Computes nothing yet. Raises SVDError for what would stop every clip."""
        seeds = [seed_of_clip(options.seed, index) for index in range(options.seeds)]
        sources = find_sources(options.pictures)
        jobs = list_jobs(sources.pictures, seeds, options.out, options.format)
        plain = open_checkpoint(options.checkpoint, options.companion)
        plain.require("unet", "vae", "clip")
        checkpoint = extend(plain, options.extension) if options.extension else plain
        settings = resolve_settings(
            read_settings(options, ClipSettings), checkpoint.config, checkpoint.release, checkpoint.num_frames
        )
        files = GivenFiles.from_options(options, settings.num_frames)
        for job in jobs[:1]:  # all have one format
            check_format(job.target, settings.fps, options.quality)
        check_places(jobs, files.list_places())
        choose("memory choice", options.memory, MEMORY_CHOICES)
        check_device(options.device)
        loras = [(read_lora(each.path, unet_shapes(checkpoint.unet)), each.strength) for each in options.lora]
        given = files.load(settings)
        sources.log_left_out([*(job.place for job in jobs), *files.list_places()])
        return cls(options, checkpoint, settings, files, given, loras, jobs, Recorder(settings, plain, files, options))

    def run(self) -> int:
        """Make all clips that are missing. Returns the exit code."""
        missing = self.find_missing()
        if done := len(self.jobs) - len(missing) - len(self.failures):
            print(f"{done} of {len(self.jobs)} clips are there already, made with these settings.")
        try:
            if missing:
                self._make(missing)
        finally:  # also when the run is interrupted
            for job, error in self.failures.items():
                print(printable(f"svd-nodes: {job.place.name} was not made: {error}"), file=sys.stderr)
        if not self.failures:
            return 0
        return NONE_MADE if len(self.failures) == len(self.jobs) else SOME_FAILED

    def find_missing(self) -> list[Job]:
        """The jobs still to be done. What is known to fail before any work goes to `failures`."""
        missing: list[Job] = []
        for job in self.jobs:
            try:
                job.check_picture()
                if self._is_missing(job):
                    missing.append(job)
            except SVDError as error:
                self.failures[job] = error
        return missing

    def _is_missing(self, job: Job) -> bool:
        """Raises SVDError where the place holds what must not be replaced."""
        # The files of the run are hashed only where something is there to compare with.
        return job.is_place_free or not job.is_done(self.recorder.record(job.picture, job.seed), self.options.overwrite)

    def _make(self, jobs: list[Job]) -> None:
        pipe = self._load_pipeline()
        for job in tqdm(jobs, desc="clips", disable=None if len(jobs) > 1 else True):
            try:
                if self._is_missing(job):  # still: another run may work on the same folder
                    self._make_one(pipe, job)
            except SVDError as error:
                self.failures[job] = error
            except (MemoryError, RuntimeError) as error:  # of a larger picture, perhaps: others may fit
                if not (isinstance(error, MemoryError) or is_out_of_memory(error)):
                    raise
                self.failures[job] = SVDError(OUT_OF_MEMORY)
            else:
                tqdm.write(one_line(job.place))

    def _make_one(self, pipe: SVDPipeline, job: Job) -> None:
        _make_folder(job.place.parent)
        check_writable(job.place)
        record = self.recorder.record(job.picture, job.seed)
        clip = self._animate(pipe, job)
        try:
            if self._is_missing(job):
                clip.save(job.target, self.options.quality, record)
        except SVDError:
            if self._is_missing(job):  # otherwise another run has made the same clip in the meantime
                raise

    def _load_pipeline(self) -> SVDPipeline:
        options = self.options
        pipe = SVDPipeline.from_checkpoint(
            self.checkpoint,
            device=options.device,
            dtype=find_dtype(options.dtype),
            weight_dtype=find_dtype(options.weight_dtype),
        )
        for lora, strength in self.loras:
            pipe.load_lora(lora, strength)
        return pipe

    def _animate(self, pipe: SVDPipeline, job: Job) -> Clip:
        run = {**vars(read_settings(self.options, RunOptions)), "seed": job.seed, "progress": sys.stderr.isatty()}
        return pipe(read_picture(job.picture), settings=self.settings, **vars(self.given), **run)


def check_device(name: str | None) -> None:
    """Raises SVDError for a device that torch cannot use here."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).strip().partition("\n")[0]
        raise SVDError(f"The device {name} cannot be used here ({reason}); choose another --device.") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RecursionError) as error:  # the second for thousands of folders in each other
        reason = getattr(error, "strerror", None) or error
        raise SVDError(f"The folder {path} cannot be made ({reason}); choose another --out.") from error
