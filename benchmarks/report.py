"""Results as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def table(results: dict[str, Any], implementations: Sequence[str]) -> str:
    """Markdown: one line for each case and stage, medians in seconds, and how many times as long the others take."""
    rows: list[Row] = results["rows"]
    names = [name for name in implementations if any(row["implementation"] == name for row in rows)]
    first = names[0]
    lines = [
        f"| | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["title"], row["stage"]), {})[row["implementation"]] = row
    for (title, stage), group in groups.items():
        cells = [_cell(group.get(name), group.get(first)) for name in names]
        lines.append(f"| {title}: {stage} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _setting(results), ""])


def _cell(row: Row | None, first: Row | None) -> str:
    if row is None:
        return ""
    seconds = row["seconds"]["median"]
    cell = f"{seconds:.3g} s"
    if first is not None and row is not first:
        cell += f" ({seconds / first['seconds']['median']:.2f}x)"
    if "of_matrix_rate" in row:
        cell += f", {row['of_matrix_rate']:.0%}"
    return cell


def _setting(results: dict[str, Any]) -> str:
    hardware, versions = results["hardware"], results["versions"]
    where = hardware["gpu"] or f"{hardware['cpu']}, {hardware['threads']} threads"
    packages = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    return (
        f"Medians, interleaved; percentages are of the rate of a square matrix product measured between the runs. "
        f"{where}; {results['dtype'].removeprefix('torch.')}; {packages}."
    )
