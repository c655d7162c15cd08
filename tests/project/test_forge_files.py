"""What is written down for the forge and for pre-commit, held to where it comes from."""

from __future__ import annotations

import re

import yaml

from tools.comfyui import DEFAULT_VERSION, REPOSITORY, SDISTS

PROJECT = (REPOSITORY / "pyproject.toml").read_text("utf-8")
WORKFLOW = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "tests.yml").read_text("utf-8"))


def test_the_host_is_tested_in_every_version_that_can_be_had() -> None:
    assert WORKFLOW["jobs"]["host"]["strategy"]["matrix"]["comfyui"] == list(SDISTS)
    assert list(SDISTS)[-1] == DEFAULT_VERSION
    page = (REPOSITORY / "docs" / "development.md").read_text("utf-8")
    assert re.findall(r"^\| (\d+\.\d+\.\d+) \|", page, re.M) == list(SDISTS)


def test_the_oldest_comfyui_is_the_one_that_users_are_told() -> None:
    oldest = next(iter(SDISTS))
    assert f"ComfyUI {oldest} or newer" in (REPOSITORY / "README.md").read_text("utf-8")
    assert f'requires-comfyui = ">={oldest}"' in PROJECT
    assert f'OLDEST_COMFYUI = "{oldest}"' in (REPOSITORY / "__init__.py").read_text("utf-8")


def test_the_core_is_tested_from_the_oldest_python() -> None:
    matrix = WORKFLOW["jobs"]["core"]["strategy"]["matrix"]
    assert f'requires-python = ">={matrix["python"][0]}"' in PROJECT
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_hooks_take_the_versions_of_the_project() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    wanted = {package for hook in hooks for package in hook["additional_dependencies"]} - {"nox"}
    assert len(wanted) == 2 and all(f'"{package}"' in PROJECT for package in wanted)
