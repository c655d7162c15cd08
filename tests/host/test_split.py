"""The memory choice in the host: no patch, no residual and no offloading makes it show in the result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import random_checkpoint

LIMIT = 5e-6
AFTER_SAMPLING = 5e-5  # what the steps make of that in every evaluation


@pytest.fixture(scope="module")
def report(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    checkpoint = random_checkpoint(tmp_path_factory.mktemp("split") / "small.safetensors")
    script = Path(__file__).with_name("split_process.py")
    command = [sys.executable, str(script), str(comfyui), str(checkpoint)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def test_split_evaluation_is_the_whole_one_under_every_patch(report: dict[str, Any]) -> None:
    errors = {name: error for name, error in report.items() if name.startswith("split, ")}
    assert len(errors) == 10
    assert all(0 <= error <= LIMIT for error in errors.values()), errors


def test_running_out_of_memory_leaves_the_result_as_it_is(report: dict[str, Any]) -> None:
    assert report["out of memory"] <= LIMIT
    assert report["attempts"] >= 2


def test_patches_on_norms_reach_the_split_ones(report: dict[str, Any]) -> None:
    assert report["norm patch effect"] > 0.01
    assert report["norm patch split"] <= LIMIT
    assert report["norm patch split and offloaded"] <= LIMIT


def test_memory_choice_of_the_sampler_leaves_the_clip_as_it_is(report: dict[str, Any]) -> None:
    assert report["sampled, smallest"] <= AFTER_SAMPLING
    assert report["sampled, automatic"] <= AFTER_SAMPLING
    assert report["sampled, left out"] == report["sampled, automatic"]
    assert report["options untouched"]


def test_gradients_are_not_split_away(report: dict[str, Any]) -> None:
    assert report["gradients"]


def test_memory_the_host_is_asked_for_grows_with_the_frames(report: dict[str, Any]) -> None:
    figures = report["memory required"]
    assert figures == sorted(figures) and figures[0] > 0
