"""Loss curves as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

SMOOTHING = 0.9


def draw_curves(title: str, history: Sequence[Mapping[str, float]], path: Path) -> None:
    """One panel for each quantity of the history, over the steps; the smoothed curve over the raw one."""
    names = [name for name in history[0] if name != "step"] if history else []
    figure = Figure(figsize=(6.4, 2.0 * max(len(names), 1)), layout="constrained")
    steps = [point["step"] for point in history]
    for row, name in enumerate(names):
        values = np.array([point[name] for point in history])
        axes = figure.add_subplot(len(names), 1, row + 1)
        axes.plot(steps, values, color="#c8d4e8")
        axes.plot(steps, smooth(values), color="#1f4e9c")
        low, high = np.quantile(values, [0.02, 0.98])
        axes.set_title(f"{title}: {name}  {low:.4g} to {high:.4g}, last {values[-1]:.4g}", fontsize="medium")
        if low < high:
            axes.set_ylim(low, high)
    figure.savefig(path)


def smooth(values: np.ndarray) -> np.ndarray:
    """An exponential average, corrected for its start as Adam corrects its moments."""
    smoothed = np.empty_like(values)
    average = 0.0
    for index, value in enumerate(values):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        smoothed[index] = average / (1 - SMOOTHING ** (index + 1))
    return smoothed
