"""Scenes: reproducible, inside the picture, apart, and moving as the motion bucket and frame rate say."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.errors import SVDError
from training.data import generator_of
from training.scenes import (
    EVALUATION_SEED,
    EXAMPLE_SEED,
    GAP,
    LONGEST_TRAVEL,
    SLOWEST_FPS,
    Scene,
    evaluation_seeds,
    positions,
    random_motion,
    random_scene,
    render,
    render_background,
    render_batch,
    scene_of,
    speed,
    step,
)
from training.sprites import KINDS, Sprite, paint

SEEDS = st.integers(0, 2 * EVALUATION_SEED)
SIZES = st.sampled_from((64, 96, 128))


@given(SEEDS, SIZES)
@settings(max_examples=60, deadline=None)
def test_sprites_stay_inside_at_the_fastest(seed: int, size: int):
    """The first and last pictures differ from the background nowhere at their edge."""
    scene = scene_of(seed)
    clip = render(scene, size, 14, 255, SLOWEST_FPS)
    drawn = np.abs(clip - render_background(scene.background, size)).max(-1) > 0.0  # t h w
    assert drawn.any((1, 2)).all()
    assert not drawn[:, [0, -1], :].any()
    assert not drawn[:, :, [0, -1]].any()


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_two_sprites_stay_apart_on_their_way(seed: int):
    scene = scene_of(seed)
    if len(scene.sprites) == 2:
        a, b = positions(scene, 200, 255, SLOWEST_FPS * 199 / 13)  # the longest travel in small steps
        gaps = np.linalg.norm(a - b, axis=1) - sum(sprite.size for sprite in scene.sprites) / 2.0
        assert gaps.min() >= GAP - 1e-6


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_seed_is_a_scene(seed: int):
    assert scene_of(seed) == scene_of(seed)
    assert scene_of(seed) != scene_of(seed + 1)
    assert np.array_equal(render(scene_of(seed), 64), render(scene_of(seed), 64))


def test_no_scene_of_evaluation_is_one_of_training():
    judged = {repr(scene_of(seed)) for seed in (*evaluation_seeds(), EXAMPLE_SEED)}
    for stage, index in product((1, 2, 32), range(1000)):
        rng = generator_of(0, stage, index)
        random_motion(rng)
        assert repr(random_scene(rng)) not in judged
    assert list(evaluation_seeds(3)) == [EVALUATION_SEED, EVALUATION_SEED + 1, EVALUATION_SEED + 2]
    assert len(evaluation_seeds()) == 32


def test_scenes_are_of_many_kinds():
    scenes = [scene_of(seed) for seed in range(300)]
    sprites = [sprite for scene in scenes for sprite in scene.sprites]
    pairs = sum(len(scene.sprites) == 2 for scene in scenes)
    assert 35 < pairs < 90
    assert all(sum(sprite.kind == kind for sprite in sprites) > 60 for kind in KINDS)
    quadrants = np.histogram([sprite.heading for sprite in sprites], 4, (-math.pi, math.pi))[0]
    assert quadrants.min() > 60
    dark = sum(max(scene.background.start) < 0.5 for scene in scenes)
    assert 120 < dark < 240


def test_the_law_of_speed():
    assert speed(0) == 0.0
    assert speed(254) == pytest.approx(2 * speed(127))
    assert 13 * step(255, SLOWEST_FPS) == pytest.approx(LONGEST_TRAVEL)
    assert 1 / 8 < 13 * step(127, 7) < 1 / 5, "the default clip crosses about a sixth of the picture"
    assert step(127, 14) == pytest.approx(step(127, 7) / 2)


def test_positions_follow_the_heading():
    scene = scene_of(1)
    for sprite, path in zip(scene.sprites, positions(scene, 14, 200, 10), strict=True):
        assert path[0] == pytest.approx(sprite.position)
        assert path[5] - path[0] == pytest.approx(5 * step(200, 10) * np.array(sprite.direction))


def test_motion_for_training_covers_its_range():
    rng = np.random.default_rng(0)
    buckets, rates = np.array([random_motion(rng) for _ in range(2000)]).T
    assert 0.08 < (buckets == 0).mean() < 0.12
    assert (buckets.max(), rates.min(), rates.max()) == (255, 6, 24)
    assert np.all(buckets == buckets.round())


@given(SEEDS, SIZES)
@settings(max_examples=30, deadline=None)
def test_bucket_0_stands_still(seed: int, size: int):
    clip = render(scene_of(seed), size, 5, 0, 7)
    assert np.array_equal(clip, np.broadcast_to(clip[:1], clip.shape))


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_pictures_are_in_range_and_plain_to_see(seed: int):
    scene = scene_of(seed)
    clip = render(scene)
    assert clip.shape == (14, 96, 96, 3)
    assert clip.dtype == np.float32
    assert clip.min() >= 0.0
    assert clip.max() <= 1.0
    background = render_background(scene.background, 96)
    seen = np.linalg.norm(clip[0] - background, axis=-1) > 0.4
    assert seen.sum() > 60 * len(scene.sprites)
    slopes = [np.linalg.norm(np.diff(background, axis=axis), axis=-1).max() for axis in (0, 1)]
    assert max(slopes) < 0.03, "backgrounds are soft"


def test_a_clip_can_begin_between_two_frames():
    scene = scene_of(3)
    whole = render(scene, 96, 14, 200, 8)
    assert np.array_equal(render(scene, 96, 1, 200, 8, first=9)[0], whole[9])
    assert np.allclose(positions(scene, 1, 200, 8, first=0.5), positions(scene, 2, 200, 8).mean(1, keepdims=True))


def test_motion_by_a_tenth_of_a_pixel_shows():
    """Rendered motion equals an ideal shift: brightness times distance, within a few per cent."""
    scene = alone(scene_of(EVALUATION_SEED), heading=0.0, position=(0.4, 0.5))
    background = render_background(scene.background, 96)
    still, moved = (shares(render(scene, 96, 1, 255, 6, first=first)[0] - background) for first in (0.0, 0.04))
    shift = 0.04 * step(255, 6) * 96
    assert (moved - still) == pytest.approx(shift, rel=0.15)


def test_sizes_show_the_same_scene():
    scene = scene_of(7)
    small, large = render(scene, 64, 3, 255, 6), render(scene, 128, 3, 255, 6)
    halved = large.reshape(3, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(halved - small).mean() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_sprites_keep_to_their_circle_and_show_their_heading(kind: str):
    """Nothing outside the radius; front and rear, seen from the middle, differ plainly."""
    axis = np.arange(128, dtype=np.float32) - 63.5
    x, y = axis[None, None, :], axis[None, :, None]
    pixels = np.zeros((1, 128, 128, 3), np.float32)
    paint(Sprite(kind, (1, 1, 1), (1, 1, 1), 1.0, (0.5, 0.5), 0.0), pixels, x, y, 100.0)
    assert not pixels[:, np.hypot(x[0, 0], y[0]) > 51.0].any()
    assert pixels[0, 62:66, 100:].any()
    assert pixels[0, :, :28].any()
    assert np.abs(pixels - pixels[:, :, ::-1]).mean() > 0.25 * pixels.mean()


def test_a_sprite_half_outside_is_cut():
    scene = alone(scene_of(5), position=(0.0, 0.5))
    clip = render(scene, 96, 40, 255, 1.0)  # leaves the picture
    assert np.isfinite(clip).all()
    assert clip.shape[0] == 40


def test_batches_are_their_scenes():
    scenes = [scene_of(seed) for seed in range(3)]
    batch = render_batch(scenes, 64, 4, (0, 100, 255), 9, first=(0, 1, 2))
    assert batch.shape == (3, 4, 64, 64, 3)
    assert np.array_equal(batch[2], render(scenes[2], 64, 4, 255, 9, first=2))
    assert render_batch([], 64, 4).shape == (0, 4, 64, 64, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"num_frames": 0}, {"size": 8}, {"fps": 0.0}, {"fps": math.nan}, {"motion_bucket_id": -1.0}],
    ids=str,
)
def test_what_cannot_be_drawn_is_told(wrong: dict[str, float]):
    with pytest.raises(SVDError, match=r"; use "):
        render(scene_of(0), **wrong)


def test_a_negative_seed_is_told():
    with pytest.raises(SVDError, match="cannot be negative"):
        scene_of(-1)


def alone(scene: Scene, **changes: object) -> Scene:
    """The scene with its first sprite only, changed."""
    return replace(scene, sprites=(replace(scene.sprites[0], **changes),))


def shares(difference: np.ndarray) -> float:
    """The x of the middle of what differs, in pixels."""
    weight = np.abs(difference).sum(-1)
    return float((weight * np.arange(weight.shape[1])).sum() / weight.sum())
