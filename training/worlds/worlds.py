"""Worlds that show where they will go: the clips that the next bundled model is to be trained and judged on.

A sprite goes the way it faces; in a panorama the camera turns to the right. How fast is told by the motion bucket and
the frame rate alone, so that nothing about a clip is left to chance once its first picture is seen:

    travel per frame = FASTEST · (motion_bucket_id / 255) / fps     (in widths of the picture)

Lengths and positions are fractions of the picture's width, so one world can be drawn at any size. Pictures are square.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from svd_core.errors import SVDError

from .canvas import SKIES
from .places import NUM_NUMBERS, Place, draw_place
from .shapes import Colour, paint
from .sprites import DRAWINGS, Coat

NUM_FRAMES = 14
SLOWEST_FPS, FASTEST_FPS = 6.0, 24.0  # the frame rates of training
MAX_BUCKET = 255.0
LONGEST_TRAVEL = 0.54  # over a clip, in widths: the top bucket at the slowest frame rate
FASTEST = LONGEST_TRAVEL * SLOWEST_FPS / (NUM_FRAMES - 1)  # widths per second in the top bucket

SIZES = (0.34, 0.41)  # of a sprite
MARGIN = 0.02  # kept between sprite and edge of the picture
PLACES = {"boat": "sea", "balloon": "hills", "fish": "water", "rocket": "night", "car": "road"}
PANORAMA_SHARE = 0.14  # of the worlds; the others have a sprite
HUES = {  # that stand out in the sprite's place, in turns of the colour circle
    "boat": (-0.10, 0.16),
    "balloon": (-0.15, 0.20),
    "fish": (-0.12, 0.17),
    "rocket": (-0.15, 0.60),
    "car": (-0.15, 0.15),
}


@dataclass(frozen=True)
class Sprite:
    """kind: of PLACES. size: its length, in widths. position: x, y of its middle in the first picture. heading: where
    it goes, in radians from the x axis towards the y axis, which points down."""

    kind: str
    coat: Coat
    size: float
    position: tuple[float, float]
    heading: float

    @property
    def direction(self) -> tuple[float, float]:
        """The unit vector x, y of its heading."""
        return math.cos(self.heading), math.sin(self.heading)


@dataclass(frozen=True)
class World:
    """The definition of a clip, except its motion bucket, frame rate and size. sprite: None in a panorama."""

    place: Place
    sprite: Sprite | None


def speed(motion_bucket_id: float) -> float:
    """Picture widths per second: linear, 0 in bucket 0, FASTEST in bucket 255. Raises SVDError for a negative one."""
    if not motion_bucket_id >= 0.0:
        raise SVDError(f"The motion bucket is {motion_bucket_id:g} and speeds start at 0; use 0 to 255.")
    return FASTEST * motion_bucket_id / MAX_BUCKET


def travels(num_frames: int, motion_bucket_id: float, fps: float) -> np.ndarray:
    """How far the world has come in each frame, t, in widths. Raises SVDError for a rate that is not above 0."""
    if not fps > 0.0:
        raise SVDError(f"The frame rate is {fps:g} and must be above 0; use {SLOWEST_FPS:g} to {FASTEST_FPS:g}.")
    return np.arange(num_frames) * speed(motion_bucket_id) / fps


def world_of(seed: int) -> World:
    """The world of a seed, with room for the longest travel."""
    if seed < 0:
        raise SVDError(f"The seed of a world is {seed} and cannot be negative; use 0 or more.")
    return random_world(np.random.default_rng(seed))


def random_world(rng: np.random.Generator, travel: float = LONGEST_TRAVEL) -> World:
    """A world whose sprite stays inside the picture over `travel`."""
    sky = str(rng.choice(list(SKIES)))
    numbers = tuple(float(number) for number in rng.random(NUM_NUMBERS))
    facing = 1.0 if rng.random() < 0.5 else -1.0
    if rng.random() < PANORAMA_SHARE:
        return World(Place("panorama", sky, numbers), None)
    kind = str(rng.choice(list(PLACES)))
    return World(Place(PLACES[kind], sky, numbers, facing), _random_sprite(rng, kind, facing, travel))


def render(
    world: World, size: int = 128, num_frames: int = NUM_FRAMES, motion_bucket_id: float = 127.0, fps: float = 7.0
) -> np.ndarray:
    """The clip, t size size 3 fp32 in [0, 1]. Raises SVDError for no frames, fewer than 16 pixels, and wrong speeds."""
    if num_frames < 1 or size < 16:
        raise SVDError(f"A world of {num_frames} frames of {size} pixels cannot be drawn; use at least 1 of 16.")
    return np.stack([draw(world, size, travel) for travel in travels(num_frames, motion_bucket_id, fps)])


def draw(world: World, size: int, travel: float) -> np.ndarray:
    """One picture, size size 3 fp32 in [0, 1], after a travel in widths."""
    picture = draw_place(world.place, size, travel)
    sprite = world.sprite
    if sprite is None:
        return picture
    (x, y), (along_x, along_y) = sprite.position, sprite.direction
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = (middles - x - travel * along_x) / sprite.size  # w
    down = (middles[:, None] - y - travel * along_y) / sprite.size  # h 1
    if sprite.kind == "rocket":
        u, v = along_x * across + along_y * down, along_x * down - along_y * across
    else:
        u, v = across * (world.place.facing if sprite.kind != "balloon" else 1.0), down
    for layer in DRAWINGS[sprite.kind](sprite.coat, u, v, travel / sprite.size):
        paint(layer, picture, sprite.size * size)
    return picture


def _random_sprite(rng: np.random.Generator, kind: str, facing: float, travel: float) -> Sprite:
    size = float(rng.uniform(*SIZES))
    heading = _random_heading(rng, kind, facing)
    x, y = (_random_start(rng, size, travel * way) for way in (math.cos(heading), math.sin(heading)))
    if kind == "boat":
        y = float(rng.uniform(0.54, 0.64))
    elif kind == "car":
        y = 0.85 - 0.3 * size  # its wheels stand on the road
    return Sprite(kind, _random_coat(rng, kind), size, (x, y), heading)


def _random_heading(rng: np.random.Generator, kind: str, facing: float) -> float:
    if kind == "balloon":
        return -math.pi / 2.0
    if kind == "rocket":
        return -math.pi / 2.0 + float(rng.uniform(-0.5, 0.5))
    return 0.0 if facing > 0.0 else math.pi


def _random_start(rng: np.random.Generator, size: float, travel: float) -> float:
    """A coordinate from which a sprite can travel that far and stay inside."""
    keep = size / 2.0 + MARGIN
    return float(rng.uniform(keep - min(travel, 0.0), 1.0 - keep - max(travel, 0.0)))


def _random_coat(rng: np.random.Generator, kind: str) -> Coat:
    low, high = HUES[kind]
    place = rng.random()
    hue = low + place * (high - low)
    other = low + (place + rng.uniform(0.35, 0.65)) % 1.0 * (high - low)
    return Coat(
        _colour(hue, rng.uniform(0.7, 0.92), rng.uniform(0.86, 0.98)),
        _colour(other, rng.uniform(0.6, 0.9), rng.uniform(0.55, 0.9)),
    )


def _colour(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
