"""The registry's own tool packs what the nodes need, and has nothing to say against the pack's description."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import svd_core
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from tools.comfyui import CACHE, REPOSITORY

COMFY_CLI = "comfy-cli==1.23.0"
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
def comfy_cli() -> Path:
    """Folder of the registry's tool, of which most is a copy of ffmpeg: kept apart, downloaded once."""
    folder = CACHE / COMFY_CLI.replace("==", "-")
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="download-") as temporary:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", f"{temporary}/all", COMFY_CLI]
            subprocess.run(command, check=True)
            Path(temporary, "all").rename(folder)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files as they are now, in a repository of their own, which the tool asks for them."""
    folder = tmp_path_factory.mktemp("registry") / "svd-nodes"
    for name in sorted(git("ls-files")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    for arguments in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return folder


def run_tool(comfy_cli: Path, checkout: Path, command: str) -> str:
    """Output of `comfy node COMMAND`, with settings of its own and without a network."""
    offline = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **offline, "PYTHONPATH": str(comfy_cli), "HOME": str(checkout.parent)}
    options = ["--skip-prompt", "--no-enable-telemetry", "node", command]
    done = subprocess.run(
        [sys.executable, "-m", "comfy_cli", *options], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def published(comfy_cli: Path, checkout: Path) -> set[str]:
    """The files that the tool packs for the registry."""
    run_tool(comfy_cli, checkout, "pack")
    with zipfile.ZipFile(checkout / "node.zip") as archive:
        return set(archive.namelist())


def test_the_registry_accepts_the_description(comfy_cli: Path, checkout: Path) -> None:
    said = run_tool(comfy_cli, checkout, "validate")
    assert "All validation checks passed" in said
    assert not re.search("warning|error|invalid", said, re.IGNORECASE), said


def test_the_registry_says_what_it_does_not_accept(comfy_cli: Path, checkout: Path, tmp_path: Path) -> None:
    """It passes a version of two numbers all the same, and then publishes none."""
    text = (checkout / "pyproject.toml").read_text("utf-8")
    wrong = re.sub(r'requires-comfyui = ".*"', 'requires-comfyui = ">=0.18"', text)
    (tmp_path / "pyproject.toml").write_text(wrong, "utf-8")
    assert "Invalid requires-comfyui format" in run_tool(comfy_cli, tmp_path, "validate")


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
