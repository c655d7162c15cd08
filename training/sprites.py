"""The sprites of the demo scenes: a few flat shapes each, drawn from signed distances.

A sprite has its own axes: u runs from tail to nose, v to its right, both in units of its length, so that it reaches
from u = -0.5 to 0.5 and nowhere leaves the circle of radius 0.5. A distance is negative inside its shape. Edges are
one pixel wide ramps of the distance, which is what makes motion by a fraction of a pixel visible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

Kind = Literal["comet", "rocket", "fish", "arrow"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Colour = tuple[float, float, float]

WHITE: Colour = (0.98, 0.98, 0.96)
DARK: Colour = (0.07, 0.07, 0.12)
FLAME: Colour = (1.0, 0.52, 0.08)
GLASS: Colour = (0.62, 0.88, 1.0)


@dataclass(frozen=True)
class Sprite:
    """One sprite of a scene.

    colour, accent: RGB in [0, 1]. size: its length as a fraction of the picture's width. position: x, y of its middle
    in the first picture, in widths from the top left corner. heading: where its nose points and it travels, in radians
    from the x axis towards the y axis, which points down: clockwise on the screen.
    """

    kind: Kind
    colour: Colour
    accent: Colour
    size: float
    position: tuple[float, float]
    heading: float

    @property
    def direction(self) -> tuple[float, float]:
        """The unit vector x, y of its heading."""
        return math.cos(self.heading), math.sin(self.heading)


class Layer(NamedTuple):
    """A flat shape. distance: to its edge, t h w, in lengths of the sprite; opacity: 0 to 1, all over or by pixel."""

    distance: np.ndarray
    colour: Colour
    opacity: np.ndarray | float = 1.0


def paint(sprite: Sprite, pixels: np.ndarray, x: np.ndarray, y: np.ndarray, length: float) -> None:
    """Draws the sprite over `pixels`, in place.

    pixels: t h w 3 in [0, 1]; x, y: offsets of the pixels' middles from the sprite's, in pixels, broadcasting to t h w;
    length: of the sprite, in pixels.
    """
    cosine, sine = (component / length for component in sprite.direction)
    u, v = cosine * x + sine * y, cosine * y - sine * x  # t h w
    for layer in DRAWINGS[sprite.kind](sprite, u, v):
        cover = np.clip(0.5 - layer.distance * length, 0.0, 1.0) * layer.opacity
        pixels += cover[..., None] * (np.asarray(layer.colour, pixels.dtype) - pixels)


def _comet(sprite: Sprite, u: np.ndarray, v: np.ndarray) -> Iterator[Layer]:
    """A round bright head in front of a tail that thins and fades."""
    head, radius, tip, thickness = 0.27, 0.21, -0.5, 0.03
    narrowing = (radius - thickness) / (head - tip)
    side = _beyond(u, np.abs(v), (-narrowing, math.sqrt(1.0 - narrowing**2)), through=(head, radius))
    tail = np.maximum(np.maximum(side, u - head), tip - u)
    yield Layer(tail, sprite.colour, np.clip(0.2 + 1.2 * (u - tip), 0.0, 0.9))
    yield Layer(_circle(u, v, head, 0.0, radius), sprite.colour)
    yield Layer(_circle(u, v, head, 0.0, 0.13), sprite.accent)


def _rocket(sprite: Sprite, u: np.ndarray, v: np.ndarray) -> Iterator[Layer]:
    """A hull with a coloured nose, two fins and a window, above a flame."""
    wide = np.abs(v)
    yield Layer(_lens(u, v, -0.32, 0.18, 0.09), FLAME)
    fin = np.maximum(
        _beyond(u, wide, (0.62, 0.78), through=(0.05, 0.13)),
        _beyond(u, wide, (-0.94, 0.34), through=(-0.28, 0.12)),
    )
    yield Layer(fin, sprite.accent)
    hull = np.maximum(_lens(u, v, 0.04, 0.46, 0.185), -0.3 - u)
    yield Layer(hull, sprite.colour)
    yield Layer(np.maximum(hull, 0.21 - u), sprite.accent)
    yield Layer(_circle(u, v, 0.06, 0.0, 0.105), DARK)
    yield Layer(_circle(u, v, 0.06, 0.0, 0.07), GLASS)


def _fish(sprite: Sprite, u: np.ndarray, v: np.ndarray) -> Iterator[Layer]:
    """A body with tail, back fin and eye, always the right way up."""
    v = v if sprite.direction[0] >= 0.0 else -v
    wide = np.abs(v)
    tail = np.maximum(
        _beyond(u, wide, (0.6, 0.8), through=(-0.08, 0.0)),
        _beyond(u, wide, (-0.98, -0.2), through=(-0.36, 0.0)),
    )
    yield Layer(tail, sprite.accent)
    yield Layer(_lens(u, v + 0.15, 0.0, 0.2, 0.14), sprite.accent)
    yield Layer(_lens(u, v, 0.12, 0.38, 0.22), sprite.colour)
    yield Layer(_circle(u, v, 0.27, -0.04, 0.085), WHITE)
    yield Layer(_circle(u, v, 0.29, -0.04, 0.05), DARK)


def _arrow(sprite: Sprite, u: np.ndarray, v: np.ndarray) -> Iterator[Layer]:
    """A shaft and a head, rimmed."""
    wide = np.abs(v)
    shaft = np.maximum(np.maximum(-0.48 - u, u - 0.1), wide - 0.13)
    head = np.maximum(-0.02 - u, _beyond(u, wide, (0.6, 0.8), through=(0.5, 0.0)))
    shape = np.minimum(shaft, head)
    yield Layer(shape, sprite.accent)
    yield Layer(shape + 0.055, sprite.colour)


DRAWINGS: dict[Kind, Callable[[Sprite, np.ndarray, np.ndarray], Iterator[Layer]]] = {
    "comet": _comet,
    "rocket": _rocket,
    "fish": _fish,
    "arrow": _arrow,
}


def _circle(u: np.ndarray, v: np.ndarray, centre_u: float, centre_v: float, radius: float) -> np.ndarray:
    return np.sqrt((u - centre_u) ** 2 + (v - centre_v) ** 2) - radius


def _lens(u: np.ndarray, v: np.ndarray, centre: float, half_length: float, half_width: float) -> np.ndarray:
    """Pointed along u: what two circles share, their centres on either side of it."""
    radius = (half_length**2 + half_width**2) / (2.0 * half_width)
    return np.sqrt((u - centre) ** 2 + (np.abs(v) + (radius - half_width)) ** 2) - radius


def _beyond(u: np.ndarray, v: np.ndarray, normal: tuple[float, float], through: tuple[float, float]) -> np.ndarray:
    """Positive on the side of a straight line that its normal, of about unit length, points to."""
    return normal[0] * (u - through[0]) + normal[1] * (v - through[1])
