"""Charts of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot, which keeps figures in a global list

Row = dict[str, Any]
GREY = "#b2babb"
ROW_INCHES = 0.28
MEASURES = {  # key of a row: the key that says how it should grow, the axis' title, its unit
    "seconds": ("flops", "seconds", 1.0),
    "peak_bytes": ("planned_bytes", "peak memory, MB", 1e6),
}
GROWTHS = {"frames": ("num_frames", "frames of 96x96"), "sizes": ("side", "pixels of a side, 14 frames")}


def draw_times(rows: Sequence[Row], implementations: Sequence[str]) -> Figure:
    """Bars for each case and stage: time relative to the first implementation, labelled with seconds."""
    figure, axes = make_bars(len(rows))
    present = [name for name in implementations if any(row["implementation"] == name for row in rows)]
    stages = list(dict.fromkeys((row["case"], row["stage"]) for row in rows))
    seconds = {(row["case"], row["stage"], row["implementation"]): row["seconds"]["median"] for row in rows}
    height = 0.8 / len(present)
    for index, name in enumerate(present):
        places = [place for place, stage in enumerate(stages) if (*stage, name) in seconds]
        taken = [seconds[(*stages[place], name)] for place in places]
        ratios = [time / seconds[(*stages[place], present[0])] for place, time in zip(places, taken, strict=True)]
        bars = axes.barh([place + height * index for place in places], ratios, height, label=name)
        labels = [f"{ratio:.2f}  ({time:.3g} s)" for ratio, time in zip(ratios, taken, strict=True)]
        axes.bar_label(bars, labels, padding=3)
    axes.set_yticks([place + height * (len(present) - 1) / 2 for place in range(len(stages))])
    axes.set_yticklabels([f"{case}: {stage}" for case, stage in stages])
    axes.set_xlabel(f"time, {present[0]} = 1")
    axes.margins(x=0.15)
    figure.legend(loc="outside upper left", ncols=len(present), frameon=False)
    return figure


def draw_kinds(rows: Sequence[Row]) -> Figure:
    """Share of each kind of layer in the time of one implementation, relative to the slowest of its stage."""
    rows = [row for row in rows if row.get("kinds")]
    figure, axes = make_bars(len(rows))
    totals = [sum(row["kinds"].values()) for row in rows]
    stages = [(row["case"], row["stage"]) for row in rows]
    slowest = {stage: max(t for t, other in zip(totals, stages, strict=True) if other == stage) for stage in stages}
    left = [0.0] * len(rows)
    for kind in rows[0]["kinds"]:
        widths = [row["kinds"][kind] / slowest[stage] for row, stage in zip(rows, stages, strict=True)]
        axes.barh(range(len(rows)), widths, left=left, label=kind)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [f"{row['case']}: {row['stage']}, {row['implementation']}" for row in rows])
    axes.set_xlabel("time, slowest of the stage = 1")
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    return figure


def make_bars(count: int) -> tuple[Figure, Axes]:
    """Room for horizontal bars, the first one on top."""
    figure = Figure(figsize=(9.0, 1.5 + ROW_INCHES * count), layout="constrained")
    axes = figure.subplots()
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_growth(growth: dict[str, list[Row]]) -> Figure:
    """Time and peak memory over frames and over pixels, on logarithmic axes; grey: the expected growth."""
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    panels = figure.subplots(len(GROWTHS), len(MEASURES))
    for (over, (size, label)), line in zip(GROWTHS.items(), panels, strict=True):
        for (measure, (expected, title, unit)), axes in zip(MEASURES.items(), line, strict=True):
            for stage in dict.fromkeys(row["stage"] for row in growth[over]):
                rows = [row for row in growth[over] if row["stage"] == stage]
                sizes = [row[size] for row in rows]
                scale = rows[0][measure] / rows[0][expected] / unit
                axes.plot(sizes, [scale * row[expected] for row in rows], color=GREY, linewidth=5)
                axes.plot(sizes, [row[measure] / unit for row in rows], marker=".", label=stage)
            ticks = sorted({row[size] for row in growth[over]})
            axes.set(xscale="log", yscale="log", xlabel=label, title=title)
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
    return figure
