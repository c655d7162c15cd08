"""The speeds of SVD Sampler: what each leaves out in the host, and that a run leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import random_checkpoint

STEPS, GUIDED = 10, 4  # of the noise levels of ten steps, those that "balanced" guides at
ROUNDING = 5e-5


@pytest.fixture(scope="module")
def report(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    checkpoint = random_checkpoint(tmp_path_factory.mktemp("speed") / "small.safetensors")
    script = Path(__file__).with_name("speed_process.py")
    command = [sys.executable, str(script), str(comfyui), str(checkpoint)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def test_left_out_it_is_exact(report: dict[str, Any]) -> None:
    assert report["exact"]["error"] == 0
    assert report["exact"]["branches"] == 2 * STEPS
    assert report["exact"]["deep"] == report["exact"]["evaluations"]


def test_balanced_guides_at_some_steps_only(report: dict[str, Any]) -> None:
    assert report["balanced"]["branches"] == STEPS + GUIDED
    assert report["balanced"]["deep"] == report["balanced"]["evaluations"]
    assert report["balanced"]["error"] > 0


def test_fastest_runs_the_deep_blocks_less_often(report: dict[str, Any]) -> None:
    assert report["fastest"]["branches"] == STEPS + GUIDED
    assert 0 < report["fastest"]["deep"] < report["fastest"]["evaluations"]
    assert report["fastest"]["error"] > report["balanced"]["error"]


def test_same_seed_same_clip(report: dict[str, Any]) -> None:
    assert report["second run"]
    assert report["batch of clips"] <= ROUNDING


def test_memory_does_not_show_in_the_clip(report: dict[str, Any]) -> None:
    assert report["in pieces"]["error"] <= ROUNDING
    assert report["in pieces"]["reused"] > 0


def test_where_no_features_can_be_kept(report: dict[str, Any]) -> None:
    assert report["control effect"] > 1e-3
    assert report["control"] <= ROUNDING


def test_interrupted_run_leaves_nothing(report: dict[str, Any]) -> None:
    assert report["stopped"] and report["held"]
    assert report["left"] == 0 and report["options"] == []
