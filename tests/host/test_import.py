"""The pack is imported by a host that lacks libraries, or has broken ones: only what needs them may fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from svd_core import SVDError, save_video
from svd_core.images.colours import match_colours
from svd_core.images.encoder_pixels import to_encoder_pixels
from tools.client import JSON
from tools.comfyui import REPOSITORY

OPTIONAL = ("kornia", "av", "tqdm", "diffusers", "transformers")


def import_pack(comfyui: Path, *options: str) -> JSON:
    command = [sys.executable, str(REPOSITORY / "tests" / "support" / "import_pack.py"), str(comfyui), *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_all_nodes_are_there_without_optional_libraries(comfyui: Path) -> None:
    whole, bare = import_pack(comfyui), import_pack(comfyui, "--without", *OPTIONAL)
    assert bare["object_info"] == whole["object_info"]
    assert len(whole["object_info"]) >= 5


@pytest.mark.parametrize("broken", [None, ModuleType("kornia")])
def test_a_broken_library_is_named_by_what_needs_it(monkeypatch: pytest.MonkeyPatch, broken: ModuleType | None) -> None:
    """None in sys.modules: not installed. An empty module: there, and of no use."""
    for name in [name for name in sys.modules if name.startswith("kornia.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kornia", broken)
    with pytest.raises(SVDError, match=r"Matching colours needs the Python library kornia.*pip install"):
        match_colours(torch.rand(2, 8, 8, 3), torch.rand(8, 8, 3))
    assert to_encoder_pixels(torch.rand(1, 3, 32, 48)).shape[-2:] == (224, 224)  # every clip needs this


def test_a_broken_kornia_stops_colour_match_and_nothing_before_it(comfyui: Path) -> None:
    """The host calls the library non-essential, so a clip must not need it, from the picture to the frames."""
    command = [sys.executable, str(Path(__file__).with_name("kornia_process.py")), str(comfyui)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert report["frames"] == [2, 64, 64, 3] and report["finite"]
    assert report["colour match"].startswith("Matching colours needs the Python library kornia")


def test_without_av_only_writing_a_video_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SVDError, match="Writing a video needs the Python library av"):
        save_video(torch.zeros(2, 16, 16, 3), tmp_path / "clip.mp4", fps=7)
