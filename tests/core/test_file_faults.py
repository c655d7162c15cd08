"""Writers that are killed, meet a full disk or a read-only folder, or work side by side, leave nothing half-written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.comfyui import REPOSITORY

QUICK = ["--rounds", "2", "--writer", ".mp4", "--writer", ".png", "--writer", "convert", "--writer", "batch of folders"]
THOROUGH = ["--rounds", "20"]  # of each of eleven writers


@pytest.mark.skipif(sys.platform == "win32", reason="the writers are forked")
def test_no_fault_harms_a_file(pytestconfig: pytest.Config) -> None:
    """In a process of its own: what is forked must have no threads."""
    thorough = pytestconfig.getoption("--thorough")
    command = [sys.executable, "-m", "tests.support.file_faults", *(THOROUGH if thorough else QUICK)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count(" 0 damaged") >= 20, finished.stdout
