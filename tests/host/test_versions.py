"""Our VAE, CLIP_VISION and MODEL as other versions of the host ask them, and without what older ones lacked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.client import JSON


@pytest.fixture(scope="module")
def report(comfyui: Path) -> JSON:
    command = [sys.executable, str(Path(__file__).with_name("versions_process.py")), str(comfyui)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_unknown_keywords_change_nothing(report: JSON) -> None:
    assert len(report["equal"]) == 8
    assert all(report["equal"].values()), report["equal"]


def test_an_older_host_gives_the_same(report: JSON) -> None:
    assert len(report["old"]) == 4
    assert all(report["old"].values()), report["old"]


def test_every_attribute_of_the_hosts_objects_is_there(report: JSON) -> None:
    assert report["missing"] == []
    assert report["naf"] is None  # and no AttributeError


def test_the_log_does_not_say_that_weights_are_missing(report: JSON) -> None:
    assert not [line for line in report["logged"] if "VAE weights" in line]
