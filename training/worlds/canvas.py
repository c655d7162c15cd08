"""A picture to draw on, with what skies and land are made of: gradients, a sun, clouds and ridges of hills."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .shapes import Colour, Layer, Numbers, Point, blend, circle, paint, smooth

WHITE: Colour = (1.0, 1.0, 1.0)
SUN_RADIUS = 0.075
CLOUD_PERIOD = 1.6  # widths, after which a cloud that drifts out comes in again on the other side
PUFFS = ((-0.55, 0.0, 0.38), (0.0, -0.22, 0.55), (0.5, 0.0, 0.42))  # x, y and radius, in sizes of the cloud


@dataclass(frozen=True)
class Sky:
    """Colours of a time of day. haze: of what is far away; light: on the land, 0 at night and 1 at noon."""

    top: Colour
    low: Colour
    sun: Colour
    haze: Colour
    light: float

    @property
    def cloud(self) -> Colour:
        return blend(self.low, WHITE, 0.6)

    @property
    def grass(self) -> Colour:
        return blend((0.02, 0.10, 0.10), (0.40, 0.65, 0.30), self.light)


SKIES = {
    "noon": Sky((0.25, 0.53, 0.87), (0.72, 0.88, 0.97), (1.0, 0.97, 0.82), (0.55, 0.70, 0.80), 1.0),
    "morning": Sky((0.44, 0.62, 0.86), (0.99, 0.86, 0.72), (1.0, 0.93, 0.72), (0.66, 0.66, 0.76), 0.9),
    "evening": Sky((0.33, 0.27, 0.52), (0.98, 0.58, 0.34), (1.0, 0.84, 0.48), (0.52, 0.36, 0.48), 0.7),
    "dusk": Sky((0.10, 0.13, 0.34), (0.55, 0.38, 0.60), (0.98, 0.90, 0.80), (0.28, 0.26, 0.46), 0.5),
}


class Canvas:
    """A square picture. x: w, y: h 1, the middles of its pixels, in widths."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.x = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.y = self.x[:, None]
        self.picture = np.zeros((size, size, 3), np.float32)

    def add(self, distance: np.ndarray, colour: Colour, opacity: Numbers = 1.0) -> None:
        """Draw a shape whose distances are in widths."""
        paint(Layer(distance, colour, opacity), self.picture, self.size)

    def tint(self, colour: Colour, share: np.ndarray) -> None:
        """Go over to a colour, by pixel."""
        self.picture += share[..., None] * (np.asarray(colour, np.float32) - self.picture)

    def fill(self, top: Colour, low: Colour, share: np.ndarray) -> None:
        """Fill the picture: `top` where share is 0, `low` where it is 1."""
        self.picture[:] = top
        self.tint(low, share * np.ones_like(self.x))

    def draw_sky(self, sky: Sky, horizon: float, sun: Point) -> None:
        """A gradient down to the horizon, and a sun with a glow."""
        self.fill(sky.top, sky.low, smooth(self.y / horizon))
        far = np.hypot(self.x - sun[0], self.y - sun[1])
        self.tint(sky.sun, 0.55 * np.exp(-((far / 0.22) ** 2)))
        self.add(far - SUN_RADIUS, sky.sun)

    def draw_cloud(self, colour: Colour, middle: Point, size: float) -> None:
        """Three soft puffs on a flat base."""
        across = (self.x - middle[0] + CLOUD_PERIOD / 2.0) % CLOUD_PERIOD - CLOUD_PERIOD / 2.0
        down = self.y - middle[1]
        density = np.zeros((self.size, self.size), np.float32)
        for x, y, radius in PUFFS:
            puff = np.hypot(across / size - x, 1.25 * (down / size - y)) / radius
            density = np.maximum(density, smooth(1.6 * (1.0 - puff)))
        self.tint(colour, 0.85 * density * smooth(4.0 * (0.3 - down / size)))

    def draw_ridge(
        self, colour: Colour, height: float, roughness: float, phases: tuple[float, ...], gone: float = 0.0
    ) -> None:
        """Land below a ridge of three sinusoids that repeats after a width. gone: how far it has moved to the left."""
        ridge = np.full_like(self.x, height)
        for octave, phase in enumerate(phases, start=1):
            ridge += roughness / octave * np.sin(2.0 * math.pi * (octave * (self.x + gone) + phase))
        above = ridge - self.y
        self.add(above, colour)
        self.add(above, WHITE, 0.08 * np.clip(1.0 + above / 0.25, 0.0, 1.0))  # its upper part lies in the light

    def draw_tree(self, foliage: Colour, trunk: Colour, root: Point, size: float) -> None:
        """A trunk under three round crowns."""
        x, y = root
        self.add(np.maximum(np.abs(self.x - x) - 0.012, np.abs(self.y - y + 0.6 * size) - 0.6 * size), trunk)
        for across, up, radius in ((0.0, 1.5, 0.62), (-0.4, 1.1, 0.5), (0.4, 1.1, 0.5)):
            self.add(circle(self.x, self.y, (x + across * size, y - up * size), radius * size), foliage)
