"""The things that move: a boat, a balloon, a fish, a rocket and a car, of a few flat shapes each.

A drawing has axes of its own, in lengths of the sprite: u points forwards and v down, and all of it lies within 0.5 of
the middle. `travel` is how far the sprite has come, in its lengths: wheels turn, tails beat and flames flicker with it,
so that a sprite at rest is quite still, and the first picture decides every later one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .shapes import Colour, Layer, blend, box, circle, lens, polygon, stroke

WHITE: Colour = (0.97, 0.96, 0.93)
BLACK: Colour = (0.0, 0.0, 0.0)
DARK: Colour = (0.13, 0.13, 0.17)
WOOD: Colour = (0.42, 0.24, 0.13)
GLASS: Colour = (0.66, 0.87, 0.96)
STEEL: Colour = (0.72, 0.74, 0.78)
FLAME: Colour = (1.0, 0.55, 0.12)
LIGHT: Colour = (1.0, 0.92, 0.55)
RED: Colour = (0.85, 0.12, 0.1)


@dataclass(frozen=True)
class Coat:
    """The two colours of a sprite, RGB in [0, 1]."""

    colour: Colour
    accent: Colour


def draw_boat(coat: Coat, u: np.ndarray, v: np.ndarray, travel: float) -> Iterator[Layer]:
    """A hull, a mast with two sails, and a pennant that flies."""
    yield Layer(stroke(u, v, (-0.02, -0.46), (-0.02, 0.24), 0.03), WOOD)
    sail = polygon(u, v, (-0.05, -0.42), (-0.05, 0.17), (-0.40, 0.17))
    yield Layer(sail, coat.colour)
    yield Layer(np.maximum(sail, np.abs(v - 0.025) - 0.045), blend(coat.colour, BLACK, 0.35))
    yield Layer(polygon(u, v, (0.02, -0.36), (0.36, 0.17), (0.02, 0.17)), WHITE)
    tip = -0.44 + 0.012 * math.sin(10.0 * travel)
    yield Layer(polygon(u, v, (-0.03, -0.48), (-0.03, -0.40), (-0.17, tip)), coat.accent)
    hull = polygon(u, v, (-0.46, 0.22), (0.49, 0.22), (0.34, 0.42), (-0.36, 0.42))
    yield Layer(hull, coat.accent)
    yield Layer(np.maximum(hull, v - 0.27), WHITE)


def draw_balloon(coat: Coat, u: np.ndarray, v: np.ndarray, travel: float) -> Iterator[Layer]:
    """A striped envelope, ropes and a basket; it is always upright."""
    for side in (-1.0, 1.0):
        yield Layer(stroke(u, v, (0.17 * side, 0.12), (0.06 * side, 0.36), 0.016), DARK)
    radius, middle = 0.36, -0.14
    cone = polygon(u, v, (-0.31, 0.0), (0.31, 0.0), (0.09, 0.27), (-0.09, 0.27))
    envelope = np.minimum(circle(u, v, (0.0, middle), radius), cone)
    yield Layer(envelope, coat.colour)
    dome = np.sqrt(np.clip(1.0 - ((v - middle) / radius) ** 2, 0.0, 1.0))
    narrow = np.where(v < middle, dome, np.clip(1.0 - 1.9 * (v - middle - 0.05), 0.25, 1.0))
    for side in (-1.0, 1.0):
        yield Layer(np.maximum(envelope, np.abs(u - 0.18 * side * narrow) - 0.07 * narrow), coat.accent)
    yield Layer(envelope, WHITE, np.clip(0.35 - 1.75 * np.hypot(u + 0.12, v + 0.26), 0.0, 1.0))
    yield Layer(box(u, v, (-0.09, 0.25), (0.09, 0.285), 0.01), blend(coat.accent, BLACK, 0.4))
    yield Layer(box(u, v, (-0.085, 0.36), (0.085, 0.49), 0.02), WOOD)
    yield Layer(box(u, v, (-0.095, 0.35), (0.095, 0.385), 0.01), blend(WOOD, WHITE, 0.35))


def draw_fish(coat: Coat, u: np.ndarray, v: np.ndarray, travel: float) -> Iterator[Layer]:
    """A striped body with fins and an eye; the tail beats."""
    beat = 0.06 * math.sin(9.0 * travel)
    bent = v - beat * np.clip((-0.1 - u) / 0.4, 0.0, 1.0)
    for side in (-1.0, 1.0):
        yield Layer(polygon(u, bent, (-0.22, 0.0), (-0.45, 0.2 * side), (-0.37, 0.0)), coat.accent)
    fin = blend(coat.accent, BLACK, 0.15)
    yield Layer(lens(u, v, (0.0, -0.21), 0.22, 0.11), fin)
    yield Layer(lens(u, v, (-0.02, 0.2), 0.13, 0.08), fin)
    body = lens(u, bent, (0.08, 0.0), 0.4, 0.245)
    yield Layer(body, coat.colour)
    yield Layer(body, WHITE, np.clip((v - 0.04) * 4.0, 0.0, 0.45))
    for place in (-0.1, 0.1):
        yield Layer(np.maximum(body, np.abs(u - place + 0.5 * v * v) - 0.035), WHITE)
    yield Layer(lens(u, v, (0.06, 0.08), 0.11, 0.05), coat.accent)
    yield Layer(circle(u, v, (0.3, -0.05), 0.06), WHITE)
    yield Layer(circle(u, v, (0.315, -0.05), 0.035), DARK)


def draw_rocket(coat: Coat, u: np.ndarray, v: np.ndarray, travel: float) -> Iterator[Layer]:
    """A hull with a coloured nose, fins and a window, on a flame that flickers."""
    flicker = 1.0 + 0.15 * math.sin(16.0 * travel)
    yield Layer(lens(u, v, (-0.30, 0.0), 0.17 * flicker, 0.085), FLAME)
    yield Layer(lens(u, v, (-0.28, 0.0), 0.11 * flicker, 0.05), LIGHT)
    yield Layer(polygon(u, np.abs(v), (-0.02, 0.08), (-0.18, 0.21), (-0.34, 0.24), (-0.24, 0.08)), coat.accent)
    hull = np.maximum(lens(u, v, (0.08, 0.0), 0.41, 0.155), -0.24 - u)
    yield Layer(hull, WHITE)
    yield Layer(hull, (0.55, 0.6, 0.72), np.clip((v - 0.02) * 5.0, 0.0, 0.55))
    yield Layer(np.maximum(hull, 0.27 - u), coat.colour)
    yield Layer(np.maximum(hull, u + 0.19), blend(coat.colour, BLACK, 0.25))
    yield Layer(circle(u, v, (0.12, 0.0), 0.085), coat.colour)
    yield Layer(circle(u, v, (0.12, 0.0), 0.058), GLASS)


def draw_car(coat: Coat, u: np.ndarray, v: np.ndarray, travel: float) -> Iterator[Layer]:
    """A body with a cabin, windows and lights, on wheels that turn."""
    yield Layer(polygon(u, v, (-0.20, -0.22), (0.10, -0.22), (0.24, 0.02), (-0.30, 0.02)), coat.accent)
    yield Layer(polygon(u, v, (-0.17, -0.17), (-0.05, -0.17), (-0.05, -0.01), (-0.235, -0.01)), GLASS)
    yield Layer(polygon(u, v, (-0.01, -0.17), (0.08, -0.17), (0.17, -0.01), (-0.01, -0.01)), GLASS)
    yield Layer(box(u, v, (-0.47, 0.0), (0.47, 0.20), 0.07), coat.colour)
    yield Layer(box(u, v, (-0.47, 0.13), (0.47, 0.20), 0.03), blend(coat.colour, BLACK, 0.35))
    yield Layer(circle(u, v, (0.43, 0.07), 0.035), LIGHT)
    yield Layer(box(u, v, (-0.47, 0.04), (-0.43, 0.11), 0.01), RED)
    radius = 0.115
    for middle in ((-0.27, 0.2), (0.27, 0.2)):
        wheel = circle(u, v, middle, radius)
        yield Layer(wheel, DARK)
        yield Layer(wheel + 0.05, STEEL)
        angle = np.arctan2(v - middle[1], u - middle[0]) - travel / radius
        yield Layer(np.maximum(wheel + 0.055, 0.06 * (0.7 - np.abs(np.cos(2.0 * angle)))), DARK)


DRAWINGS: dict[str, Callable[[Coat, np.ndarray, np.ndarray, float], Iterator[Layer]]] = {
    "boat": draw_boat,
    "balloon": draw_balloon,
    "fish": draw_fish,
    "rocket": draw_rocket,
    "car": draw_car,
}
