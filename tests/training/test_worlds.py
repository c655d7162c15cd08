"""Worlds: reproducible, inside the picture, and moving as the motion bucket and the frame rate say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.errors import SVDError
from training.worlds.canvas import SKIES
from training.worlds.places import draw_place
from training.worlds.shapes import paint
from training.worlds.sprites import DRAWINGS, Coat
from training.worlds.worlds import (
    LONGEST_TRAVEL,
    NUM_FRAMES,
    PLACES,
    SLOWEST_FPS,
    draw,
    random_world,
    render,
    speed,
    travels,
    world_of,
)

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_sprite_stays_inside_at_the_fastest(seed: int):
    world = world_of(seed)
    for travel in (0.0, LONGEST_TRAVEL):
        drawn = np.abs(draw(world, 64, travel) - draw_place(world.place, 64, travel)).max(-1) > 0.0  # h w
        assert drawn.any() == (world.sprite is not None)
        assert not drawn[[0, -1]].any()
        assert not drawn[:, [0, -1]].any()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_seed_is_a_world(seed: int):
    assert world_of(seed) == world_of(seed)
    assert world_of(seed) != world_of(seed + 1)
    assert np.array_equal(draw(world_of(seed), 32, 0.2), draw(world_of(seed), 32, 0.2))


def test_worlds_are_of_every_kind_and_sky():
    worlds = [world_of(seed) for seed in range(200)]
    assert {world.sprite.kind for world in worlds if world.sprite} == set(PLACES) == set(DRAWINGS)
    assert {world.place.sky for world in worlds} == set(SKIES)
    assert any(world.sprite is None for world in worlds)


@given(SEEDS, st.floats(0.0, 255.0), st.floats(SLOWEST_FPS, 24.0))
@settings(max_examples=20, deadline=None)
def test_the_first_picture_does_not_depend_on_the_speed_and_bucket_0_is_still(seed: int, bucket: float, fps: float):
    world = world_of(seed)
    first = render(world, 32, 2, bucket, fps)[0]
    still = render(world, 32, 3, 0.0, fps)
    assert np.array_equal(first, still[0])
    assert np.array_equal(still, np.repeat(still[:1], 3, axis=0))


def test_speed_is_linear_in_the_bucket_and_travel_falls_with_the_frame_rate():
    assert speed(0.0) == 0.0
    assert speed(127.5) == pytest.approx(speed(255.0) / 2.0)
    assert travels(NUM_FRAMES, 255.0, SLOWEST_FPS)[-1] == pytest.approx(LONGEST_TRAVEL)
    assert travels(NUM_FRAMES, 255.0, 14.0)[-1] == pytest.approx(travels(NUM_FRAMES, 255.0, 7.0)[-1] / 2.0)
    assert 0.20 <= travels(NUM_FRAMES, 127.0, 7.0)[-1] <= 0.30
    assert 0.35 <= travels(NUM_FRAMES, 255.0, 7.0)[-1] <= 0.50


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_sprite_moves_by_the_travel_along_its_heading(seed: int):
    world = world_of(seed)
    if world.sprite is None:
        return
    size = 96
    middles = []
    for travel in (0.0, 0.25):
        change = np.abs(draw(world, size, travel) - draw_place(world.place, size, travel)).max(-1) > 0.2
        middles.append(np.argwhere(change).mean(0)[::-1] / size)
    moved = middles[1] - middles[0]
    assert moved == pytest.approx(0.25 * np.array(world.sprite.direction), abs=0.03)


def test_a_short_travel_leaves_more_places_to_start_from():
    def spread(travel: float) -> float:
        sprites = [random_world(np.random.default_rng(seed), travel).sprite for seed in range(300)]
        return float(np.std([sprite.position[0] for sprite in sprites if sprite and sprite.heading == 0.0]))

    assert spread(0.0) > 3.0 * spread(LONGEST_TRAVEL) > 0.0


@pytest.mark.parametrize("kind", DRAWINGS)
@pytest.mark.parametrize("travel", [0.0, 0.3, 0.7])
def test_a_drawing_lies_within_its_circle(kind: str, travel: float):
    """A sprite may be turned; it then still has no more than its length."""
    middles = np.linspace(-0.75, 0.75, 151, dtype=np.float32)
    u, v = middles[None, :], middles[:, None]
    blank = np.zeros((151, 151, 3), np.float32)
    for layer in DRAWINGS[kind](Coat((1.0, 0.5, 0.2), (0.2, 0.5, 1.0)), u, v, travel):
        paint(layer, blank, 100.0)
    drawn = np.argwhere(blank.any(-1)) / 100.0 - 0.75
    assert len(drawn)
    assert np.abs(drawn).max() <= 0.52
    assert np.hypot(*drawn.T).max() <= 0.56


def test_what_means_nothing_is_refused():
    world = world_of(0)
    for wrong in (
        lambda: world_of(-1),
        lambda: render(world, 8),
        lambda: render(world, 64, 0),
        lambda: render(world, 64, 2, -1.0),
        lambda: render(world, 64, 2, 127.0, 0.0),
    ):
        with pytest.raises(SVDError):
            wrong()
