"""A clip made from a video: what is kept of it, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core import SVDError, SVDPipeline
from svd_core.diffusion.noise import draw_noise
from svd_core.diffusion.schedules import sigmas
from svd_core.pipeline.stages import encode_frames
from tests.core.pipeline.test_pipeline import PICTURE, SETTINGS
from tests.support.random_checkpoint import tiny_config, write_checkpoint

VIDEO = np.random.default_rng(1).random((4, 16, 32, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> SVDPipeline:
    path = write_checkpoint(tmp_path_factory.mktemp("video") / "tiny.safetensors", tiny_config())
    return SVDPipeline.from_checkpoint(path, device="cpu")


def test_encoding_takes_one_frame_at_a_time_and_fits_it() -> None:
    seen: list[tuple[int, ...]] = []

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(pixels.shape))
        return pixels.mean(dim=(1, 2, 3), keepdim=True)

    frames = [Image.new("RGB", (8 + n, 20), (40 * n, 0, 0)) for n in range(3)]
    latents = encode_frames(frames, encode, width=32, height=16)
    assert seen == [(1, 3, 16, 32)] * 3
    assert latents.flatten().tolist() == pytest.approx([0.0, 40 / 255 / 3, 80 / 255 / 3], abs=1e-6)


def test_encoded_frames_are_scaled_as_the_diffusion_has_them(pipe: SVDPipeline) -> None:
    with torch.inference_mode():
        pixels = torch.from_numpy(VIDEO[:1]).movedim(-1, 1)
        assert torch.equal(pipe.encode_frame(pixels), 0.18215 * pipe.vae.encode(2 * pixels - 1))


def test_sampling_starts_from_the_video_with_noise_of_the_level_asked_for(pipe: SVDPipeline) -> None:
    first = []
    pipe(
        PICTURE, **SETTINGS, input_video=VIDEO, denoising_strength=0.5, seed=3, callback=lambda step: first.append(step)
    )
    with torch.inference_mode():
        clip = torch.cat([pipe.encode_frame(torch.from_numpy(frame).movedim(-1, 0)[None]) for frame in VIDEO[:3]])
    sigma = sigmas("karras", 2, 0.5, shortening="all steps")[0]
    assert first[0].sigma == sigma
    assert torch.allclose(first[0].x, clip + sigma * draw_noise(clip.shape, 3), atol=1e-4)


def test_a_lower_strength_keeps_more_of_the_video(pipe: SVDPipeline) -> None:
    with torch.inference_mode():
        clip = torch.cat([pipe.encode_frame(torch.from_numpy(frame).movedim(-1, 0)[None]) for frame in VIDEO[:3]])
    settings = {**SETTINGS, "input_video": VIDEO, "output": "latent"}
    away = [float((pipe(PICTURE, **settings, denoising_strength=s) - clip).square().mean()) for s in (0.9, 0.2, 0.1)]
    assert away[0] > 2 * away[1] > 4 * away[2]


@pytest.mark.parametrize("way", ["last steps", "all steps"])
def test_both_ways_of_shortening_reach_the_sampler(pipe: SVDPipeline, way: str) -> None:
    levels = []
    pipe(
        PICTURE,
        **SETTINGS,
        input_video=VIDEO,
        denoising_strength=0.6,
        denoising_steps=way,
        callback=lambda step: levels.append(float(step.sigma)),
    )
    assert levels == sigmas("karras", 2, 0.6, shortening=way)[:-1].tolist()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"denoising_strength": 0.5}, "no input_video"),
        ({"denoising_strength": 0.5, "input_video": VIDEO[:2]}, "has 2 frames and the clip 3"),
        ({"denoising_strength": 0.0, "input_video": VIDEO}, "denoising_strength is 0"),
        ({"denoising_strength": 0.5, "input_video": VIDEO, "denoising_steps": "some"}, "no shortening named 'some'"),
        ({"denoising_strength": 0.5, "input_video": ["a", "b", "c"]}, "str is not a picture"),
    ],
)
def test_what_cannot_be_a_video_is_refused(pipe: SVDPipeline, arguments: dict, words: str) -> None:
    with pytest.raises(SVDError, match=words):
        pipe(PICTURE, **SETTINGS, **arguments)


def test_a_video_at_full_strength_is_said_to_be_lost(pipe: SVDPipeline, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kept = pipe(PICTURE, **SETTINGS, input_video=VIDEO, output="latent")
    assert "nothing of input_video is kept" in caplog.text
    assert torch.equal(kept, pipe(PICTURE, **SETTINGS, output="latent"))


def test_a_frame_that_is_not_finite_is_refused(pipe: SVDPipeline) -> None:
    with pytest.raises(SVDError, match="not finite"):
        pipe(PICTURE, **SETTINGS, input_video=VIDEO * np.nan, denoising_strength=0.5)
