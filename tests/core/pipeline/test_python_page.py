"""The page for Python users: its code for this package runs, and what it says of defaults is so."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from svd_core import SVDPipeline, save_video
from svd_core.checkpoints import open_checkpoint, unet_shapes
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.pipeline.settings import CallArguments
from tests.support.random_lora import random_factors, write_lora
from tools.comfyui import REPOSITORY

PAGE = (REPOSITORY / "docs" / "python.md").read_text("utf-8")
README = (REPOSITORY / "README.md").read_text("utf-8")
BLOCKS = [block for block in re.findall(r"```python\n(.*?)```", PAGE + README, re.S) if "from svd_core" in block]
# What runs in seconds: the bundled model at its own size, and fewer steps.
SUBSTITUTES = {
    '"svd_xt.safetensors"': '"svd_demo.safetensors"',
    '"stable-video-diffusion-img2vid-xt"': '"svd_demo.safetensors"',
    "num_inference_steps=25": "num_inference_steps=2",
    "num_inference_steps=50": "num_inference_steps=2",
    '("karras", 25)': '("karras", 2)',
    "25, 1024, 576, 0": "14, 96, 96, 0",
    "num_frames=25": "num_frames=14",
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names."""
    shutil.copy(REPOSITORY / "example_workflows" / "svd_demo_comet.png", tmp_path / "picture.png")
    os.symlink(DEMO_CHECKPOINT, tmp_path / "svd_demo.safetensors")
    monkeypatch.chdir(tmp_path)
    save_video(torch.rand(14, 96, 96, 3), "clip.mp4")
    return tmp_path


def quick(code: str) -> str:
    for text, substitute in SUBSTITUTES.items():
        code = code.replace(text, substitute)
    return code


def test_the_page_has_them_all() -> None:
    assert len(BLOCKS) >= 6
    used = "".join(BLOCKS)
    assert not [text for text in SUBSTITUTES if text not in used]


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_code_of_the_page_runs(index: int, desk: Path) -> None:
    code, started = quick(BLOCKS[index]), time.time_ns()
    if "style.safetensors" in code:
        shapes = unet_shapes(open_checkpoint(DEMO_CHECKPOINT).unet)
        attention = [name for name in shapes if name.endswith("attn1.to_v.weight")]
        write_lora(desk / "style.safetensors", random_factors(shapes, attention), shapes, "peft")
    names: dict[str, Any] = {}
    with torch.inference_mode():
        exec(compile(code, f"block {index}", "exec"), names)  # noqa: S102 - our own page
    for name in re.findall(r'save_video\(\w+, "(.*?)"', code):
        assert (desk / name).stat().st_mtime_ns > started


def test_the_stages_apart_are_the_pipeline(desk: Path) -> None:
    names: dict[str, Any] = {}
    with torch.inference_mode():
        exec(quick(next(block for block in BLOCKS if "schedules.sigmas" in block)), names)  # noqa: S102
    pipe = SVDPipeline.from_checkpoint(DEMO_CHECKPOINT)
    whole = pipe(
        Image.open("picture.png"), num_inference_steps=2, max_cfg_scale=3.0, seed=0, output="tensor", progress=False
    )
    torch.testing.assert_close(names["frames"], whole, atol=1e-4, rtol=0)


def test_every_argument_of_ours_that_the_page_names_is_one() -> None:
    arguments = {*CallArguments.__annotations__, "picture", "output"}
    cells = [row.split("|")[2] for row in PAGE.splitlines() if row.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", cell)}
    assert len(named) > 8 and named <= arguments
