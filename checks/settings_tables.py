"""The tables of settings in docs/python.md, made from the fields of the settings.

    python -m checks.settings_tables

writes them between the markers of the page; a test holds the page equal.
"""

from __future__ import annotations

import re
from typing import Any

from svd_core.pipeline.given_frames import GivenFrames
from svd_core.pipeline.settings import MADE_FOR, ClipSettings, RunOptions, Setting, describe_settings, join_words
from tools.comfyui import REPOSITORY

PAGE = REPOSITORY / "docs" / "python.md"
MARKERS = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- end of settings -->)", re.S)
HEADINGS = {"": "Python only"}


def write_tables() -> str:
    """All settings in Markdown: a table for each group."""
    groups: dict[str, list[str]] = {}
    for kind in (ClipSettings, GivenFrames, RunOptions):
        for name, (default, setting) in describe_settings(kind).items():
            groups.setdefault(setting.group, []).append(_write_row(name, default, setting))
    tables = []
    for group, rows in groups.items():
        heading = HEADINGS.get(group, group[:1].upper() + group[1:])
        tables.append(
            "\n".join([f"\n**{heading}**\n", "| Argument | Default | Values | Meaning |", "|---|---|---|---|", *rows])
        )
    return "\n".join([*tables, "", ""])


def _write_row(name: str, default: Any, setting: Setting) -> str:
    shown = MADE_FOR if default is None and setting.kind in (int, float) else f"`{default!r}`"
    return f"| `{name}` | {shown} | {_write_values(setting)} | {setting.help} |"


def _write_values(setting: Setting) -> str:
    """The range, in words; empty for any value."""
    if setting.kind is bool:
        return "`True` or `False`"
    if setting.choices:
        return join_words([f'"{name}"' for name in setting.choices])
    return f"{setting.range} {setting.unit}".strip()


def main() -> None:
    PAGE.write_text(MARKERS.sub(lambda _: write_tables(), PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
