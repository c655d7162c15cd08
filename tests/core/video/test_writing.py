"""Writing: no frame is left out, none is shorter than browsers show, and a missing encoder is told before the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core import load_video, save_video
from svd_core.errors import SVDError
from svd_core.video.write import check_format
from tests.core.video.test_video import clip, difference


def waves(shift: float) -> np.ndarray:
    """A picture h w 3 in which all is smooth, moved to the left by `shift` pixels."""
    x, y = np.arange(96) + shift, np.arange(96)[:, None]
    channels = [np.sin(x / 9 + y / 17), np.sin(x / 5 - y / 11), np.sin(x / 23 + y / 7)]
    return np.stack([127 + 100 * channel for channel in channels], axis=-1).round().astype(np.uint8)


SLOW = {
    "pan": [waves(0.15 * index) for index in range(25)],
    "fade": [np.full((96, 96, 3), 60 + index, np.uint8) for index in range(25)],
    "flicker": [waves(0) + np.uint8(index % 2) for index in range(25)],
    "still": [waves(0)] * 25,
}


def stored(path: Path) -> list[float]:
    """The duration of each frame in a file, in milliseconds."""
    with Image.open(path) as file:
        durations = []
        for index in range(getattr(file, "n_frames", 1)):
            file.seek(index)
            file.load()
            durations.append(file.info["duration"])
    return durations


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("quality", [1, 5, 8, 9.9, 10])
def test_a_webp_stores_frames_that_look_alike(tmp_path: Path, kind: str, quality: float):
    """libwebp's own encoder of animations keeps 1 to 5 of these."""
    path = save_video(SLOW[kind], tmp_path / "clip.webp", fps=7, quality=quality)
    durations = stored(path)
    assert len(durations) == 25 and set(durations) <= {142, 143} and sum(durations) == 3571
    assert difference(load_video(path).frames, np.stack(SLOW[kind])) < (15 if quality == 1 else 6)


@pytest.mark.parametrize("kind", ["pan", "fade", "flicker"])
def test_each_frame_of_a_webp_is_its_own(tmp_path: Path, kind: str):
    """Written alone, a frame is the same picture as in the clip."""
    frames = load_video(save_video(SLOW[kind], tmp_path / "clip.webp")).frames
    alone = load_video(save_video(SLOW[kind][20:21], tmp_path / "alone.webp")).frames
    assert np.array_equal(frames[20], alone[0])


@pytest.mark.parametrize("name, most, shortest", [("clip.gif", 50, 20), ("clip.webp", 90, 11)])
def test_no_frame_is_shorter_than_browsers_show(tmp_path: Path, name: str, most: int, shortest: int):
    """They show a frame of 10 ms or less for 100 ms."""
    frames = [np.full((8, 8, 3), 8 * index, np.uint8) for index in range(12)]
    for fps in (0.1, 7, 12.5, 23.976, 29.97, 33, 40, 48, 49.9, 50, 59.94, 60, 75, most):
        if fps <= most:
            durations = stored(save_video(frames, tmp_path / name, fps=fps))
            assert len(durations) == 12 and min(durations) >= shortest
            assert abs(sum(durations) - 12_000 / fps) <= shortest / 2
    for fps in (most + 1, 100, 120, 1000):
        with pytest.raises(SVDError, match=rf"plays at most {most} frames per second, not {fps}, because browsers"):
            save_video(frames, tmp_path / name, fps=fps)


def test_more_than_a_format_can_hold_is_refused(tmp_path: Path):
    with pytest.raises(SVDError, match="at most 16383 pixels a side, not 17000x2"):
        save_video(np.zeros((1, 2, 17000, 3), np.uint8), tmp_path / "clip.webp")
    with pytest.raises(SVDError, match="at most 65535 pixels a side"):
        save_video(np.zeros((1, 2, 70000, 3), np.uint8), tmp_path / "clip.gif")
    with pytest.raises(SVDError, match="at most 655 seconds"):
        save_video([waves(0)] * 70, tmp_path / "clip.gif", fps=0.1)
    assert os.listdir(tmp_path) == []


def test_names_that_look_like_protocols_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert len(load_video(save_video(clip(), "shot:1.mp4")).frames) == 5


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm"])
def test_without_pyav_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "av.codec", None)
    with pytest.raises(SVDError, match="needs the Python library av, which does not load here"):
        save_video(clip(), tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name, encoder", [("clip.mp4", "libx264"), ("clip.webm", "libvpx-vp9")])
def test_without_its_encoder_a_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoder: str
):
    import av.codec
    from av.codec.codec import UnknownCodecError

    def lacking(codec: str, mode: str) -> None:
        raise UnknownCodecError(codec)

    monkeypatch.setattr(av.codec, "Codec", lacking)
    with pytest.raises(SVDError, match=rf"lacks {encoder}; install PyAV from its own wheels, or write a \.webp"):
        save_video(clip(), tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.xyz", "%d.jpg"])
def test_a_format_is_checked_before_there_are_frames(name: str):
    with pytest.raises(SVDError):
        check_format(Path(name), 100, 5)
    check_format(Path("clip.mp4"), 100, 5)
