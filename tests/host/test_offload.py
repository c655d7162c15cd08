"""The host may load our networks in part and patch their weights: the result stays, or changes as it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import random_checkpoint

Report = dict[str, float]


@pytest.fixture(scope="module")
def report(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    checkpoint = random_checkpoint(tmp_path_factory.mktemp("offload") / "small.safetensors")
    script = Path(__file__).with_name("offload_process.py")
    command = [sys.executable, str(script), str(comfyui), str(checkpoint)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("network", ["unet", "vae", "vae framewise", "clip"])
def test_partly_loaded_network_computes_the_same(report: Report, network: str) -> None:
    assert report[network] <= 1e-6


def test_patches_reach_every_kind_of_layer(report: Report) -> None:
    assert report["patches not taken"] == 0
    assert report["patch effect"] > 0.1


def test_patches_leave_no_trace(report: Report) -> None:
    assert report["patch restored"] == 0


def test_patches_on_offloaded_weights_are_the_same_patches(report: Report) -> None:
    assert report["patch offloaded"] <= 1e-6
