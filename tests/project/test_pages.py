"""What the pages name exists: files, modules, commands and their options. Links are checked by mkdocs, in lint."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from svd_core.cli import animate, convert, demo, inspect, show
from svd_core.cli.main import main
from tools.comfyui import REPOSITORY

PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)
OURS = "benchmarks|checks|docs|examples|example_workflows|locales|nodes|svd_core|tests|tools|training|web"
COMMANDS = sorted({line.partition("  ")[0] for line in re.findall(r"^ {4}svd-nodes (.+)$", TEXT, re.M)})


def test_files_that_pages_name_exist() -> None:
    named = set(re.findall(rf"`((?:{OURS})/[\w./]*)`", TEXT)) - {"benchmarks/results/"}
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_modules_that_pages_run_exist() -> None:
    modules = set(re.findall(rf"python -m ((?:{OURS})[\w.]*)", TEXT))
    files = [REPOSITORY / Path(*module.split(".")) for module in modules]
    assert len(files) > 8
    assert [
        file for file in files if not file.with_suffix(".py").exists() and not (file / "__main__.py").exists()
    ] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_command_lines_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (animate, convert, demo, inspect, show):
        monkeypatch.setattr(module, "run", lambda _: 42)
    assert main(shlex.split(command)) == 42


def test_command_lines_are_found() -> None:
    assert len(COMMANDS) >= 8


def test_names_on_the_way_of_a_setting_are_in_the_code() -> None:
    page = (REPOSITORY / "docs" / "development.md").read_text("utf-8")
    way = page[page.index("## The way of a setting") : page.index("## The bundled model")]
    named = {name for code in re.findall(r"`([A-Za-z_.]+)`", way) for name in code.split(".")}
    sources = [
        path.read_text("utf-8") for folder in ("svd_core", "nodes") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    words = set(re.findall(r"\w+", "\n".join(sources)))
    assert len(named) > 15
    assert named - words == set()
