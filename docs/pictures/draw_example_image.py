"""Draw the picture the example workflow animates, and the workflow's thumbnail. Ours from the first pixel.

python docs/pictures/draw_example_image.py example_workflows
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]

WIDTH, HEIGHT = 1024, 576
HORIZON = 0.62  # share of the height above the water
SUN = (0.70, 0.40)  # x, y as shares of width and height
SUPERSAMPLING = 2


def colour(hexadecimal: str) -> Array:
    return np.array([int(hexadecimal[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def mix(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def gradient(position: Array, stops: list[tuple[float, str]]) -> Array:
    """Colours along `position` (h w), smooth between the stops."""
    places = [place for place, _ in stops]
    colours = np.stack([colour(name) for _, name in stops])
    return np.stack([np.interp(position, places, colours[:, channel]) for channel in range(3)], axis=-1)


def sky(x: Array, y: Array) -> Array:
    picture = gradient(y / HORIZON, [(0, "3d6fa8"), (0.45, "8fb6d2"), (0.8, "f6cfa4"), (1, "f3a878")])
    distance = np.hypot((x - SUN[0]) * WIDTH / HEIGHT, y - SUN[1])
    picture = mix(picture, colour("ffe2b0"), 0.75 * np.exp(-distance / 0.16))
    picture = mix(picture, colour("fff8e6"), 1 - (distance - 0.055) * 300)
    for height, base, name in ((0.055, 0.3, "9a8fa6"), (0.035, 1.7, "7d7f9b")):  # two ranges of distant hills
        ridge = HORIZON - height * (0.6 + 0.3 * np.sin(7 * x + base) + 0.2 * np.sin(17 * x + 2 * base))
        picture = mix(picture, colour(name), (y - ridge) * 600)
    return picture


def clouds(x: Array, y: Array) -> Array:
    """Opacity of a few soft, flat clouds."""
    puffs = [(0.16, 0.17, 0.15), (0.25, 0.14, 0.10), (0.33, 0.18, 0.12), (0.86, 0.12, 0.11), (0.93, 0.145, 0.09)]
    density = sum(np.exp(-(((x - cx) / size) ** 2) - ((y - cy) / (0.28 * size)) ** 2) for cx, cy, size in puffs)
    return 0.8 * np.clip(np.asarray(density) - 0.25, 0, 1)


def water(x: Array, y: Array) -> Array:
    depth = np.clip((y - HORIZON) / (1 - HORIZON), 0, 1)
    picture = gradient(depth, [(0, "e2a987"), (0.15, "7f9fb5"), (0.55, "3b6f97"), (1, "1f4a70")])
    phase = 26 / (depth + 0.06)  # waves crowd towards the horizon
    waves = np.sin(phase * 3 + 9 * x + 2 * np.sin(11 * x)) + 0.6 * np.sin(phase * 5 - 23 * x)
    picture = mix(picture, colour("bcd3dd"), 0.12 * np.clip(waves, 0, 2) * np.sqrt(depth))
    path = np.exp(-(((x - SUN[0]) / (0.03 + 0.10 * depth)) ** 2))
    return mix(picture, colour("ffe3b3"), path * (0.35 + 0.3 * waves) * (1 - 0.5 * depth))


def polygon(x: Array, y: Array, corners: list[tuple[float, float]], bend: float = 0.0) -> Array:
    """Mask of a convex polygon (corners clockwise); `bend` bows its edges outwards, like a sail in the wind."""
    inside = np.ones_like(x, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
        side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        inside &= side > -bend * along * (1 - along)
    return inside.astype(float)


def boat(picture: Array, x: Array, y: Array) -> Array:
    reflection = np.exp(-(((x - 0.36) / 0.085) ** 2)) * (y > 0.735) * np.exp(-(y - 0.735) / 0.10)
    picture = mix(picture, colour("17324d"), 0.45 * reflection)
    picture = mix(picture, colour("fbf4e6"), polygon(x, y, [(0.365, 0.245), (0.462, 0.655), (0.365, 0.672)], 0.006))
    picture = mix(picture, colour("e4573d"), polygon(x, y, [(0.352, 0.300), (0.352, 0.665), (0.268, 0.655)], 0.005))
    picture = mix(
        picture, colour("5b3b26"), polygon(x, y, [(0.3565, 0.225), (0.3605, 0.225), (0.3605, 0.70), (0.3565, 0.70)])
    )
    picture = mix(picture, colour("8c2f2b"), polygon(x, y, [(0.357, 0.222), (0.390, 0.238), (0.357, 0.252)]))
    hull = [(0.245, 0.688), (0.488, 0.688), (0.440, 0.752), (0.285, 0.752)]
    picture = mix(picture, colour("7a4a2b"), polygon(x, y, hull, 0.0006))
    return mix(
        picture, colour("f2e8d8"), polygon(x, y, [(0.245, 0.688), (0.488, 0.688), (0.481, 0.698), (0.251, 0.698)])
    )


def draw(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    rows = (np.arange(height * SUPERSAMPLING) + 0.5) / (height * SUPERSAMPLING)
    columns = (np.arange(width * SUPERSAMPLING) + 0.5) / (width * SUPERSAMPLING)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    above = mix(sky(x, y), colour("fdf0e2"), clouds(x, y) * (y < HORIZON))
    picture = boat(mix(above, water(x, y), (y > HORIZON).astype(float)), x, y)
    picture = picture.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
    return Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))


def save(folder: Path) -> None:
    picture = draw()
    picture.save(folder / "sailing_boat.png", optimize=True)
    picture.resize((640, 360), Image.Resampling.LANCZOS).save(
        folder / "image_to_video_xt.jpg", quality=88, optimize=True
    )


if __name__ == "__main__":
    save(Path(sys.argv[1]))
