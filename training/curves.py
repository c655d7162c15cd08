"""Loss curves as a picture, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 640, 200, 30
SMOOTHING = 0.9


def draw_curves(title: str, history: Sequence[Mapping[str, float]], path: Path) -> None:
    """One panel for each quantity in the history, over the steps; the smoothed curve over the raw one."""
    names = [name for name in history[0] if name != "step"] if history else []
    picture = Image.new("RGB", (WIDTH, max(HEIGHT * len(names), HEIGHT)), "white")
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(names):
        values = np.array([point[name] for point in history])
        steps = np.array([point["step"] for point in history])
        low, high = float(np.quantile(values, 0.02)), float(np.quantile(values, 0.98))
        top = row * HEIGHT
        draw.text((MARGIN, top + 8), f"{title}: {name}  {low:.4g} to {high:.4g}, last {values[-1]:.4g}", fill="black")
        for series, colour in ((values, "#c8d4e8"), (_smooth(values), "#1f4e9c")):
            draw.line(_points(steps, series, low, high, top), fill=colour, width=2)
    picture.save(path)


def _smooth(values: np.ndarray) -> np.ndarray:
    """An exponential average, corrected for its start as Adam corrects its moments."""
    smoothed = np.empty_like(values)
    average = 0.0
    for index, value in enumerate(values):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        smoothed[index] = average / (1 - SMOOTHING ** (index + 1))
    return smoothed


def _points(steps: np.ndarray, values: np.ndarray, low: float, high: float, top: int) -> list[tuple[float, float]]:
    x = MARGIN + (steps - steps[0]) / max(steps[-1] - steps[0], 1) * (WIDTH - 2 * MARGIN)
    share = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    y = top + HEIGHT - 10 - share * (HEIGHT - MARGIN - 10)
    return list(zip(x.tolist(), y.tolist(), strict=True))
