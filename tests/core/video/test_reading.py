"""Reading: what was written comes back, whoever wrote it, and no file makes more than it should."""

from __future__ import annotations

import math
import os
import struct
import tempfile
import zlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from svd_core import load_video, save_video
from svd_core.errors import SVDError
from svd_core.video import animation
from svd_core.video import frames as in_memory
from svd_core.video.format import is_pattern, read_rate
from svd_core.video.timing import GIF_CLOCK, WEBP_CLOCK, count_frames
from tests.core.video.test_video import clip
from tests.core.video.test_video_formats import ALL, METADATA
from tests.core.video.test_writing import SLOW

RATES = [0.1, 1, 4, 6, 7, 7.5, 10, 12, 15, 23.976, 24, 25, 29.97, 30, 47.95, 48, 50, 59.94, 60, 75, 90, 120, 1000]
HIGHEST = {"clip.gif": 50, "clip.webp": 90}


def grey(*levels: int, size: tuple[int, int] = (16, 16)) -> list[Image.Image]:
    return [Image.new("RGB", size, (level, level, level)) for level in levels]


def animate(path: Path, frames: Sequence[Image.Image], durations: Sequence[int] | int, **options) -> Path:
    """As other programs write animations."""
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


def levels(path: Path, max_frames: int | None = None) -> list[int]:
    return load_video(path, max_frames).frames[:, 0, 0, 0].tolist()


# There and back


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(ALL),
    fps=st.sampled_from(RATES),
    held=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    max_frames=st.integers(1, 80),
)
def test_what_was_written_is_read(name: str, fps: float, held: list[int], max_frames: int) -> None:
    """A clip that stands still, at any fps: as many frames, at this fps, in every format."""
    fps = min(fps, HIGHEST.get(name, fps))
    if name == "clip.gif":
        held = [min(each, int(600 * fps)) for each in held]
    wanted = np.repeat(np.arange(len(held)) * 40, held)
    with tempfile.TemporaryDirectory() as folder:
        path = save_video([np.full((16, 16, 3), level, np.uint8) for level in wanted], f"{folder}/{name}", fps=fps)
        video, start = load_video(path), load_video(path, max_frames)
    assert len(video.frames) == len(wanted) and abs(video.frames[:, 8, 8, 0] - wanted.astype(int)).max() <= 8
    assert video.fps == start.fps == pytest.approx(fps, rel=1e-4)
    assert np.array_equal(start.frames, video.frames[:max_frames])


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("name", ALL)
def test_clips_whose_frames_look_alike_come_back(tmp_path: Path, name: str, kind: str) -> None:
    video = load_video(save_video(SLOW[kind], tmp_path / name, fps=7))
    assert len(video.frames) == 25 and video.fps == pytest.approx(7)


def test_a_rate_that_does_not_fit_the_durations_is_not_believed(tmp_path: Path) -> None:
    """The comment of a GIF stays when a program changes its speed."""
    path = animate(tmp_path / "clip.gif", grey(*range(0, 100, 10)), 80, comment=b"fps=7\n" + b'{"seed": 3}')
    video = load_video(path)
    assert len(video.frames) == 10 and video.fps == 12.5 and video.metadata == {"seed": 3}


# Animations of other programs


def steady(rate: float, held: Sequence[int], tick: int) -> list[int]:
    """Durations of frames that each stand for some of one rate, on a clock of whole ticks."""
    ends = [0, *np.cumsum(held)]
    return [tick * (round(b * 1000 / rate / tick) - round(a * 1000 / rate / tick)) for a, b in pairwise(ends)]


@pytest.mark.parametrize("rate", [8, 10, 12.5, 15, 16, 23.976, 24, 25, 29.97, 30, 40, 50, 60])
@pytest.mark.parametrize("held", [[1] * 12, [1, 1, 3, 1, 2, 1, 1, 5], [2, 3, 1, 1, 1, 3], [1, 1, 1, 1, 90]])
def test_a_gif_on_a_clock_of_hundredths(tmp_path: Path, rate: float, held: list[int]) -> None:
    """At 30 and 60 fps frames take 30 or 40, 10 or 20 ms by turns, which is one rate."""
    durations = steady(rate, held, 10)
    path = animate(tmp_path / "clip.gif", grey(*range(0, 20 * len(held), 20)), durations)
    assert levels(path) == np.repeat(np.arange(0, 20 * len(held), 20), held).tolist()
    fps = load_video(path).fps
    assert fps is not None and abs(1000 * sum(held) / fps - 1000 * sum(held) / rate) <= 5


