"""Memory that runs out in the host's nodes: the same clip or a sentence that the host knows for lack of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.random_checkpoint import tiny_config, write_checkpoint


def test_running_out_anywhere_gives_the_same_clip_or_a_sentence(
    comfyui: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """At a few allocations of each kind of run; with --thorough at every 50th."""
    checkpoint = write_checkpoint(tmp_path / "tiny.safetensors", tiny_config())
    script = Path(__file__).with_name("short_memory_process.py")
    points = "0" if pytestconfig.getoption("--thorough") else "2"
    command = [sys.executable, str(script), str(comfyui), str(checkpoint), points]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    report: dict[str, dict[str, int]] = json.loads(output.splitlines()[-1])
    print(report)
    assert len(report) == (9 if points == "2" else 21)
    assert set().union(*report.values()) <= {"same bits", "same clip", "sentence"}, report
