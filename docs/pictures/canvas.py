"""A small drawing surface for diagrams: antialiased, in the colours of ComfyUI's page, with Pillow's own font."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]

BACKGROUND, PANEL, LINE, TEXT, QUIET = "#1f2126", "#2d3038", "#5b606b", "#f1f2f4", "#a3a8b3"
ACCENT, WARM, GREEN, RED = "#5fb3ff", "#ffb454", "#77d08a", "#ff7b72"
SOCKETS = {"MODEL": "#b39ddb", "CLIP_VISION": "#a8dadc", "VAE": "#ff6e6e"}  # as the page paints them
SCALE = 2  # drawn so much larger, then reduced
COLOURS = 128  # of a saved diagram


class Canvas:
    def __init__(self, width: int, height: int, background: str = BACKGROUND) -> None:
        self.size = (width, height)
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), background)
        self.draw = ImageDraw.Draw(self.image)

    def box(
        self, corner: Point, size: Point, fill: str | None = PANEL, line: str | None = LINE, radius: float = 8
    ) -> None:
        x, y = corner
        edges = [x * SCALE, y * SCALE, (x + size[0]) * SCALE, (y + size[1]) * SCALE]
        self.draw.rounded_rectangle(edges, radius * SCALE, fill, line, 2 * SCALE if line else 0)

    def text(self, at: Point, words: str, size: float = 18, colour: str = TEXT, anchor: str = "mm") -> None:
        font = ImageFont.load_default(size * SCALE)
        self.draw.text((at[0] * SCALE, at[1] * SCALE), words, colour, font, anchor)

    def line(self, points: Sequence[Point], colour: str = LINE, width: float = 3) -> None:
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self.draw.line(scaled, colour, round(width * SCALE), joint="curve")

    def dot(self, at: Point, radius: float, colour: str) -> None:
        self.draw.circle((at[0] * SCALE, at[1] * SCALE), radius * SCALE, colour)

    def arrow(self, start: Point, end: Point, colour: str = QUIET, width: float = 3) -> None:
        (x0, y0), (x1, y1), head = start, end, 4 + 2 * width
        length = math.hypot(x1 - x0, y1 - y0)
        dx, dy = head * (x1 - x0) / length, head * (y1 - y0) / length
        self.line([start, (x1 - dx, y1 - dy)], colour, width)
        sides = [(x1 - dx - 0.6 * sign * dy, y1 - dy + 0.6 * sign * dx) for sign in (1, -1)]
        self.polygon([end, *sides], colour)

    def polygon(self, corners: Sequence[Point], fill: str) -> None:
        self.draw.polygon([(x * SCALE, y * SCALE) for x, y in corners], fill)

    def picture(self, picture: Image.Image, corner: Point, size: Point, line: str = LINE) -> None:
        """Paste a picture, stretched to `size`, in a thin frame."""
        scaled = picture.convert("RGB").resize(
            (round(size[0] * SCALE), round(size[1] * SCALE)), Image.Resampling.LANCZOS
        )
        self.image.paste(scaled, (round(corner[0] * SCALE), round(corner[1] * SCALE)))
        self.box(corner, size, fill=None, line=line, radius=2)

    def reduced(self) -> Image.Image:
        return self.image.resize(self.size, Image.Resampling.LANCZOS)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        few = self.reduced().quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
        few.save(path, optimize=True)
