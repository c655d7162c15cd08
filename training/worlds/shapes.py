"""Flat shapes from signed distances: negative inside, positive outside, in the units of the coordinates.

Edges are painted as ramps one pixel wide, which is what makes motion by a fraction of a pixel visible. x points right,
y down.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Colour = tuple[float, float, float]
Point = tuple[float, float]
Numbers = float | np.ndarray


class Layer(NamedTuple):
    """A flat shape. distance: to its edge, h w; colour: RGB in [0, 1]; opacity: 0 to 1, all over or by pixel."""

    distance: np.ndarray
    colour: Colour
    opacity: Numbers = 1.0


def paint(layer: Layer, picture: np.ndarray, pixels_per_unit: float) -> None:
    """Draw a layer over a picture, h w 3 in [0, 1], in place."""
    cover = np.clip(0.5 - layer.distance * pixels_per_unit, 0.0, 1.0) * layer.opacity
    picture += cover[..., None] * (np.asarray(layer.colour, picture.dtype) - picture)


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """`a` where share is 0, `b` where it is 1."""
    red, green, blue = (one + share * (other - one) for one, other in zip(a, b, strict=True))
    return red, green, blue


def circle(x: np.ndarray, y: np.ndarray, middle: Point, radius: float) -> np.ndarray:
    return np.hypot(x - middle[0], y - middle[1]) - radius


def lens(x: np.ndarray, y: np.ndarray, middle: Point, half_length: float, half_width: float) -> np.ndarray:
    """Pointed along x: what two circles share, their middles above and below it."""
    radius = (half_length**2 + half_width**2) / (2.0 * half_width)
    return np.hypot(x - middle[0], np.abs(y - middle[1]) + (radius - half_width)) - radius


def mound(x: np.ndarray, y: np.ndarray, middle: Point, half_length: float, height: float) -> np.ndarray:
    """The top of a circle that shows above its foot."""
    radius = (half_length**2 + height**2) / (2.0 * height)
    return circle(x, y, (middle[0], middle[1] + radius - height), radius)


def polygon(x: np.ndarray, y: np.ndarray, *corners: Point) -> np.ndarray:
    """A convex polygon; its corners go round either way."""
    edges = list(zip(corners, (*corners[1:], corners[0]), strict=True))
    turn = math.copysign(1.0, sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in edges))
    distance = np.full(np.broadcast(x, y).shape, -np.inf, np.float32)
    for (x0, y0), (x1, y1) in edges:
        length = turn * math.hypot(x1 - x0, y1 - y0)
        distance = np.maximum(distance, ((y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)) / length)
    return distance


def box(x: np.ndarray, y: np.ndarray, corner: Point, opposite: Point, radius: float = 0.0) -> np.ndarray:
    """A rectangle with round corners."""
    (left, top), (right, bottom) = corner, opposite
    across = np.abs(x - (left + right) / 2.0) - (right - left) / 2.0 + radius
    down = np.abs(y - (top + bottom) / 2.0) - (bottom - top) / 2.0 + radius
    outside = np.hypot(np.maximum(across, 0.0), np.maximum(down, 0.0))
    return outside + np.minimum(np.maximum(across, down), 0.0) - radius


def stroke(x: np.ndarray, y: np.ndarray, start: Point, end: Point, width: float) -> np.ndarray:
    """A line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.hypot(x - start[0] - along * dx, y - start[1] - along * dy) - width / 2.0


def smooth(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, without corners between them."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)
