"""The measures, on clips whose motion is known: the drawn ones, spoilt as a model or a video file spoils them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.errors import SVDError
from training.measure import Track, direction_error, flicker, psnr, rank_correlation, still_pixels, track
from training.scenes import EVALUATION_SEED, SLOWEST_FPS, evaluation_seeds, render, render_background, scene_of, step

SCENES = [scene_of(seed) for seed in evaluation_seeds(12)]
Spoil = Callable[[np.ndarray], np.ndarray]


def untouched(clip: np.ndarray) -> np.ndarray:
    return clip


def noisy(clip: np.ndarray) -> np.ndarray:
    return clip + np.random.default_rng(0).normal(0.0, 0.05, clip.shape).astype(np.float32)


def blurred(clip: np.ndarray) -> np.ndarray:
    """By a Gaussian of about 1.2 pixels."""
    for axis in (1, 2):
        for _ in range(3):
            around = np.pad(clip, [(1, 1) if i == axis else (0, 0) for i in range(4)], mode="edge")
            before, after = (np.take(around, np.arange(clip.shape[axis]) + i, axis) for i in (0, 2))
            clip = 0.25 * before + 0.5 * clip + 0.25 * after
    return clip


def tinted(clip: np.ndarray) -> np.ndarray:
    """Ever further from the right colour."""
    return clip + np.linspace(0.0, 0.15, len(clip), dtype=np.float32)[:, None, None, None] * (1.0, 0.3, -0.5)


def blurred_and_noisy(clip: np.ndarray) -> np.ndarray:
    return noisy(blurred(clip))


SPOILS = pytest.mark.parametrize("spoil", [untouched, noisy, blurred, blurred_and_noisy, tinted])


@SPOILS
@pytest.mark.parametrize(("bucket", "fps"), [(255, SLOWEST_FPS), (127, 7), (127, 14), (64, 7)])
def test_direction_and_displacement(spoil: Spoil, bucket: float, fps: float):
    for scene in SCENES:
        for path, sprite in zip(track(spoil(render(scene, 96, 14, bucket, fps)), scene), scene.sprites, strict=True):
            assert direction_error(path, sprite) < 2.0
            assert path.step == pytest.approx(96 * step(bucket, fps), rel=0.03, abs=0.012)
            assert path.drift == pytest.approx(13 * 96 * step(bucket, fps), rel=0.05, abs=0.3)
            assert path.seen == 1.0
            assert path.mass == pytest.approx(1.0, abs=0.5)


@given(st.integers(EVALUATION_SEED, 2 * EVALUATION_SEED), st.sampled_from((96, 128)))
@settings(max_examples=25, deadline=None)
def test_any_scene_is_followed(seed: int, size: int):
    scene = scene_of(seed)
    for path, sprite in zip(track(render(scene, size, 14, 255, SLOWEST_FPS), scene), scene.sprites, strict=True):
        assert direction_error(path, sprite) < 2.0
        assert path.step == pytest.approx(size * step(255, SLOWEST_FPS), rel=0.03)


@SPOILS
def test_doubling_the_frame_rate_halves_the_displacement(spoil: Spoil):
    for scene in SCENES:
        slow, fast = (track(spoil(render(scene, 96, 14, 127, fps)), scene) for fps in (7, 14))
        for a, b in zip(slow, fast, strict=True):
            assert b.step / a.step == pytest.approx(0.5, abs=0.03)


@SPOILS
def test_displacement_ranks_as_the_bucket(spoil: Spoil):
    buckets = (0, 60, 127, 190, 255)
    for scene in SCENES[:6]:
        steps = [track(spoil(render(scene, 96, 14, bucket, 7)), scene)[0].step for bucket in buckets]
        assert rank_correlation(buckets, steps) == 1.0


@SPOILS
def test_bucket_0_stands_still(spoil: Spoil):
    for scene in SCENES:
        for path, sprite in zip(track(spoil(render(scene, 96, 14, 0, 7)), scene), scene.sprites, strict=True):
            assert path.drift < 0.2
            assert direction_error(path, sprite) == 90.0


def test_a_clip_backwards_goes_the_wrong_way():
    """And in place of the first picture the last one is looked for, which the window still finds at this speed."""
    for scene in SCENES:
        backwards = render(scene, 96, 14, 60, 7)[::-1]
        for path, sprite in zip(track(backwards, scene), scene.sprites, strict=True):
            assert direction_error(path, sprite) > 175.0


def test_the_angle_of_a_turned_travel():
    scene = SCENES[0]
    sprite = scene.sprites[0]
    for turn in (-120.0, -30.0, 10.0, 90.0):
        angle = sprite.heading + math.radians(turn)
        centres = np.arange(14)[:, None] * np.array([math.cos(angle), math.sin(angle)])
        assert direction_error(Track(centres, np.ones(14)), sprite) == pytest.approx(abs(turn))


def test_a_sprite_that_vanishes_is_missed():
    scene = SCENES[0]
    clip = render(scene, 96, 14, 127, 7)
    clip[4:] = render_background(scene.background, 96)
    for path, sprite in zip(track(clip, scene), scene.sprites, strict=True):
        assert path.seen == pytest.approx(4 / 14)
        assert np.array_equal(path.centres[3], path.centres[13])
        assert direction_error(path, sprite) == 90.0


def test_a_lone_picture_does_not_move():
    scene = SCENES[0]
    (path, *_) = track(render(scene, 96, 1), scene)
    assert (path.step, path.drift, path.seen) == (0.0, 0.0, 1.0)


def test_flicker_of_a_drawn_clip_is_none_and_of_noise_is_its_deviation():
    rng = np.random.default_rng(0)
    for scene in SCENES:
        clip = render(scene, 96, 14, 255, SLOWEST_FPS)
        assert flicker(clip, scene) == pytest.approx(0.0, abs=1e-4)
        noise = rng.normal(0.0, 3.0 / 255.0, clip.shape).astype(np.float32)
        assert flicker(clip + noise, scene) == pytest.approx(3.0, rel=0.06)  # a deviation of 14 is biased by 5 %


def test_still_pixels_are_many_and_none_is_touched():
    for scene in SCENES:
        still = still_pixels(scene, 96, 14, 255, SLOWEST_FPS)
        drawn = np.abs(render(scene, 96, 14, 255, SLOWEST_FPS) - render_background(scene.background, 96)).max((0, 3))
        assert still.mean() > 0.3
        assert not drawn[still].any()
        assert still_pixels(scene, 96, 14, 0, 7).sum() > still.sum()


def test_psnr():
    picture = np.full((8, 8, 3), 0.5)
    assert psnr(picture, picture) == math.inf
    assert psnr(picture + 0.1, picture) == pytest.approx(20.0)
    with pytest.raises(SVDError, match="one shape"):
        psnr(picture, picture[:4])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, 2, 3, 4, 5), (10, 20, 30, 40, 50), 1.0),
        ((1, 2, 3, 4, 5), (5, 4, 3, 2, 1), -1.0),
        ((1, 2, 3, 4, 5), (1, 3, 2, 4, 5), 0.9),  # 1 - 6 · 2 / (5 · 24)
        ((1, 2, 3), (7, 7, 9), math.sqrt(3) / 2),  # ranks 0.5 0.5 2
        ((1, 2, 3), (4, 4, 4), 0.0),
    ],
)
def test_rank_correlation(a: tuple[float, ...], b: tuple[float, ...], expected: float):
    assert rank_correlation(a, b) == pytest.approx(expected)
    assert rank_correlation(b, a) == pytest.approx(expected)


def test_video_files_are_measured_as_well(tmp_path: Path):
    """H.264 halves the resolution of colour and smooths the background."""
    import av

    from svd_core.video import save_video

    for scene in SCENES[:4]:
        save_video(render(scene, 96, 14, 127, 7), tmp_path / "clip.mp4", fps=7, quality=6)
        with av.open(str(tmp_path / "clip.mp4")) as file:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
        for path, sprite in zip(track(frames.astype(np.float32) / 255.0, scene), scene.sprites, strict=True):
            assert direction_error(path, sprite) < 3.0
            assert path.step == pytest.approx(96 * step(127, 7), rel=0.05)


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((14, 96, 96)),
        np.zeros((14, 96, 64, 3)),
        np.zeros((0, 96, 96, 3)),
        np.zeros((2, 96, 96, 3), np.uint8),
        np.full((2, 96, 96, 3), np.nan),
    ],
    ids=["no colour", "not square", "empty", "integers", "not a number"],
)
def test_what_cannot_be_measured_is_told(clip: np.ndarray):
    for measure in (track, flicker):
        with pytest.raises(SVDError, match=r"; give "):
            measure(clip, SCENES[0])


def test_ranks_of_nothing_are_told():
    with pytest.raises(SVDError, match="equal length"):
        rank_correlation((1, 2), (1, 2, 3))