@pytest.mark.parametrize("duration", [11, 16, 33, 40, 41, 66, 83, 100, 142, 166, 250])
@pytest.mark.parametrize("held", [[1] * 9, [6, 7, 6, 6], [1, 24], [12, 13], [3, 2, 2], [1, 1, 1, 40]])
@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif", ".avif"])
def test_durations_of_merged_frames(tmp_path: Path, suffix: str, held: list[int], duration: int) -> None:
    duration = duration if suffix != ".gif" else 10 * max(2, duration // 10)
    frames = grey(*range(0, 20 * len(held), 20))
    path = animate(tmp_path / f"clip{suffix}", frames, [duration * each for each in held])
    video = load_video(path)
    assert len(video.frames) == sum(held) and video.fps == pytest.approx(1000 / duration)
    for most in (1, 2, 7):
        start = load_video(path, most)
        assert np.array_equal(start.frames, video.frames[:most]) and start.fps == video.fps


def test_a_title_that_is_shown_longer_keeps_its_time(tmp_path: Path) -> None:
    path = animate(tmp_path / "clip.gif", grey(0, 40, 80), [3000, 70, 110])
    video = load_video(path)
    assert video.fps and abs(len(video.frames) / video.fps - 3.18) < 0.1
    assert abs((video.frames[:, 0, 0, 0] == 0).sum() / video.fps - 3) < 0.05


def test_a_frame_without_a_duration_takes_a_tenth_of_a_second(tmp_path: Path) -> None:
    """As browsers show it."""
    video = load_video(animate(tmp_path / "clip.gif", grey(0, 40, 80), 0))
    assert len(video.frames) == 3 and video.fps == 10


def test_a_single_picture_is_a_frame_without_a_rate(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".gif", ".tif", ".avif"):
        Image.new("RGB", (16, 16)).save(tmp_path / f"picture{suffix}")
        video = load_video(tmp_path / f"picture{suffix}")
        assert len(video.frames) == 1 and video.fps is None


def test_pages_are_frames_without_a_rate(tmp_path: Path) -> None:
    grey(0, 50, 100)[0].save(tmp_path / "a.tif", save_all=True, append_images=grey(50, 100))
    assert levels(tmp_path / "a.tif") == [0, 50, 100] and load_video(tmp_path / "a.tif").fps is None


@given(
    durations=st.lists(st.integers(1, 2**24 - 1) | st.floats(0.01, 1e6), min_size=1, max_size=30),
    clock=st.sampled_from([GIF_CLOCK, WEBP_CLOCK]),
    rate=st.none() | st.fractions("0.1", 1000, max_denominator=1001),
    is_cut=st.booleans(),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_durations_give_every_stored_frame(durations: list[float], clock, rate, is_cut: bool) -> None:
    repeats, fps = count_frames(durations, clock, rate, is_cut)
    assert len(repeats) == len(durations) and min(repeats) >= 1
    assert math.isfinite(fps) and fps > 0


def test_names_do_not_decide_what_a_file_is(tmp_path: Path) -> None:
    """Animations are often renamed to what a site takes."""
    for real, name in (("gif", "a.mp4"), ("webp", "a.gif"), ("mp4", "b.gif"), ("mp4", "b.webp"), ("webm", "b.png")):
        path = save_video(clip(), tmp_path / f"clip.{real}", fps=8, metadata=METADATA).rename(tmp_path / name)
        video = load_video(path)
        assert len(video.frames) == 5 and video.fps == pytest.approx(8) and video.metadata == METADATA


def test_the_picture_of_a_cover_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as file:
        cover = file.add_stream("mjpeg", rate=1, options={"disposition": "attached_pic"})
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        stream = file.add_stream("libx264", rate=7)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        file.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        file.mux(cover.encode())
        for frame in clip(4, 16, 32):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        file.mux(stream.encode())
    assert load_video(path).frames.shape == (4, 16, 32, 3)


def test_a_codec_that_nobody_knows_is_named(tmp_path: Path) -> None:
    path = save_video(clip(), tmp_path / "clip.mp4")
    content = path.read_bytes()
    assert content.count(b"avc1") == 2  # as a brand, and as the codec
    path.write_bytes(content.replace(b"avc1", b"zzz1"))
    with pytest.raises(SVDError, match=r"clip\.mp4 is in a codec that PyAV cannot read; save it again as H\.264"):
        load_video(path)


def test_a_video_of_variable_rate_gives_each_frame_once(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for time, frame in zip((0, 1, 2, 7, 8, 30), clip(6, 16, 32), strict=True):
            picture = av.VideoFrame.from_ndarray(frame)
            picture.pts = time
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    assert len(load_video(path).frames) == 6


# Bounds


def test_no_more_frames_are_made_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame of this is shown for 650 s."""
    made: list[int] = []
    repeat = np.repeat

    def counting(array: np.ndarray, repeats: np.ndarray, axis: int | None = None) -> np.ndarray:
        made.append(int(np.sum(repeats)))
        return repeat(array, repeats, axis=axis)

    monkeypatch.setattr(np, "repeat", counting)
    path = animate(tmp_path / "long.gif", grey(0, 200), [10, 650000])
    assert levels(path, 14) == [0] + 13 * [200]
    assert made and max(made) <= 14


def test_more_than_the_memory_should_hold_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = animate(tmp_path / "long.gif", grey(0, 200, size=(300, 300)), [20, 650000])
    with pytest.raises(SVDError, match=r"long\.gif has 32501 frames of 300x300 or more, which take over 4 GB"):
        load_video(path)
    for name in ("longer.gif", "longer.webp"):
        durations = [10, 655350] if name.endswith("gif") else [100, 16_000_000]
        path = animate(tmp_path / name, grey(0, 200, size=(8, 8)), durations)
        with pytest.raises(SVDError, match=rf"One frame of {name} stands for \d+ frames; say with max_frames how many"):
            load_video(path)
        assert len(load_video(path, 20).frames) == 20
    for name in ALL:
        whole = save_video(clip(), tmp_path / name)
        monkeypatch.setattr(in_memory, "MAX_BYTES", 4 * clip().nbytes // 5)
        with pytest.raises(SVDError, match="has 5 frames of 64x48 or more"):
            load_video(whole)
        assert len(load_video(whole, 4).frames) == 4
        monkeypatch.undo()


def test_a_header_that_claims_too_much_is_refused_before_it_is_made(tmp_path: Path) -> None:
    gif = bytearray(animate(tmp_path / "a.gif", grey(0, 200), 100).read_bytes())
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    webp = bytearray(save_video(clip(2), tmp_path / "a.webp").read_bytes())
    webp[24:30] = b"\xff\x3f\0\xff\x3f\0"  # 16384x16384, in VP8X
    png = bytearray(animate(tmp_path / "a.png", grey(0, 200), 100).read_bytes())
    png[16:24] = struct.pack(">II", 60000, 60000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    for suffix, content in (("gif", gif), ("webp", webp), ("png", png)):
        (tmp_path / f"b.{suffix}").write_bytes(content)
        with pytest.raises(SVDError, match=rf"b\.{suffix} (is larger than|cannot be read)"):
            load_video(tmp_path / f"b.{suffix}", 14)


def test_frames_that_a_header_claims_are_counted_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    wide = bytearray(save_video(clip(14), tmp_path / "a.webp").read_bytes())
    wide[24:30] = b"\xf3\x2e\0\xf3\x2e\0"  # 12020x12020, in VP8X
    many = bytearray(animate(tmp_path / "b.png", grey(0, 200, size=(64, 48)), 100).read_bytes())
    start = many.index(b"acTL")
    many[start + 4 : start + 8] = struct.pack(">I", 10**6)
    many[start + 12 : start + 16] = struct.pack(">I", zlib.crc32(many[start : start + 12]))
    monkeypatch.setattr(animation, "to_rgb_levels", never)
    for name, content, words in (("a.webp", wide, "14 frames of 12020x12020"), ("b.png", many, "1000000 frames")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SVDError, match=words):
            load_video(tmp_path / name)


def test_pictures_of_several_sizes_are_no_clip(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (16, 16)), Image.new("RGB", (16, 20))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(SVDError, match=r"Frame 1 of a\.tif is 16x20 and the first is 16x16"):
        load_video(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "text", ["1e99999999", "1e999", "1/0", "7/000", "9" * 10, "-7", "nan", "0", "0.01", "7 fps", ""]
)
def test_a_text_that_is_no_rate_is_none(tmp_path: Path, text: str) -> None:
    """Some of them are numbers of a hundred million digits."""
    path = save_video(clip(2), tmp_path / "clip" / "%d.png").parent
    for file in path.iterdir():
        texts = PngInfo()
        texts.add_text("fps", text)
        Image.open(file).save(file, pnginfo=texts)
    assert load_video(path).fps is None
    assert read_rate(text) is None


def test_rates_that_are_written() -> None:
    assert [read_rate(text) for text in ("7", "7.5", "24000/1001", "1000", "1/10")] == [
        7,
        7.5,
        Fraction(24000, 1001),
        1000,
        Fraction(1, 10),
    ]


def test_a_number_of_a_billion_digits_is_no_pattern() -> None:
    assert not is_pattern(Path("%0999999999d.png")) and is_pattern(Path("%099d.png"))


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = save_video(clip(), tmp_path / "a.webp").rename(tmp_path / "shot%d.webp")
    assert not is_pattern(path) and len(load_video(path).frames) == 5


def test_a_folder_gives_all_its_pictures_and_names_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A clip beside its frames is none of them."""
    for index, suffix in enumerate((".png", ".jpg", ".jfif", ".avif", ".tga", ".webp", ".ppm", ".jp2")):
        Image.new("RGB", (16, 16), (10 * index, 0, 0)).save(tmp_path / f"{index}{suffix}", quality=100)
    for name in ("clip.gif", "clip.webp"):
        save_video(clip(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_text("not a frame")
    levels = load_video(tmp_path).frames[:, 8, 8, 0].astype(int)
    assert len(levels) == 8 and abs(levels - 10 * np.arange(8)).max() <= 4
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: left out, as no frames: clip.gif, clip.webp, notes.txt"
    ]


def test_names_with_raised_numbers_are_sorted(tmp_path: Path) -> None:
    for name in ("1²3", "1²1", "²"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    assert len(load_video(tmp_path).frames) == 3


@pytest.mark.parametrize("name", ["a" * 5000 + ".mp4", "a\0b.gif", "\ud800.mp4", "a" * 5000 + "/%d.png"])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(SVDError):
        load_video(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SVDError, match="pipe"):
            load_video(tmp_path / name)


# Metadata of others
