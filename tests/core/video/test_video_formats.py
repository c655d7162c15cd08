"""Every video format there and back: frames, frame rate, metadata; and what cannot be read."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core import load_metadata, load_video, save_video
from svd_core.errors import SVDError
from tests.core.video.test_video import clip, difference

METADATA = {"svd_nodes": "0.1.0", "seed": 2**64 - 1, "picture": "Müller 船.png", "settings": {"fps": 7.5, "loras": []}}
ALL = ("clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.gif", "clip.webp", "clip/%03d.png")


@pytest.mark.parametrize("name", ALL)
def test_frames_rate_and_metadata_come_back(tmp_path: Path, name: str):
    path = save_video(clip(), tmp_path / name, fps=8, quality=9, metadata=METADATA)
    video = load_video(path)
    assert video.frames.dtype == np.uint8 and video.frames.shape == (5, 48, 64, 3)
    assert difference(video.frames, clip()) < 4
    assert video.fps == pytest.approx(8, rel=0.05 if name.endswith(".gif") else 0.01)
    assert video.metadata == load_metadata(path) == METADATA
    assert os.listdir(tmp_path) == [name.split("/")[0]]


@pytest.mark.parametrize("name", ALL)
def test_the_same_frames_give_the_same_file(tmp_path: Path, name: str):
    def written(folder: str) -> list[bytes]:
        (tmp_path / folder).mkdir()
        save_video(clip(), tmp_path / folder / name, metadata=METADATA)
        return [file.read_bytes() for file in sorted((tmp_path / folder).rglob("*.*"))]

    assert written("a") == written("b")


@pytest.mark.parametrize("name", ALL)
def test_a_file_without_metadata_has_none(tmp_path: Path, name: str):
    assert load_metadata(save_video(clip(), tmp_path / name)) == {}


@pytest.mark.parametrize("name", ["clip.webp", "clip.gif", "clip/%03d.png"])
def test_pictures_keep_odd_sides(tmp_path: Path, name: str):
    assert load_video(save_video(clip(3, 33, 31), tmp_path / name)).frames.shape == (3, 33, 31, 3)


@pytest.mark.parametrize("name", ["clip.webp", "clip/%d.png"])
def test_lossless_formats_lose_nothing(tmp_path: Path, name: str):
    noise = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    assert np.array_equal(load_video(save_video(noise, tmp_path / name, quality=10)).frames, noise)


@pytest.mark.parametrize("name", ["clip.webp", "clip.gif"])
def test_frames_that_stand_still_are_counted(tmp_path: Path, name: str):
    """Pillow stores a repeated frame as a longer one."""
    frames = clip(4)[[0, 0, 1, 2, 2, 2, 3]]
    video = load_video(save_video(frames, tmp_path / name, fps=7, quality=9))
    assert len(video.frames) == 7 and difference(video.frames, frames) < 8
    assert video.fps == pytest.approx(7, rel=0.05)


def test_a_gif_keeps_time(tmp_path: Path):
    """Hundredths of a second cannot say a 7th; the error does not add up."""
    path = save_video(np.stack([clip(1)[0] + n for n in range(30)]), tmp_path / "clip.gif", fps=7)
    with Image.open(path) as file:
        shown = []
        for index in range(file.n_frames):
            file.seek(index)
            shown.append(file.info["duration"])
        assert abs(sum(shown) - 30_000 / 7) <= 5 and max(shown) - min(shown) <= 10
        assert file.info["loop"] == 0


@pytest.mark.parametrize("name", ["clip.webm", "clip.webp"])
def test_more_quality_is_more_bytes_and_less_error(tmp_path: Path, name: str):
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 1), dtype=np.uint8).repeat(3, axis=-1)
    sizes, errors = [], []
    for quality in (1, 5, 9, 10):
        path = save_video(noise, tmp_path / name, quality=quality)
        sizes.append(path.stat().st_size)
        errors.append(difference(load_video(path).frames, noise))
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True) and errors[-1] < 1.5


# Reading


@pytest.mark.parametrize("name", ALL)
def test_no_more_frames_than_asked(tmp_path: Path, name: str):
    video = load_video(save_video(clip(), tmp_path / name, quality=9), max_frames=2, min_frames=2)
    assert len(video.frames) == 2 and difference(video.frames, clip(2)) < 4


@pytest.mark.parametrize("name", ALL)
def test_a_video_that_is_too_short_is_refused(tmp_path: Path, name: str):
    with pytest.raises(SVDError, match="has 5 frames and 6 are needed"):
        load_video(save_video(clip(), tmp_path / name), min_frames=6)


def test_a_folder_goes_by_the_numbers_in_its_names(tmp_path: Path):
    for number in (1, 10, 2, 9):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"shot2_{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_text("not a frame")
    for path in (tmp_path, tmp_path / "shot2_%d.png"):
        video = load_video(path)
        assert video.frames[:, 0, 0, 0].tolist() == [1, 2, 9, 10]
        assert video.fps is None and video.metadata == {}


def test_a_pattern_takes_only_what_it_fits(tmp_path: Path):
    for name in ("a_1.png", "b_1.png", "a_x.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert len(load_video(tmp_path / "a_%03d.png").frames) == 1


def test_a_video_of_a_turned_phone_stands_upright(tmp_path: Path):
    path = save_video(clip(1), tmp_path / "clip.mp4", quality=9)
    turned = bytearray(path.read_bytes())
    matrix = turned.index(b"tkhd") + 44  # ISO 14496-12, 8.3.2: a b u, c d v, x y w
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]  # a quarter clockwise
    turned[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    path.write_bytes(turned)
    assert difference(load_video(path).frames[0], np.rot90(clip(1)[0], -1)) < 4


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def folder(path: Path, *sizes: int, broken: bool = False) -> Path:
    path.mkdir()
    for index, size in enumerate(sizes):
        Image.new("RGB", (size, 8)).save(path / f"{index}.png")
    if broken:
        (path / "9.png").write_bytes(b"no picture")
    return path


def sound(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


UNREADABLE = {
    "missing": (lambda t: t / "clip.mp4", "does not exist"),
    "text": (lambda t: write(t / "clip.mp4", b"not a video" * 100), r"clip\.mp4 cannot be read as a video"),
    "empty": (lambda t: write(t / "clip.mp4", b""), "cannot be read as a video"),
    "cut off": (
        lambda t: write(t / "b.mp4", save_video(clip(), t / "a.mp4").read_bytes()[:1000]),
        "cannot be read as a video|holds no frames",
    ),
    "another kind": (lambda t: write(t / "clip.docx", b"PK\x03\x04" + bytes(500)), "cannot be read as a video"),
    "sound": (lambda t: sound(t / "clip.m4a"), "has no pictures in it"),
    "gif": (lambda t: write(t / "clip.gif", b"GIF89a nothing"), "cannot be read as a picture"),
    "webp": (
        lambda t: write(t / "b.webp", save_video(clip(), t / "a.webp").read_bytes()[:200]),
        "cannot be read as a picture",
    ),
    "empty folder": (lambda t: folder(t / "frames"), "no frames at"),
    "pattern without files": (lambda t: t / "clip_%d.png", "no frames at"),
    "pattern in no folder": (lambda t: t / "nowhere" / "clip_%d.png", "cannot be read"),
    "sizes differ": (lambda t: folder(t / "frames", 8, 8, 10), r"2\.png .* is 10x8 and the first is 8x8"),
    "a broken frame": (lambda t: folder(t / "frames", 8, broken=True), r"9\.png cannot be read"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_named(tmp_path: Path, case: str):
    make, words = UNREADABLE[case]
    with pytest.raises(SVDError, match=words):
        load_video(make(tmp_path))


# Writing


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk with so much left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [0, 3000])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, name: str, size: int):
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    with full_disk(size), pytest.raises(SVDError, match="cannot be written"):
        save_video(noise, tmp_path / name, quality=9, metadata=METADATA)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ALL)
def test_frames_that_stop_midway_leave_nothing_behind(tmp_path: Path, name: str):
    def failing() -> Iterator[np.ndarray]:
        yield from clip(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_video(failing(), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path: Path):
    (tmp_path / "frames").mkdir()
    save_video(clip(), tmp_path / "frames" / "%d.png")  # an empty one is as good as none
    with pytest.raises(SVDError, match="cannot be written"):
        save_video(clip(2), tmp_path / "frames" / "%d.png")
    assert len(os.listdir(tmp_path / "frames")) == 5 and os.listdir(tmp_path) == ["frames"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("clip.mp4", {"metadata": ["a list"]}, "it is no dictionary"),
        ("clip.mp4", {"metadata": json.loads('{"a":' * 60 + "1" + "}" * 60)}, "nested too deeply"),
        ("clip.mp4", {"metadata": json.loads('{"a":' * 900 + "1" + "}" * 900)}, "The metadata"),
        ("frames/%0999999999d.png", {}, "container"),
        ("frames/%d.jpg", {}, "written as PNG"),
        ("clip.mp4", {"metadata": {"a": {1, 2}}}, "cannot be written as JSON"),
        ("clip.mp4", {"metadata": {"a": float("nan")}}, "cannot be written as JSON"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, options: dict, words: str):
    with pytest.raises(SVDError, match=words):
        save_video(clip(), tmp_path / name, **options)
    assert os.listdir(tmp_path) == []


def test_a_comment_of_another_program_is_no_metadata(tmp_path: Path):
    path = tmp_path / "clip.gif"
    Image.new("RGB", (8, 8)).save(path, comment=b"made with \xff love")
    assert load_metadata(path) == {}
