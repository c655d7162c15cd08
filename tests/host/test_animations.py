"""What the host's savers of animations write is read as it was given, frames left out of the file included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core import load_video

CLIPS = {
    "moving": [3.0 * index for index in range(14)],
    "slow": [0.15 * index for index in range(25)],
    "pairs": [4.0 * (index // 2) for index in range(24)],
    "held": [5.0 * index for index in (0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 3, 4)],
}
RATES = (4, 6, 7, 7.5, 10, 12, 23.976, 24, 25, 29.97, 30, 50, 60)
KINDS = {"lossless": (True, 80), "85": (False, 85), "90": (False, 90), "png": (False, None)}


@pytest.fixture(scope="module")
def saved(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for each clip, rate and kind."""
    folder = tmp_path_factory.mktemp("saved")
    clips = [
        (f"{clip}-{rate}-{kind}", CLIPS[clip], rate, *KINDS[kind]) for clip in CLIPS for rate in RATES for kind in KINDS
    ]
    command = [sys.executable, str(Path(__file__).with_name("animations_process.py")), str(comfyui), str(folder)]
    subprocess.run(command, input=json.dumps(clips), check=True, capture_output=True, text=True)
    return folder


def find(saved: Path, name: str) -> Path:
    (path,) = saved.glob(f"{name}_*")
    return path


@pytest.mark.parametrize("kind", ["lossless", "85", "90"])
@pytest.mark.parametrize("clip", CLIPS)
def test_a_webp_of_the_host_is_read_as_it_was_given(saved: Path, clip: str, kind: str) -> None:
    for rate in RATES:
        path = find(saved, f"{clip}-{rate}-{kind}")
        video = load_video(path)
        assert len(video.frames) == len(CLIPS[clip]) and video.fps == rate
        brightness = video.frames.mean((1, 2, 3)) - video.frames[0].mean()
        if kind == "lossless":
            assert len(np.unique(brightness)) == len(set(CLIPS[clip]))
        assert np.array_equal(load_video(path, 5).frames, video.frames[:5])


def test_the_host_leaves_frames_out(saved: Path) -> None:
    """So that the test above says something."""
    for name, frames in (("slow-10-85", 25), ("pairs-10-lossless", 24), ("held-10-90", 12)):
        with Image.open(find(saved, name)) as file:
            assert 1 < file.n_frames < frames


@pytest.mark.parametrize("clip", ["moving", "slow", "held"])
def test_a_png_of_the_host_is_read_to_a_millisecond_a_frame(saved: Path, clip: str) -> None:
    for rate in RATES:
        video = load_video(find(saved, f"{clip}-{rate}-png"))
        assert len(video.frames) == len(CLIPS[clip])
        assert video.fps is not None and 0 <= 1000 / rate - 1000 / video.fps < 1
