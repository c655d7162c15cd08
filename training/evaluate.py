"""Does a checkpoint animate scenes as its settings ask? The bars, measured on scenes it was never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from svd_core import SVDPipeline

from .measure import direction_error, flicker, psnr, rank_correlation, track
from .scenes import Scene, evaluation_seeds, render, scene_of
from .settings import NUM_FRAMES, SIZE

BUCKETS = (0, 60, 127, 190, 255)
BUCKET, FPS = 127, 7  # what a user starts with
FAST_BUCKET, SLOW_FPS = 255, 6  # where displacement is large enough to halve


@dataclass
class Figures:
    """One list entry for each scene (or sprite)."""

    direction: list[float] = field(default_factory=list)  # degrees
    rank: list[float] = field(default_factory=list)
    fps_ratio: list[float] = field(default_factory=list)
    still_drift: list[float] = field(default_factory=list)  # pixels
    first_frame_psnr: list[float] = field(default_factory=list)  # dB
    flicker: list[float] = field(default_factory=list)  # of 255

    def summary(self) -> dict[str, float]:
        return {name: median(values) for name, values in vars(self).items() if values}


@dataclass(frozen=True)
class Settings:
    steps: int = 25
    min_cfg: float = 1.0
    max_cfg: float = 1.5
    seed: int = 0


class Animator:
    """Clips and latents of scenes, from one pipeline."""

    def __init__(self, pipe: SVDPipeline, settings: Settings) -> None:
        self.pipe, self.settings = pipe, settings

    def clip(self, scene: Scene, bucket: float, fps: float) -> np.ndarray:
        """t h w 3 in [0, 1]."""
        s = self.settings
        return self.pipe(
            render(scene, SIZE, 1)[0],
            width=SIZE,
            height=SIZE,
            num_frames=NUM_FRAMES,
            fps=fps,
            motion_bucket_id=bucket,
            num_inference_steps=s.steps,
            min_cfg_scale=s.min_cfg,
            max_cfg_scale=s.max_cfg,
            seed=s.seed,
            output="tensor",
            progress=False,
        ).numpy()


def evaluate(
    animate: Animator, seeds: Iterable[int] = evaluation_seeds(), report: Callable[[str], None] = print
) -> Figures:
    figures = Figures()
    for seed in seeds:
        scene = scene_of(seed)
        clips = {bucket: animate.clip(scene, bucket, FPS) for bucket in BUCKETS}
        measure_scene(figures, scene, clips)
        slow = animate.clip(scene, FAST_BUCKET, SLOW_FPS)
        fast = animate.clip(scene, FAST_BUCKET, 2 * SLOW_FPS)
        for a, b in zip(track(slow, scene), track(fast, scene), strict=True):
            figures.fps_ratio.append(b.step / max(a.step, 1e-6))
        report(f"{seed} " + " ".join(f"{name} {value:.3g}" for name, value in figures.summary().items()))
    return figures


def measure_scene(figures: Figures, scene: Scene, clips: dict[int, np.ndarray]) -> None:
    tracks = {bucket: track(clip, scene) for bucket, clip in clips.items()}
    for index, sprite in enumerate(scene.sprites):
        figures.direction.append(direction_error(tracks[BUCKET][index], sprite))
        figures.rank.append(rank_correlation(BUCKETS, [tracks[bucket][index].step for bucket in BUCKETS]))
        figures.still_drift.append(tracks[0][index].drift)
    figures.first_frame_psnr.append(psnr(clips[BUCKET][0], render(scene, SIZE, 1)[0]))
    figures.flicker.append(flicker(clips[BUCKET], scene))


def contact_sheet(animate: Animator, path: Path, seeds: Iterable[int], bucket: float = 200, fps: float = 7) -> None:
    """For each scene a row of drawn frames above a row of made ones."""
    rows = []
    for seed in seeds:
        scene = scene_of(seed)
        drawn = render(scene, SIZE, NUM_FRAMES, bucket, fps)
        made = animate.clip(scene, bucket, fps)
        rows += [np.concatenate(list(clip[::3]), axis=1) for clip in (drawn, made)]
    sheet = (np.concatenate(rows).clip(0, 1) * 255).round().astype(np.uint8)
    Image.fromarray(sheet).save(path)
