"""Measure the modes of `speed`: time, error and motion on the bundled model; error of one call.

    python -m benchmarks.speed_modes [--scenes 6] [--out benchmarks/results/speed_modes.json]

Scenes the model was never trained on are animated in every motion bucket, each way in turn. Errors are against "exact"
with the same settings otherwise: relative L2 of the latents, PSNR of the decoded clips; "another seed" shows how far
apart two clips are that have nothing but picture and settings in common. Direction and rank are the bars of
`training.evaluate`. Last, one call of a UNet of the released widths with random weights that recalls the deep features
of the step before, at noise levels down the schedule, and by how much its input has changed ("fastest" would run it in
full where that is above its limit). On a CPU the seconds are processor seconds, so that other work
does not count.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.config import UNetConfig
from svd_core.diffusion import edm, schedules
from svd_core.diffusion.speed import MODES, SPEEDS, SpeedMode
from svd_core.diffusion.step_cache import StepCache, relative_change
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import random_weight
from training.evaluate import BUCKET, BUCKETS, Animator
from training.measure import direction_error, psnr, rank_correlation, track
from training.scenes import Scene, evaluation_seeds, scene_of

from .machine import machine

RESULTS = Path(__file__).parent / "results" / "speed_modes.json"
TEN_STEPS: dict[str, Any] = {"schedule": "align your steps", "num_inference_steps": 10}
STRONGER: dict[str, Any] = {"max_cfg_scale": 3.0}  # the guidance of the XT models; the bundled one has 1.5
WAYS: dict[str, dict[str, Any]] = {
    **{speed: {"speed": speed} for speed in SPEEDS},
    "exact, 10 steps": {"speed": "exact", **TEN_STEPS},
    "fastest, 10 steps": {"speed": "fastest", **TEN_STEPS},
    "another seed": {"seed": 1},
}
ONE_CALL = UNetConfig(num_res_blocks=1)  # the released widths; a block less on each level halves the memory
CALL_SIZE = (4, 16, 16)  # frames, height, width of the latents


@dataclass
class Figures:
    """Lists with an entry for each clip, sprite or scene."""

    seconds: list[float] = field(default_factory=list)  # from the picture to the latents
    branches: list[float] = field(default_factory=list)  # of the guidance, evaluated in full or not, for a clip
    error: list[float] = field(default_factory=list)  # relative L2
    psnr: list[float] = field(default_factory=list)  # dB
    direction: list[float] = field(default_factory=list)  # degrees
    rank: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Medians; of errors the mean and the worst."""
        medians = {name: median(values) for name, values in vars(self).items() if values and name != "error"}
        return medians | ({"error": mean(self.error), "error_worst": max(self.error)} if self.error else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    scenes = [scene_of(seed) for seed in evaluation_seeds(options.scenes)]
    pipe = SVDPipeline.from_checkpoint(DEMO_CHECKPOINT)
    pipe.decode(Animator(pipe).latents(scenes[0], num_inference_steps=2))  # warms up
    figures = {
        "machine": machine(pipe.device),
        "scenes": options.scenes,
        "modes": {speed: stated(mode) for speed, mode in MODES.items()},
        "ways": told("bundled model", over_scenes(pipe, scenes, BUCKETS, {})),
        "ways, max_cfg 3": told("bundled model, max_cfg 3", over_scenes(pipe, scenes, (BUCKET,), STRONGER)),
        "one call, random weights": list(one_call(pipe.device)),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")


def stated(mode: SpeedMode) -> dict[str, float | None]:
    """Returns None without a limit."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(mode).items()}


def over_scenes(
    pipe: SVDPipeline,
    scenes: Sequence[Scene],
    buckets: Sequence[int],
    settings: dict[str, Any],
    ways: dict[str, dict[str, Any]] = WAYS,
) -> dict[str, Figures]:
    """The first of the ways is what the others are compared with."""
    figures = {way: Figures() for way in ways}
    for scene in scenes:
        exact: list[Tensor] = []
        for way, own in ways.items():
            latents = clips(Animator(pipe, **settings, **own), scene, buckets, figures[way])
            exact = exact or latents
            compare(Animator(pipe), scene, buckets, latents, exact, figures[way])
    return figures


def clips(animate: Animator, scene: Scene, buckets: Sequence[int], figures: Figures) -> list[Tensor]:
    """The scene in every bucket, t 4 h w each, with time and work noted."""
    clock = time.perf_counter if animate.pipe.device.type == "cuda" else time.process_time
    rows = 0

    def count(_: Any, __: Any, v: Tensor) -> None:
        nonlocal rows
        rows += len(v)

    made = []
    handle = animate.pipe.unet.register_forward_hook(count)
    for bucket in buckets:
        start, rows = clock(), 0
        latents = animate.latents(scene, bucket).cpu()  # waits for the device
        figures.seconds.append(clock() - start)
        figures.branches.append(rows / len(latents))
        made.append(latents)
    handle.remove()
    return made


def compare(
    animate: Animator,
    scene: Scene,
    buckets: Sequence[int],
    latents: Sequence[Tensor],
    exact: Sequence[Tensor],
    figures: Figures,
) -> None:
    frames = [animate.decode(each.to(animate.pipe.device)) for each in latents]
    tracks = [track(clip, scene) for clip in frames]
    if latents is not exact:
        figures.error += [relative_change(own, other) for own, other in zip(latents, exact, strict=True)]
        at = buckets.index(BUCKET)
        figures.psnr.append(psnr(frames[at], animate.decode(exact[at].to(animate.pipe.device))))
    for index, sprite in enumerate(scene.sprites):
        figures.direction.append(direction_error(tracks[buckets.index(BUCKET)][index], sprite))
        if len(buckets) > 1:
            figures.rank.append(rank_correlation(buckets, [each[index].step for each in tracks]))


def one_call(device: torch.device) -> Iterator[dict[str, float]]:
    """Errors of single calls: the input goes one Euler step of 25 on, and the deep features stay."""
    unet = VideoUNet(ONE_CALL, Layers(device="meta")).eval()
    weights = {name: random_weight(name, tuple(meta.shape), seed=0) for name, meta in unet.state_dict().items()}
    unet.load_state_dict({name: weight.to(device) for name, weight in weights.items()}, assign=True)
    frames, height, width = CALL_SIZE
    generator = torch.Generator().manual_seed(0)
    noise, clip, latent = (torch.randn(frames, 4, height, width, generator=generator).to(device) for _ in range(3))
    rest = (
        torch.randn(1, 1, ONE_CALL.context_dim, generator=generator).to(device).expand(frames, -1, -1),
        torch.randn(1, ONE_CALL.adm_in_channels, generator=generator).to(device).expand(frames, -1),
        frames,
    )
    levels = schedules.sigmas("karras", 25)

    def call(sigma: Tensor, noisy: Tensor, cache: StepCache) -> Tensor:
        c_noise = edm.scalings(sigma).c_noise.to(device).expand(frames)
        return unet(torch.cat([noisy, latent], dim=1), c_noise, *rest, features=cache.features("cond"))

    with torch.inference_mode():
        for index in range(2, 24, 4):
            sigma, following = levels[index], levels[index + 1]
            cache = StepCache(replace(MODES["fastest"], change=float("inf")))
            before, after = (edm.scalings(level).c_in * (clip + level * noise) for level in (sigma, following))
            call(sigma, before, cache)
            recalled, exact = call(following, after, cache), call(following, after, StepCache(MODES["exact"]))
            figures = {"sigma": float(sigma), "next": float(following), "change": relative_change(after, before)}
            figures["error"] = relative_change(recalled, exact)
            line = "one call, sigma {sigma:.3g} to {next:.3g}: error {error:.4f}, input changed by {change:.4f}"
            print(line.format(**figures), flush=True)
            yield figures


def told(title: str, figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
    summaries = {way: each.summary() for way, each in figures.items()}
    print(title)
    for way, summary in summaries.items():
        print(f"{way:18}", "  ".join(f"{name} {value:.4g}" for name, value in summary.items()), flush=True)
    return summaries


if __name__ == "__main__":
    main()
