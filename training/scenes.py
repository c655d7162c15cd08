"""Scenes that show where they will go: the clips the demo model is trained and judged on. NumPy only.

One or two sprites glide over a soft background, each the way its nose points. How fast they go is told by the motion
bucket and the frame rate alone, so that nothing about a clip is left to chance once its first picture is seen:

    travel per frame = FASTEST · (motion_bucket_id / 255) / fps     (in widths of the picture)

Lengths and positions in a scene are fractions of the picture's width, so one scene can be drawn at any size. Pictures
are square. x points right, y down.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from svd_core.errors import SVDError

from .sprites import KINDS, Colour, Sprite, paint

NUM_FRAMES = 14
SLOWEST_FPS, FASTEST_FPS = 6.0, 24.0  # the frame rates of training
MAX_BUCKET = 255.0
LONGEST_TRAVEL = 1.0 / 3.0  # of a sprite over a clip, in widths: the top bucket at the slowest frame rate
FASTEST = LONGEST_TRAVEL * SLOWEST_FPS / (NUM_FRAMES - 1)  # widths per second in the top bucket

EVALUATION_SEED = 2**31  # the first of the seeds that checkpoints are judged by
EXAMPLE_SEED = EVALUATION_SEED + 1053  # of the picture that the example workflow animates

SIZES = (0.26, 0.34)  # of a sprite alone: 25 to 33 pixels of 96
PAIR_SIZES = (0.21, 0.26)
PAIR_SHARE = 0.2
GAP = 0.04  # kept between two sprites on their way
MARGIN = 0.015  # kept between sprite and edge of the picture
MIN_CONTRAST = 0.55  # RGB distance between a sprite's colours and the background


@dataclass(frozen=True)
class Wave:
    """One sinusoid of the texture. frequency: periods per width along x, y; phase: radians; height: its RGB swing."""

    frequency: tuple[float, float]
    phase: float
    height: Colour


@dataclass(frozen=True)
class Background:
    """A gradient from `start` to `end` along `angle` (radians from x towards y), with a gentle texture over it."""

    start: Colour
    end: Colour
    angle: float
    waves: tuple[Wave, ...] = ()


@dataclass(frozen=True)
class Scene:
    """The definition of a clip, except its motion bucket, frame rate and size."""

    background: Background
    sprites: tuple[Sprite, ...]


def speed(motion_bucket_id: float) -> float:
    """Speed of every sprite, in picture widths per second: linear, 0 in bucket 0, FASTEST in bucket 255.

    Raises SVDError for a negative bucket.
    """
    if not motion_bucket_id >= 0.0:
        raise SVDError(f"The motion bucket is {motion_bucket_id:g} and speeds start at 0; use 0 to 255.")
    return FASTEST * motion_bucket_id / MAX_BUCKET


def step(motion_bucket_id: float, fps: float) -> float:
    """The travel of every sprite from one frame to the next, in widths. Raises SVDError for a rate that is not > 0."""
    if not fps > 0.0:
        raise SVDError(f"The frame rate is {fps:g} and must be above 0; use {SLOWEST_FPS:g} to {FASTEST_FPS:g}.")
    return speed(motion_bucket_id) / fps


def scene_of(seed: int) -> Scene:
    """The scene of a seed. Training draws its scenes from streams of several numbers, never from a seed alone."""
    if seed < 0:
        raise SVDError(f"The seed of a scene is {seed} and cannot be negative; use 0 or more.")
    return random_scene(np.random.default_rng(seed))


def evaluation_seeds(count: int = 32) -> range:
    """Seeds that training never uses."""
    return range(EVALUATION_SEED, EVALUATION_SEED + count)


def random_motion(rng: np.random.Generator) -> tuple[float, float]:
    """A motion bucket and a frame rate to train on.

    One clip in ten stands still, so that bucket 0 is well known; the rate is spread evenly over its logarithm, so that
    the travel per frame is too.
    """
    bucket = 0.0 if rng.random() < 0.1 else float(rng.integers(1, int(MAX_BUCKET) + 1))
    fps = math.exp(rng.uniform(math.log(SLOWEST_FPS), math.log(FASTEST_FPS)))
    return bucket, float(round(fps))


def random_scene(rng: np.random.Generator) -> Scene:
    """One sprite or two that stay inside the picture, and apart, over the longest travel."""
    dark = bool(rng.random() < 0.6)
    background = _random_background(rng, dark)
    first = _random_sprite(rng, background, dark, SIZES)
    if rng.random() >= PAIR_SHARE:
        return Scene(background, (first,))
    while True:
        pair = (
            _random_sprite(rng, background, dark, PAIR_SIZES),
            _random_sprite(rng, background, dark, PAIR_SIZES),
        )
        if closest_approach(*pair) >= (pair[0].size + pair[1].size) / 2.0 + GAP:
            return Scene(background, pair)


def closest_approach(a: Sprite, b: Sprite) -> float:
    """The least distance between the middles of two sprites over the longest travel, in widths."""
    apart = np.subtract(a.position, b.position)
    change = np.subtract(a.direction, b.direction)  # per width travelled; both go equally fast
    when = -(apart @ change) / max(float(change @ change), 1e-12)
    return float(np.linalg.norm(apart + np.clip(when, 0.0, LONGEST_TRAVEL) * change))


def positions(
    scene: Scene, num_frames: int = NUM_FRAMES, motion_bucket_id: float = 127.0, fps: float = 7.0, first: float = 0.0
) -> np.ndarray:
    """Centres of the sprites: s t 2 (x, y), in widths from the top left corner. See `render`."""
    travel = step(motion_bucket_id, fps) * (first + np.arange(num_frames))  # t
    starts = np.array([sprite.position for sprite in scene.sprites])  # s 2
    directions = np.array([sprite.direction for sprite in scene.sprites])
    return starts[:, None] + travel[:, None] * directions[:, None]


def render(
    scene: Scene,
    size: int = 96,
    num_frames: int = NUM_FRAMES,
    motion_bucket_id: float = 127.0,
    fps: float = 7.0,
    *,
    first: float = 0.0,
) -> np.ndarray:
    """The clip, t size size 3 fp32 in [0, 1].

    first: the index of the frame to begin with; fractions are fine. Raises SVDError for no frames, a size below 16
    pixels, and a speed that means nothing.
    """
    if num_frames < 1 or size < 16:
        raise SVDError(f"A scene of {num_frames} frames of {size} pixels cannot be drawn; use at least 1 of 16.")
    clip = np.repeat(render_background(scene.background, size)[None], num_frames, axis=0)  # t h w 3
    for sprite, middles in zip(scene.sprites, positions(scene, num_frames, motion_bucket_id, fps, first), strict=True):
        _draw(sprite, clip, middles * size)
    return clip


def render_batch(
    scenes: Sequence[Scene],
    size: int = 96,
    num_frames: int = NUM_FRAMES,
    motion_bucket_ids: Sequence[float] | float = 127.0,
    fps: Sequence[float] | float = 7.0,
    *,
    first: Sequence[float] | float = 0.0,
) -> np.ndarray:
    """The clips of several scenes, b t size size 3 fp32 in [0, 1]; numbers are for all scenes or one for each."""
    each = [np.broadcast_to(np.asarray(number, float), len(scenes)) for number in (motion_bucket_ids, fps, first)]
    clips = [render(s, size, num_frames, m, f, first=i) for s, m, f, i in zip(scenes, *each, strict=True)]
    return np.stack(clips) if clips else np.empty((0, num_frames, size, size, 3), np.float32)


def render_background(background: Background, size: int) -> np.ndarray:
    """The picture without its sprites, size size 3 fp32 in [0, 1]."""
    x = (np.arange(size, dtype=np.float32) + 0.5) / size
    y = x[:, None]
    along = (x - 0.5) * math.cos(background.angle) + (y - 0.5) * math.sin(
        background.angle
    )  # h w, at most 0.71 each way
    share = (along / math.sqrt(2.0) + 0.5)[..., None]
    start, end = (np.asarray(colour, np.float32) for colour in (background.start, background.end))
    picture = start + share * (end - start)
    for wave in background.waves:
        angle = 2.0 * math.pi * (wave.frequency[0] * x + wave.frequency[1] * y) + wave.phase
        picture += np.sin(angle)[..., None] * np.asarray(wave.height, np.float32)
    return picture.clip(0.0, 1.0)


def _draw(sprite: Sprite, clip: np.ndarray, middles: np.ndarray) -> None:
    """Paints the sprite into t h w 3, only where it is. middles: t 2, in pixels."""
    size = clip.shape[1]
    length = sprite.size * size
    side = min(math.ceil(length) + 3, size)
    corners = np.clip(np.rint(middles - side / 2.0), 0, size - side).astype(int)  # t 2
    windows = np.stack([clip[t, y : y + side, x : x + side] for t, (x, y) in enumerate(corners)])  # t side side 3
    offsets = (corners - middles)[..., None] + np.arange(side) + 0.5  # t 2 side
    x, y = offsets.astype(np.float32).transpose(1, 0, 2)
    paint(sprite, windows, x[:, None, :], y[:, :, None], length)
    for t, (left, top) in enumerate(corners):
        clip[t, top : top + side, left : left + side] = windows[t]


def _random_sprite(rng: np.random.Generator, background: Background, dark: bool, sizes: tuple[float, float]) -> Sprite:
    kind = KINDS[rng.integers(len(KINDS))]
    colour, accent = _random_colours(rng, background, dark)
    size = float(rng.uniform(*sizes))
    heading = float(rng.uniform(-math.pi, math.pi))
    x, y = (_random_start(rng, size, LONGEST_TRAVEL * way) for way in (math.cos(heading), math.sin(heading)))
    return Sprite(kind, colour, accent, size, (x, y), heading)


def _random_start(rng: np.random.Generator, size: float, travel: float) -> float:
    """A coordinate from which a sprite can travel that far and stay inside."""
    keep = size / 2.0 + MARGIN
    return float(rng.uniform(keep - min(travel, 0.0), 1.0 - keep - max(travel, 0.0)))


def _random_background(rng: np.random.Generator, dark: bool) -> Background:
    hue = rng.random()
    saturations, values = ((0.35, 0.75), (0.1, 0.34)) if dark else ((0.1, 0.32), (0.84, 0.98))
    start, end = (
        _colour(hue + shift, rng.uniform(*saturations), rng.uniform(*values))
        for shift in (0.0, rng.uniform(-0.15, 0.15))
    )
    waves = tuple(
        Wave(
            frequency=(float(rng.uniform(-2.5, 2.5)), float(rng.uniform(-2.5, 2.5))),
            phase=float(rng.uniform(0.0, 2.0 * math.pi)),
            height=_rgb(rng.uniform(0.0, 0.022, 3)),
        )
        for _ in range(3)
    )
    return Background(start, end, float(rng.uniform(-math.pi, math.pi)), waves)


def _random_colours(rng: np.random.Generator, background: Background, dark: bool) -> tuple[Colour, Colour]:
    """A sprite's colour and accent: bright on the dark, deep on the light, and unlike each other."""
    saturations, values = ((0.5, 0.95), (0.88, 1.0)) if dark else ((0.75, 1.0), (0.45, 0.85))
    while True:
        hue = rng.random()
        colour = _colour(hue, rng.uniform(*saturations), rng.uniform(*values))
        accent = _colour(hue + rng.uniform(0.25, 0.75), rng.uniform(*saturations), rng.uniform(*values))
        apart = [_contrast(a, b) for a in (colour, accent) for b in (background.start, background.end)]
        if min(apart) >= MIN_CONTRAST and _contrast(colour, accent) >= 0.4:
            return colour, accent


def _contrast(a: Colour, b: Colour) -> float:
    return math.dist(a, b)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def _rgb(numbers: np.ndarray) -> Colour:
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue
