"""The result of the pipeline: frames that know their fps and how they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core import Clip, ClipSettings, SVDError, SVDPipeline, load_video, save_video
from svd_core.pipeline.settings import ResolvedSettings
from tests.core.pipeline.test_pipeline import PICTURE, SETTINGS
from tests.support.random_checkpoint import tiny_config, write_checkpoint

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 16, 32, 3), dtype=np.uint8)


@pytest.fixture
def clip() -> Clip:
    return Clip(FRAMES, 9.0, 5, ResolvedSettings(fps=9.0))


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> SVDPipeline:
    path = write_checkpoint(tmp_path_factory.mktemp("clip") / "tiny.safetensors", tiny_config())
    return SVDPipeline.from_checkpoint(path, device="cpu")


def test_a_clip_is_a_sequence_of_its_frames(clip: Clip) -> None:
    assert len(clip) == 4 and isinstance(clip[0], Image.Image) and clip[0] is clip[0]
    assert np.array_equal(np.stack([np.asarray(picture) for picture in clip]), FRAMES)
    assert np.array_equal(np.asarray(clip[-1]), FRAMES[-1]) and len(clip[1:]) == 3
    with pytest.raises(IndexError):
        clip[4]


def test_a_clip_saves_itself_with_its_fps_and_settings(clip: Clip, tmp_path: Path) -> None:
    video = load_video(clip.save(tmp_path / "clip" / "%02d.png"))
    assert np.array_equal(video.frames, FRAMES) and video.fps == 9
    assert video.metadata == clip.metadata
    assert load_video(clip.save(tmp_path / "other.webp", 10, {"name": "mine"})).metadata == {"name": "mine"}


def test_save_video_takes_the_fps_of_a_clip_unless_told(clip: Clip, tmp_path: Path) -> None:
    rates = [load_video(save_video(*arguments)).fps for arguments in (
        (clip, tmp_path / "own.mp4"), (clip, tmp_path / "told.mp4", 3), (list(clip), tmp_path / "default.mp4"),
    )]  # fmt: skip
    assert rates == [9, 3, 7]


def test_what_a_clip_says_makes_it_again(pipe: SVDPipeline, tmp_path: Path) -> None:
    clip = pipe(PICTURE, **SETTINGS, fps=8, seed=3, sampler="euler_ancestral")
    record = load_video(clip.save(tmp_path / "clip" / "%d.png")).metadata
    again = pipe(PICTURE, settings=ClipSettings(**record["settings"]), seed=record["seed"], progress=False)
    assert np.array_equal(again.frames, clip.frames) and again.settings == clip.settings
    assert (again.fps, again.seed) == (8, 3)


def test_a_generator_s_seed_is_told(pipe: SVDPipeline) -> None:

    clip = pipe(PICTURE, **SETTINGS, generator=torch.Generator().manual_seed(1))
    assert np.array_equal(pipe(PICTURE, **SETTINGS, seed=clip.seed).frames, clip.frames)


def test_an_unknown_output_is_refused_before_any_work(pipe: SVDPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "encode_image", lambda *_: pytest.fail("work was done"))
    with pytest.raises(SVDError, match="no output named 'np'; choose one of pil, array"):
        pipe(PICTURE, **SETTINGS, output="np")  # type: ignore[call-overload]


def test_latents_in_diffusion_space_are_scaled(pipe: SVDPipeline) -> None:
    """As docs/python.md says: a node's LATENT is theirs divided by the scale factor."""

    pixels = torch.rand(1, 3, 16, 32)
    with torch.inference_mode():
        assert torch.equal(pipe.encode_frame(pixels), pipe.vae.config.scale_factor * pipe.vae.encode(2 * pixels - 1))
