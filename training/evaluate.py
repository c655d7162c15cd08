"""Measure whether a checkpoint animates scenes as its settings ask, on scenes it was never trained on.

All at the settings a user starts with: the seed is 0, and guidance, steps and noise are the pipeline's own.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svd_core import SVDPipeline

from .measure import direction_error, flicker, psnr, rank_correlation, track
from .scenes import Scene, evaluation_seeds, render, scene_of
from .settings import SIZE

BUCKETS = (0, 60, 127, 190, 255)
BUCKET, FPS = 127, 7  # what a user starts with
FAST_BUCKET = 255  # where displacement is large enough to halve
MOTION_PLACE = slice(256, 512)  # of the motion bucket's embedding in the conditioning vector


@dataclass
class Figures:
    """Lists with an entry for each scene, or for each sprite of each scene."""

    direction: list[float] = field(default_factory=list)  # degrees between travel and drawn heading
    rank: list[float] = field(default_factory=list)  # Spearman's, of speed against bucket
    fps_ratio: list[float] = field(default_factory=list)  # displacement per frame at twice the fps, over that at once
    still_drift: list[float] = field(default_factory=list)  # pixels, in bucket 0
    first_frame_psnr: list[float] = field(default_factory=list)  # dB
    flicker: list[float] = field(default_factory=list)  # of 255
    flicker_framewise: list[float] = field(default_factory=list)  # the same latents, decoded one frame at a time

    def summary(self) -> dict[str, float]:
        return {name: median(values) for name, values in vars(self).items() if values}

    @staticmethod
    def joined(parts: Sequence[Figures]) -> Figures:
        names = [each.name for each in fields(Figures)]
        return Figures(*([value for part in parts for value in getattr(part, name)] for name in names))


@dataclass(frozen=True)
class Bar:
    """A requirement of the model: its median figure, and the range that is good enough."""

    what: str
    figure: float
    least: float
    most: float

    @property
    def met(self) -> bool:
        return self.least <= self.figure <= self.most

    def __str__(self) -> str:
        limits = f"{self.least:g} to {self.most:g}"
        return f"{'met   ' if self.met else 'MISSED'}  {self.figure:8.3f}  ({limits})  {self.what}"


def bars(figures: Figures) -> list[Bar]:
    medians = figures.summary()
    inf = float("inf")
    return [
        Bar("direction of travel against the drawn heading, degrees", medians["direction"], 0.0, 12.0),
        Bar("rank correlation of speed and motion bucket", medians["rank"], 0.95, 1.0),
        Bar("displacement per frame at twice the fps, share", medians["fps_ratio"], 0.4, 0.6),
        Bar("movement in bucket 0, pixels", medians["still_drift"], 0.0, 1.0),
        Bar("first frame against the picture, dB", medians["first_frame_psnr"], 25.0, inf),
        Bar("flicker of the background, of 255", medians["flicker"], 0.0, 2.0),
        Bar(
            "flicker, share of that of frames decoded alone",
            medians["flicker"] / max(medians["flicker_framewise"], 1e-9),
            0.0,
            0.5,
        ),
    ]


class Animator:
    """Clips of scenes from one pipeline."""

    def __init__(self, pipe: SVDPipeline, **settings: Any) -> None:
        """settings: of every clip, beside those of a call."""
        self.pipe, self.settings = pipe, settings

    def latents(self, scene: Scene, bucket: float = BUCKET, fps: float = FPS, **settings: Any) -> Tensor:
        """t 4 h w."""
        picture = render(scene, SIZE, 1)[0]
        stated = {"fps": fps, "motion_bucket_id": bucket, **self.settings, **settings}
        return self.pipe(picture, output="latent", progress=False, **stated)

    def clip(self, scene: Scene, bucket: float = BUCKET, fps: float = FPS, **settings: Any) -> np.ndarray:
        """t h w 3 in [0, 1]."""
        return self.decode(self.latents(scene, bucket, fps, **settings))

    def decode(self, latents: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return self.pipe.decode(latents).numpy()

    def decode_apart(self, latents: Tensor) -> np.ndarray:
        """Decode every frame as a separate clip."""
        return np.concatenate([self.decode(frame) for frame in latents.split(1)])


def evaluate(checkpoint: Path, seeds: Sequence[int] = evaluation_seeds(), workers: int | None = None) -> Figures:
    """Measure all scenes, in processes of one thread each: a small model gains nothing from more."""
    workers = min(workers or os.cpu_count() or 1, len(seeds))
    shares = [list(seeds[first::workers]) for first in range(workers)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return Figures.joined(list(pool.map(_evaluate_share, [checkpoint] * workers, shares)))


def _evaluate_share(checkpoint: Path, seeds: Sequence[int]) -> Figures:
    torch.set_num_threads(1)
    animate = Animator(SVDPipeline.from_checkpoint(checkpoint, device="cpu"))
    figures = Figures()
    for seed in seeds:
        measure_scene(figures, animate, scene_of(seed))
    return figures


def measure_scene(figures: Figures, animate: Animator, scene: Scene) -> None:
    latents = {bucket: animate.latents(scene, bucket) for bucket in BUCKETS}
    clips = {bucket: animate.decode(each) for bucket, each in latents.items()}
    tracks = {bucket: track(clip, scene) for bucket, clip in clips.items()}
    twice = track(animate.clip(scene, FAST_BUCKET, 2 * FPS), scene)
    for index, sprite in enumerate(scene.sprites):
        figures.direction.append(direction_error(tracks[BUCKET][index], sprite))
        figures.rank.append(rank_correlation(BUCKETS, [tracks[bucket][index].step for bucket in BUCKETS]))
        figures.fps_ratio.append(twice[index].step / max(tracks[FAST_BUCKET][index].step, 1e-6))
        figures.still_drift.append(tracks[0][index].drift)
    figures.first_frame_psnr.append(psnr(clips[BUCKET][0], render(scene, SIZE, 1)[0]))
    figures.flicker.append(flicker(clips[BUCKET], scene))
    figures.flicker_framewise.append(flicker(animate.decode_apart(latents[BUCKET]), scene))


# --- negative controls: what should ruin the motion must show in the figures ---------------------------------------


@contextmanager
def without_motion(pipe: SVDPipeline) -> Iterator[None]:
    """The UNet never learns of the motion bucket."""

    def zero(_: object, inputs: tuple[Tensor]) -> tuple[Tensor]:
        vector = inputs[0].clone()
        vector[:, MOTION_PLACE] = 0.0
        return (vector,)

    handle = pipe.unet.label_emb.register_forward_pre_hook(zero)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def picture_of(pipe: SVDPipeline, scene: Scene) -> Iterator[None]:
    """The conditioning latent is that of another scene; CLIP still sees the right one."""
    encode = pipe.encode_picture
    other = torch.from_numpy(render(scene, SIZE, 1)).movedim(-1, 1)  # 1 3 h w
    pipe.encode_picture = lambda _, *rest: encode(other, *rest)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del pipe.encode_picture
