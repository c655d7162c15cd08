"""What the ComfyUI registry would publish, and what it says of the pack."""

from __future__ import annotations

import re
import subprocess

import pytest
from PIL import Image

import svd_core
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from tools.comfyui import REPOSITORY

NEEDED = ("__init__.py", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.txt")
NEEDED_FOLDERS = ("nodes", "svd_core", "web/docs", "web/docs/pictures", "locales/en", "locales/zh", "example_workflows")
KEPT_BACK = (
    "tests",
    "tools",
    "checks",
    "training",
    "benchmarks",
    "typings",
    "docs",
    ".ci",
    ".github",
    "mkdocs",
    "noxfile",
)


def git(*arguments: str) -> set[str]:
    answer = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True)
    if answer.returncode:
        pytest.skip("not a git checkout")
    return set(answer.stdout.splitlines())


@pytest.fixture(scope="module")
def published() -> set[str]:
    """The tracked files that no line of .comfyignore (in the syntax of .gitignore) takes out."""
    return git("ls-files") - git("ls-files", "--cached", "--ignored", "--exclude-from=.comfyignore")


def test_all_that_the_nodes_need_is_published(published: set[str]) -> None:
    assert not set(NEEDED) - published
    if DEMO_CHECKPOINT.is_file():  # test_releases.py asks that it is there
        assert DEMO_CHECKPOINT.relative_to(REPOSITORY).as_posix() in published
    for folder in NEEDED_FOLDERS:
        tracked = {name for name in git("ls-files", folder) if "/." not in name}
        assert tracked and tracked <= published, folder


def test_nothing_else_is_published(published: set[str]) -> None:
    assert not [name for name in published if name.startswith(KEPT_BACK)]


@pytest.mark.parametrize(("name", "shape"), [("icon", (1, 1)), ("banner", (21, 9))])
def test_pictures_for_the_registry(name: str, shape: tuple[int, int]) -> None:
    with Image.open(REPOSITORY / "docs" / f"{name}.png") as picture:
        width, height = picture.size
    assert width * shape[1] == height * shape[0]
    assert name != "icon" or width <= 400


def test_the_changelog_knows_the_version() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(\d+\.\d+\.\d+)"', text, re.M)
    assert version, "a version has three numbers"
    assert version[1] == svd_core.__version__
    assert f"## [{version[1]}]" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
