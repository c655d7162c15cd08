"""Damaged videos and animations are read or refused; what is written comes back as it was."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from svd_core.video import load_metadata, load_video, save_video

from .conftest import Fuzz
from .mutations import ODD_VALUES, apply, byte_edits
from .oracle import attempt, clean_folder

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp")
METADATA = {"seed": 1, "settings": {"fps": 7.0}}
MOST = 8


@cache
def clip(num_frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """Frames that move; those of seed 0 are hardly different from each other."""
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if seed:
        return np.stack([np.roll(first, index, axis=1) for index in range(num_frames)])
    return np.stack([np.clip(first.astype(int) + index, 0, 255).astype(np.uint8) for index in range(num_frames)])


@cache
def encode(suffix: str, num_frames: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return save_video(clip(num_frames, 16, 24, 1), Path(folder) / f"clip{suffix}", metadata=METADATA).read_bytes()


def test_damaged_clips(fuzz: Fuzz) -> None:
    def check(case: tuple[str, int, list[Any]]) -> None:
        suffix, num_frames, edits = case
        with clean_folder() as folder:
            path = folder / f"clip{suffix}"
            path.write_bytes(apply(edits, encode(suffix, num_frames)))
            video = attempt(lambda: load_video(path, MOST))
            if video is not None:
                assert 0 < len(video.frames) <= MOST and video.frames.dtype == np.uint8 and video.frames.ndim == 4
                assert video.fps is None or 0 < video.fps < 1e6
            attempt(lambda: load_metadata(path))
            path.unlink()

    cases = st.tuples(st.sampled_from(SUFFIXES), st.sampled_from((1, 3)), byte_edits)
    fuzz(check, cases, cases=80, thorough_cases=3000)


def test_damaged_folders(fuzz: Fuzz) -> None:
    def check(case: tuple[list[str], list[Any], bool]) -> None:
        names, edits, as_pattern = case
        with clean_folder() as folder:
            save_video(clip(3, 16, 24, 1), folder / "frames" / "%04d.png", metadata=METADATA)
            frames = folder / "frames"
            damaged = apply(edits, (frames / "0001.png").read_bytes())
            for name in names:
                (frames / f"{name}.png").write_bytes(damaged)
            attempt(lambda: load_video(frames / "%04d.png" if as_pattern else frames, MOST))
            attempt(lambda: load_metadata(frames))
            for file in frames.iterdir():
                file.unlink()
            frames.rmdir()

    names = st.sampled_from(("0000", "0001", "x", "9" * 200, "00", "-1", "\x1b[31m", "²"))
    fuzz(check, st.tuples(st.lists(names, max_size=3), byte_edits, st.booleans()), cases=30, thorough_cases=500)


def test_what_is_written_comes_back(fuzz: Fuzz) -> None:
    def check(case: tuple[str, tuple[int, ...], float, float]) -> None:
        suffix, (num_frames, height, width, seed), fps, quality = case
        frames = clip(num_frames, height, width, seed)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / f"clip{suffix}"
            if attempt(lambda: save_video(frames, path, fps, quality, METADATA)) is None:
                assert not list(Path(name).iterdir()), "a refusal left something"
                return
            video = load_video(path)
        assert len(video.frames) == num_frames, f"{len(video.frames)} frames of {num_frames} at {fps}"
        assert video.metadata == METADATA
        if num_frames > 1:
            assert video.fps is not None and abs(video.fps / fps - 1) < 0.05, f"{video.fps} for {fps}"
        if suffix.endswith(".png") or (suffix == ".webp" and quality == 10):
            assert np.array_equal(video.frames, frames)
        else:
            even = (height, width) if suffix in (".gif", ".webp") else (height // 2 * 2, width // 2 * 2)
            assert video.frames.shape[1:3] == even

    shapes = st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2))
    rates = st.one_of(st.floats(0.1, 1000), st.sampled_from((7, 24, 23.976, 29.97, 50, 59.94, 60, 100, 120)))
    cases = st.tuples(
        st.sampled_from((*SUFFIXES, "/%04d.png", "/frame%d.png")), shapes, rates, st.sampled_from((0, 2.5, 5, 8, 10))
    )
    fuzz(check, cases, cases=30, thorough_cases=1000)


def test_odd_settings(fuzz: Fuzz) -> None:
    """Of the name, the rate, the quality and the metadata."""

    def check(case: tuple[str, Any, Any, Any]) -> None:
        name, fps, quality, metadata = case
        with tempfile.TemporaryDirectory() as folder:
            attempt(lambda: save_video(clip(2, 4, 4, 1), f"{folder}/{name}", fps, quality, metadata))
            left = [path.name for path in Path(folder).rglob("*") if ".svd-" in path.name]
            assert not left, left

    numbers = st.one_of(st.floats(), st.sampled_from((7, 0, -1, 10**400, 2**63, True)))
    names = st.one_of(
        st.sampled_from(("a.gif", "a.mp4", "%d.png", "f/%0999999999d.png", "f/%d%d.png", "f/%s.png", "a.png", "", ".")),
        st.text(max_size=8).map(lambda text: f"{text}.gif"),
        st.text(max_size=8),
    )
    metadata = st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.sampled_from(ODD_VALUES), max_size=3))
    fuzz(check, st.tuples(names, numbers, numbers, metadata), cases=60, thorough_cases=1000)
