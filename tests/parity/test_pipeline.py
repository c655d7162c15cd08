"""The whole way from picture to frames against diffusers' StableVideoDiffusionPipeline, with the same noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from svd_core.pipeline.pipeline import SVDPipeline

from .figures import Figures, relative_error
from .models import Models

LIMIT = 1e-4


@dataclass(frozen=True)
class Settings:
    """One run. Sizes are those of the picture too: the implementations resize differently, and rightly so."""

    name: str
    layout: str
    width: int
    height: int
    num_frames: int
    steps: int
    fps: int = 7
    motion_bucket_id: int = 127
    noise_aug_strength: float = 0.02
    min_cfg_scale: float = 1.0
    max_cfg_scale: float = 3.0
    seed: int = 0

    def __str__(self) -> str:
        return self.name


RUNS = (
    Settings("defaults, folder", "folder", 192, 128, num_frames=5, steps=25),
    Settings("defaults, single file", "single", 128, 128, num_frames=4, steps=10),
    Settings("other settings", "comfy", 128, 192, 4, 10, 15, 40, 0.3, min_cfg_scale=1.5, max_cfg_scale=2.5, seed=7),
    Settings("no guidance", "single", 128, 128, num_frames=3, steps=4, max_cfg_scale=1.0, seed=9),
)


@dataclass(frozen=True)
class Noise:
    """The two draws of diffusers, in its order, from one generator."""

    augmentation: Tensor  # 1 3 H W
    latent: Tensor  # t 4 h w


def noise_of(run: Settings) -> Noise:
    generator = torch.Generator().manual_seed(run.seed)
    augmentation = torch.randn(1, 3, run.height, run.width, generator=generator)
    return Noise(augmentation, torch.randn(run.num_frames, 4, run.height // 8, run.width // 8, generator=generator))


def picture(width: int, height: int) -> Image.Image:
    """Smooth colours, an edge and fine noise, so that every part of the resampling shows."""
    y, x = np.mgrid[0:height, 0:width]
    smooth = 127 + 100 * np.stack([np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 31)], axis=-1)
    smooth[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 60)
    noisy = smooth + np.random.default_rng(0).normal(0, 12, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def load_pipeline(models: Models, run: Settings) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(models.layout(run.layout), device="cpu", dtype=torch.float32)


def run_ours(pipeline: SVDPipeline, run: Settings, noise: Noise) -> tuple[Tensor, Tensor]:
    """Returns the final latents, t 4 h w, and the frames, t H W 3 in [0, 1]."""
    latents = []
    decode = pipeline.decode

    def keep_and_decode(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        latents.append(x)
        return decode(x, *args, **kwargs)

    pipeline.decode = keep_and_decode  # type: ignore[method-assign]
    frames = pipeline(
        picture(run.width, run.height),
        width=run.width,
        height=run.height,
        num_frames=run.num_frames,
        fps=run.fps,
        motion_bucket_id=run.motion_bucket_id,
        noise_aug_strength=run.noise_aug_strength,
        num_inference_steps=run.steps,
        min_cfg_scale=run.min_cfg_scale,
        max_cfg_scale=run.max_cfg_scale,
        latent_noise=noise.latent,
        augmentation_noise=noise.augmentation,
        output="tensor",
        progress=False,
    )
    return latents[0], frames


def run_theirs(pipeline: Any, run: Settings, noise: Noise) -> tuple[Tensor, Tensor]:
    latents = []
    frames = pipeline(
        picture(run.width, run.height),
        width=run.width,
        height=run.height,
        num_frames=run.num_frames,
        fps=run.fps,
        motion_bucket_id=run.motion_bucket_id,
        noise_aug_strength=run.noise_aug_strength,
        num_inference_steps=run.steps,
        min_guidance_scale=run.min_cfg_scale,
        max_guidance_scale=run.max_cfg_scale,
        decode_chunk_size=run.num_frames,
        generator=torch.Generator().manual_seed(run.seed),  # draws the augmentation noise, as `noise_of` did
        latents=noise.latent[None],
        output_type="pt",
        callback_on_step_end=lambda _pipe, _step, _t, values: latents.append(values["latents"]) or {},
    ).frames
    return latents[-1][0], frames[0].movedim(1, -1)


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_pipeline(models: Models, figures: Figures, run: Settings) -> None:
    noise = noise_of(run)
    latents, frames = run_ours(load_pipeline(models, run), run, noise)
    their_latents, their_frames = run_theirs(models.pipeline, run, noise)
    figures.within(LIMIT, f"pipeline latents / diffusers, {run}", latents, their_latents)
    figures.within(LIMIT, f"pipeline frames / diffusers, {run}", frames, their_frames)
    assert their_frames.std() > 0.05  # a picture, not a clamped constant


def test_every_setting_shows(models: Models) -> None:
    """Agreement means something only where a change of any setting would break it."""
    run = Settings("brief", "single", 128, 128, num_frames=3, steps=3)
    pipeline, noise = load_pipeline(models, run), noise_of(run)
    reference, _ = run_ours(pipeline, run, noise)
    changes: dict[str, Any] = {
        "fps": 8,
        "motion_bucket_id": 126,
        "noise_aug_strength": 0.04,
        "min_cfg_scale": 1.1,
        "max_cfg_scale": 2.9,
    }
    for name, value in changes.items():
        changed, _ = run_ours(pipeline, replace(run, **{name: value}), noise)
        assert relative_error(changed, reference) > 5 * LIMIT, name
    with torch.no_grad():
        pipeline.image_encoder.visual_projection.weight *= 1.01
    changed, _ = run_ours(pipeline, run, noise)
    assert relative_error(changed, reference) > 5 * LIMIT, "image embedding"
