"""Results as pictures, with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image, ImageDraw

COLOURS = ("#1f4e9c", "#c0392b", "#7f8c8d", "#d68910")
KIND_COLOURS = ("#1f4e9c", "#5b8bd0", "#c0392b", "#e59866", "#229954", "#8e44ad", "#b2babb")
GRID, LEFT, PANEL = "#e4e8ee", 60, (330, 220)
BAR, GAP, LABELS = 14, 16, 170

Row = dict[str, Any]


def draw_times(rows: Sequence[Row], implementations: Sequence[str]) -> Image.Image:
    """A group of bars for each case and stage: time relative to the first implementation, its seconds beside it."""
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["stage"]), {})[row["implementation"]] = row
    present = [name for name in implementations if any(name in group for group in groups.values())]
    height = 40 + sum(len(group) * BAR + GAP for group in groups.values())
    picture = Image.new("RGB", (760, height), "white")
    pen = ImageDraw.Draw(picture)
    for index, name in enumerate(present):
        pen.rectangle((LABELS + 140 * index, 12, LABELS + 140 * index + 10, 22), fill=COLOURS[index])
        pen.text((LABELS + 140 * index + 16, 17), name, fill="black", anchor="lm")
    y, longest = 36, max(max(_relative(group, present)) for group in groups.values())
    for (case, stage), group in groups.items():
        pen.text((8, y + BAR // 2), f"{case}: {stage}", fill="black", anchor="lm")
        for index, name in enumerate(present):
            if name not in group:
                continue
            seconds = group[name]["seconds"]["median"]
            ratio = seconds / group[present[0]]["seconds"]["median"]
            end = LABELS + 470 * ratio / longest
            pen.rectangle((LABELS, y, end, y + BAR - 3), fill=COLOURS[index])
            pen.text((end + 6, y + BAR // 2 - 1), f"{ratio:.2f}  ({seconds:.3g} s)", fill="black", anchor="lm")
            y += BAR
        y += GAP
    return picture


def draw_kinds(rows: Sequence[Row]) -> Image.Image:
    """Seconds by kind of layer, stacked, one bar for each row that has them."""
    rows = [row for row in rows if row.get("kinds")]
    kinds = list(rows[0]["kinds"])
    picture = Image.new("RGB", (760, 60 + 24 * len(rows)), "white")
    pen = ImageDraw.Draw(picture)
    for index, kind in enumerate(kinds):
        x, y = 12 + 180 * (index % 4), 12 + 18 * (index // 4)
        pen.rectangle((x, y, x + 10, y + 10), fill=KIND_COLOURS[index])
        pen.text((x + 16, y + 5), kind, fill="black", anchor="lm")
    for number, row in enumerate(rows):
        y = 56 + 24 * number
        pen.text((8, y + 8), f"{row['case']}: {row['stage']}, {row['implementation']}", fill="black", anchor="lm")
        longest = max(sum(r["kinds"].values()) for r in rows if (r["case"], r["stage"]) == (row["case"], row["stage"]))
        x = 270.0
        for index, seconds in enumerate(row["kinds"].values()):
            end = x + 470 * seconds / longest
            pen.rectangle((x, y, end, y + 15), fill=KIND_COLOURS[index])
            x = end
    return picture


def draw_growth(growth: dict[str, list[Row]]) -> Image.Image:
    """Time and peak memory over frames and over pixels, on logarithmic axes; grey: the growth that is expected."""
    panels = [(over, value) for over in ("frames", "sizes") for value in ("seconds", "peak_bytes")]
    picture = Image.new("RGB", (2 * (PANEL[0] + LEFT) + 20, 2 * (PANEL[1] + 60)), "white")
    pen = ImageDraw.Draw(picture)
    for index, (over, value) in enumerate(panels):
        origin = (LEFT + (PANEL[0] + LEFT) * (index % 2), 30 + (PANEL[1] + 60) * (index // 2))
        _draw_panel(pen, origin, growth[over], over, value)
    return picture


def _draw_panel(pen: ImageDraw.ImageDraw, origin: tuple[int, int], rows: list[Row], over: str, value: str) -> None:
    expected_of = {"seconds": "flops", "peak_bytes": "planned_bytes"}[value]
    x_of = {"frames": "num_frames", "sizes": "side"}[over]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    lines = {}
    for stage in stages:
        some = [row for row in rows if row["stage"] == stage]
        scale = some[0][value] / some[0][expected_of]
        lines[stage] = (
            [(row[x_of], row[value]) for row in some],
            [(row[x_of], scale * row[expected_of]) for row in some],
        )
    points = [point for both in lines.values() for line in both for point in line]
    axes = [(math.log(min(each)), math.log(max(each))) for each in zip(*points, strict=True)]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        (left, right), (low, high) = axes
        x = (math.log(point[0]) - left) / (right - left)
        y = (math.log(point[1]) - low) / (high - low)
        return origin[0] + x * (PANEL[0] - 30), origin[1] + (1 - y) * PANEL[1]

    title = {"seconds": "seconds", "peak_bytes": "peak memory, MB"}[value]
    unit = 1e6 if value == "peak_bytes" else 1
    label = {"frames": "frames of 96x96", "sizes": "pixels of a side, 14 frames"}[over]
    pen.text((origin[0], origin[1] - 18), f"{title} over {label}", fill="black")
    for x in sorted({x for x, _ in points}):
        across = place((x, points[0][1]))[0]
        pen.line([(across, origin[1]), (across, origin[1] + PANEL[1])], fill=GRID)
        pen.text((across, origin[1] + PANEL[1] + 10), f"{x:g}", fill="black", anchor="mm")
    for y in _round_values(*(math.exp(bound) for bound in axes[1])):
        down = place((points[0][0], y))[1]
        pen.line([(origin[0], down), (origin[0] + PANEL[0] - 30, down)], fill=GRID)
        pen.text((origin[0] - 6, down), f"{y / unit:g}", fill="black", anchor="rm")
    for index, (stage, (measured, expected)) in enumerate(lines.items()):
        pen.line([place(point) for point in expected], fill="#b2babb", width=5)
        pen.line([place(point) for point in measured], fill=COLOURS[index], width=2)
        pen.text((place(measured[-1])[0] - 8, place(measured[-1])[1] + 8), stage, fill=COLOURS[index], anchor="ra")


def _round_values(low: float, high: float) -> Iterable[float]:
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (digit * 10.0**power for digit in (1, 3) if low <= digit * 10.0**power <= high)


def _relative(group: dict[str, Row], names: Sequence[str]) -> list[float]:
    first = group[names[0]]["seconds"]["median"]
    return [row["seconds"]["median"] / first for row in group.values()]
