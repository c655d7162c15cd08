"""Where the sprites move: a sea, hills, under water, a night sky, a road; and a panorama along which the camera pans.

Each is drawn from a sky and a list of random numbers, at a given travel in widths of the picture: waves run, clouds
drift and bubbles rise with it, so that a place at rest is quite still, and the first picture decides every later one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .canvas import SKIES, Canvas, Sky
from .shapes import Colour, blend, circle, mound, polygon, smooth

NUM_NUMBERS = 32
SKY_BLUE: Colour = (0.10, 0.42, 0.58)
DEEP_BLUE: Colour = (0.03, 0.22, 0.38)
SAND: Colour = (0.86, 0.76, 0.52)
BUBBLE: Colour = (0.85, 0.97, 1.0)
ROCK: Colour = (0.45, 0.45, 0.60)


@dataclass(frozen=True)
class Place:
    """kind: of DRAWINGS; sky: of SKIES; numbers: NUM_NUMBERS of them in [0, 1); facing: 1 where the sprite goes right,
    -1 where it goes left."""

    kind: str
    sky: str
    numbers: tuple[float, ...]
    facing: float = 1.0


class Dice:
    """The random numbers of a place, one after the other."""

    def __init__(self, numbers: tuple[float, ...]) -> None:
        self.numbers: Iterator[float] = iter(numbers)

    def between(self, low: float, high: float) -> float:
        return low + next(self.numbers) * (high - low)

    def point(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float]:
        return self.between(left, right), self.between(top, bottom)

    def phases(self, count: int = 3) -> tuple[float, ...]:
        return tuple(next(self.numbers) for _ in range(count))


def draw_place(place: Place, size: int, travel: float) -> np.ndarray:
    """The picture without its sprite, size size 3 fp32 in [0, 1]."""
    canvas = Canvas(size)
    DRAWINGS[place.kind](canvas, SKIES[place.sky], Dice(place.numbers), travel, place.facing)
    return canvas.picture.clip(0.0, 1.0)


def draw_clouds(canvas: Canvas, sky: Sky, dice: Dice, lowest: float, drift: float) -> None:
    for _ in range(2):
        x, y = dice.point(0.0, 0.09, 1.6, lowest)
        canvas.draw_cloud(sky.cloud, (x + drift, y), dice.between(0.15, 0.22))


def draw_sea(canvas: Canvas, sky: Sky, dice: Dice, travel: float, facing: float) -> None:
    """A far island, and water whose waves run against the boat."""
    horizon = dice.between(0.40, 0.50)
    sun = dice.point(0.15, 0.10, 0.85, 0.30)
    canvas.draw_sky(sky, horizon, sun)
    draw_clouds(canvas, sky, dice, 0.26, -0.12 * travel * facing)
    island = mound(canvas.x, canvas.y, (dice.between(0.1, 0.9), horizon), dice.between(0.18, 0.3), 0.08)
    canvas.add(island, sky.haze)
    below = horizon - canvas.y + 0.0 * canvas.x
    depth = np.clip(-below / (1.0 - horizon), 0.0, 1.0)
    canvas.add(below, blend(sky.low, SKY_BLUE, 0.6))
    canvas.add(below, blend(sky.top, DEEP_BLUE, 0.6), smooth(depth))
    canvas.add(below, sky.sun, 0.45 * np.exp(-(((canvas.x - sun[0]) / (0.05 + 0.12 * depth)) ** 2)) * (1.0 - depth))
    for row in range(4):
        crest = draw_crest(canvas.x, depth, row, dice, travel * facing)
        canvas.add(below, (1.0, 1.0, 1.0), crest)


def draw_crest(x: np.ndarray, depth: np.ndarray, row: int, dice: Dice, travel: float) -> np.ndarray:
    """How white one row of waves is, h w: the nearer it is, the larger and the faster."""
    gone = x + (0.10 + 0.08 * row) * travel
    middle, width = 0.12 + 0.24 * row, 0.035 + 0.02 * row
    swing = 0.25 * width * np.sin(2.0 * math.pi * ((7 - row) * gone + dice.between(0.0, 1.0)))
    height = 1.0 + 0.5 * np.sin(2.0 * math.pi * (2.0 * gone + dice.between(0.0, 1.0)))
    return (0.10 + 0.025 * row) * height * np.exp(-(((depth - middle - swing) / width) ** 2))


def draw_hills(canvas: Canvas, sky: Sky, dice: Dice, travel: float, facing: float) -> None:
    """Three ranges of hills under drifting clouds."""
    canvas.draw_sky(sky, 0.8, dice.point(0.15, 0.12, 0.85, 0.35))
    draw_clouds(canvas, sky, dice, 0.42, 0.2 * travel)
    for number, share in enumerate((0.25, 0.6, 0.92)):
        canvas.draw_ridge(blend(sky.haze, sky.grass, share), 0.70 + 0.11 * number, 0.035, dice.phases())


def draw_under_water(canvas: Canvas, sky: Sky, dice: Dice, travel: float, facing: float) -> None:
    """Beams of light from above, weed that sways on the sand, and bubbles that rise."""
    warm = dice.between(0.0, 1.0)
    top, deep = blend((0.30, 0.80, 0.84), (0.36, 0.62, 0.92), warm), blend((0.02, 0.24, 0.42), (0.05, 0.12, 0.40), warm)
    x, y = canvas.x, canvas.y
    canvas.fill(top, deep, smooth(1.05 * y))
    for _ in range(3):
        beam = np.exp(-(((x + 0.35 * y - dice.between(0.1, 1.2)) / (0.03 + 0.07 * y)) ** 2))
        canvas.tint((1.0, 1.0, 1.0), 0.18 * beam * (1.0 - 0.9 * y))
    canvas.draw_ridge(blend(deep, SAND, 0.4), 0.85, 0.02, dice.phases(2))
    for number in range(4):
        root, height = (number + dice.between(0.2, 0.8)) / 4.0, dice.between(0.14, 0.34)
        up = np.clip((0.94 - y) / height, 0.0, 1.0)
        sway = 0.02 * np.sin(2.0 * math.pi * (1.2 * up + dice.between(0.0, 1.0)) + 5.0 * travel) * up
        blade = np.abs(x - root - sway) - 0.024 * np.sqrt(1.0 - up)
        canvas.add(
            np.maximum(blade, np.abs(y - 0.94 + height / 2.0) - height / 2.0), blend(deep, (0.18, 0.6, 0.35), 0.75)
        )
    canvas.draw_ridge(blend(deep, SAND, 0.85), 0.93, 0.012, dice.phases(2))
    for _ in range(3):
        across, start, radius = dice.between(0.06, 0.94), dice.between(0.0, 1.0), dice.between(0.016, 0.026)
        rim = np.abs(circle(x, y, (across, 1.0 - (start + 0.5 * travel) % 1.0), radius)) - 0.005
        canvas.add(rim, BUBBLE, 0.7)


def draw_night(canvas: Canvas, sky: Sky, dice: Dice, travel: float, facing: float) -> None:
    """Stars, two clouds of light, and a planet with a shadow."""
    cool = dice.between(0.0, 1.0)
    top, low = blend((0.03, 0.04, 0.13), (0.02, 0.06, 0.13), cool), blend((0.14, 0.10, 0.31), (0.06, 0.20, 0.30), cool)
    x, y = canvas.x, canvas.y
    canvas.fill(top, low, smooth(y))
    for colour in ((0.55, 0.25, 0.65), (0.15, 0.45, 0.70)):
        across, down = dice.point(0.0, 0.0, 1.0, 1.0)
        canvas.tint(colour, 0.35 * np.exp(-((np.hypot(x - across, 1.4 * (y - down)) / 0.3) ** 2)))
    for number in range(8):  # one in each part of the sky, so that none is empty
        across, down = dice.point(0.1, 0.1, 0.9, 0.9)
        far = np.hypot(x - (number % 2 + across) / 2.0, y - (number // 2 + down) / 4.0)
        canvas.tint((1.0, 1.0, 1.0), np.exp(-((far / 0.008) ** 2)) + 0.15 * np.exp(-((far / 0.025) ** 2)))
    middle, radius = dice.point(0.12, 0.12, 0.88, 0.88), dice.between(0.07, 0.12)
    planet, bright = circle(x, y, middle, radius), dice.between(0.0, 1.0)
    canvas.add(planet, blend((0.85, 0.55, 0.35), (0.55, 0.70, 0.85), bright))
    band = np.abs(y - middle[1] - 0.3 * radius) - 0.18 * radius
    canvas.add(np.maximum(planet, band), blend((0.95, 0.75, 0.5), (0.8, 0.88, 0.95), bright))
    canvas.add(planet, top, np.clip((x - middle[0] + y - middle[1]) / (1.6 * radius), 0.0, 0.7))


def draw_road(canvas: Canvas, sky: Sky, dice: Dice, travel: float, facing: float) -> None:
    """A road through a meadow with trees, before far hills."""
    canvas.draw_sky(sky, 0.7, dice.point(0.15, 0.12, 0.85, 0.28))
    draw_clouds(canvas, sky, dice, 0.26, 0.15 * travel)
    canvas.draw_ridge(blend(sky.haze, sky.grass, 0.2), 0.52, 0.04, dice.phases())
    canvas.draw_ridge(blend(sky.haze, sky.grass, 0.6), 0.62, 0.02, dice.phases())
    foliage, trunk = blend(sky.grass, (0.05, 0.22, 0.14), 0.45), blend(sky.grass, (0.3, 0.18, 0.1), 0.7)
    for number in range(3):
        root = (number + dice.between(0.2, 0.8)) / 3.0, 0.665
        canvas.draw_tree(foliage, trunk, root, dice.between(0.07, 0.11))
    draw_strip(canvas, 0.66, 1.1, sky.grass)
    draw_strip(canvas, 0.76, 0.95, blend((0.10, 0.10, 0.16), (0.42, 0.42, 0.45), sky.light))
    dash = np.abs((4.0 * canvas.x + dice.between(0.0, 1.0)) % 1.0 - 0.5) / 4.0 - 0.07
    canvas.add(np.maximum(dash, np.abs(canvas.y - 0.915) - 0.011), (0.95, 0.93, 0.85))


def draw_strip(canvas: Canvas, top: float, bottom: float, colour: Colour) -> None:
    canvas.add(np.abs(canvas.y - (top + bottom) / 2.0) - (bottom - top) / 2.0 + 0.0 * canvas.x, colour)


def draw_panorama(canvas: Canvas, sky: Sky, dice: Dice, travel: float, facing: float) -> None:
    """Mountains, hills and trees that pass; what leaves on the left comes in on the right."""
    canvas.draw_sky(sky, 0.75, dice.point(0.15, 0.12, 0.85, 0.30))
    canvas.draw_ridge(blend(sky.haze, ROCK, 0.3), 0.46, 0.075, dice.phases(), 0.5 * travel)
    canvas.draw_ridge(blend(sky.haze, sky.grass, 0.5), 0.66, 0.045, dice.phases(), 0.75 * travel)
    foliage, trunk = blend(sky.grass, (0.05, 0.22, 0.14), 0.45), blend(sky.grass, (0.3, 0.18, 0.1), 0.7)
    for number in range(2):
        start, size = (number + dice.between(0.2, 0.8)) / 2.0, dice.between(0.09, 0.14)
        across = (start - travel + 0.25) % 1.5 - 0.25
        canvas.draw_tree(foliage, trunk, (across, 0.88), size)
    canvas.draw_ridge(sky.grass, 0.85, 0.03, dice.phases(), travel)
    x, y = canvas.x, canvas.y
    canvas.add(polygon(x, y, (-0.1, 1.1), (1.1, 1.1), (1.1, 0.985), (-0.1, 0.985)), blend(sky.grass, DEEP_BLUE, 0.3))


DRAWINGS: dict[str, Callable[[Canvas, Sky, Dice, float, float], None]] = {
    "sea": draw_sea,
    "hills": draw_hills,
    "water": draw_under_water,
    "night": draw_night,
    "road": draw_road,
    "panorama": draw_panorama,
}
