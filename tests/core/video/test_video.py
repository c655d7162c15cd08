"""Video files: what is in them, and that none is ever half there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from svd_core.errors import SVDError
from svd_core.video import save_video


def clip(frames: int = 5, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth colours, and a bar that is at another place in every frame. t h w 3."""
    x = np.linspace(40, 200, width)[None, None, :, None]
    y = np.linspace(60, 180, height)[None, :, None, None]
    channels = np.concatenate([x + 0 * y, 0 * x + y, (x + y) / 2], axis=-1)
    out = np.repeat(channels, frames, axis=0)
    for index in range(frames):
        out[index, :, 8 * index : 8 * index + 8] = (230, 30, 60)
    return out.round().astype(np.uint8)


def read(path: Path) -> tuple[np.ndarray, Fraction, float]:
    """Frames t h w 3, frames per second, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate is not None and container.duration is not None
        return frames, stream.average_rate, container.duration / 1e6


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4"])
def test_every_frame_arrives_in_order_with_its_colours(tmp_path: Path, suffix: str):
    path = save_video(clip(), tmp_path / f"clip{suffix}", fps=7, quality=9)
    frames, rate, seconds = read(path)
    assert path == tmp_path / f"clip{suffix}"
    assert frames.shape == (5, 48, 64, 3)
    assert rate == 7 and seconds == pytest.approx(5 / 7, abs=0.002)
    assert difference(frames, clip()) < 4
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("fps, expected", [(6, 6), (7.0, 7), (12.5, Fraction(25, 2)), (23.976, Fraction(2997, 125))])
def test_the_frame_rate_is_kept(tmp_path: Path, fps: float, expected: Fraction):
    assert read(save_video(clip(), tmp_path / "clip.mp4", fps=fps))[1] == expected


def generate(frames: np.ndarray) -> Iterator[np.ndarray]:
    yield from frames


@pytest.mark.parametrize(
    "convert",
    [
        list,
        generate,
        torch.from_numpy,
        lambda x: [Image.fromarray(frame) for frame in x],
        lambda x: [Image.fromarray(frame).convert("RGBA") for frame in x],
        lambda x: x.astype(np.float32) / 255,
        lambda x: torch.from_numpy(x).double() / 255,
        lambda x: list(torch.from_numpy(x).float() / 255),
        lambda x: (torch.from_numpy(x).float() / 255).requires_grad_(),
    ],
    ids=["list", "generator", "uint8 tensor", "pil", "rgba", "floats", "doubles", "list of tensors", "with gradient"],
)
def test_all_kinds_of_frames_give_the_same_file(tmp_path: Path, convert):
    expected = save_video(clip(), tmp_path / "a.mp4").read_bytes()
    assert save_video(convert(clip()), tmp_path / "b.mp4").read_bytes() == expected


def test_floats_are_rounded_to_the_nearest_level(tmp_path: Path):
    levels = clip().astype(np.float64)
    files = [save_video((levels + d) / 255, tmp_path / "clip.mp4").read_bytes() for d in (-0.4, 0.0, 0.4)]
    assert files[0] == files[1] == files[2]


def test_half_precision_frames_and_overshoot_are_taken(tmp_path: Path):
    frames = torch.from_numpy(clip()).bfloat16() / 255
    frames[0, :4] = 1.5
    out = read(save_video(frames, tmp_path / "clip.mp4", quality=9))[0]
    assert difference(out[1:], clip()[1:]) < 4
    assert out[0, :2].mean() > 240


@pytest.mark.parametrize("height, width", [(47, 64), (48, 63), (33, 31), (2, 2), (3, 17)])
def test_odd_sides_lose_their_last_row_or_column(tmp_path: Path, height: int, width: int):
    frames = clip(3, height, width)
    out = read(save_video(frames, tmp_path / "clip.mp4", quality=9))[0]
    even = frames[:, : height - height % 2, : width - width % 2]
    assert out.shape == even.shape
    assert difference(out, even) < (4 if min(height, width) > 30 else 40)


def test_a_single_frame_is_a_video(tmp_path: Path):
    assert read(save_video(clip(1), tmp_path / "clip.mp4"))[0].shape == (1, 48, 64, 3)


@pytest.mark.parametrize("quality, crf", [(0, 51), (2.5, 38), (5, 25), (8, 10), (9, 5)])
def test_quality_is_a_rate_factor(tmp_path: Path, quality: float, crf: int):
    """The encoder leaves its settings in the stream."""
    written = save_video(clip(), tmp_path / "clip.mp4", quality=quality).read_bytes()
    assert f"crf={crf}.0".encode() in written


def test_more_quality_is_more_bytes_and_ten_loses_only_colour_resolution(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 1), dtype=np.uint8).repeat(3, axis=-1)
    sizes, errors = [], []
    for quality in (1, 5, 9, 10):
        path = save_video(noise, tmp_path / "clip.mp4", quality=quality)
        sizes.append(path.stat().st_size)
        errors.append(difference(read(path)[0], noise))
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1


def test_colours_are_tagged_so_that_players_need_not_guess(tmp_path: Path):
    with av.open(str(save_video(clip(), tmp_path / "clip.mp4"))) as container:
        codec = container.streams.video[0].codec_context
        # ITU-T H.273: matrix 6 (SMPTE 170M), studio range, primaries and transfer 1 (BT.709)
        assert (codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc) == (6, 1, 1, 1)


def test_the_index_comes_first_for_the_web(tmp_path: Path):
    written = save_video(clip(), tmp_path / "clip.mp4").read_bytes()
    assert written.index(b"moov") < written.index(b"mdat")
    assert b"moof" not in written  # whole, not in fragments, which editors refuse


# Nothing lost


def failing(error: BaseException) -> Iterator[np.ndarray]:
    yield from clip(3)
    raise error


def with_frame(index: int, frame: np.ndarray) -> list[np.ndarray]:
    frames = list(clip(4) / 255.0)
    frames[index] = frame
    return frames


BROKEN = {
    "NaN": (lambda: with_frame(2, np.full((48, 64, 3), np.nan)), SVDError),
    "another size": (lambda: with_frame(3, np.zeros((48, 60, 3))), SVDError),
    "another shape": (lambda: with_frame(1, np.zeros((48, 64))), SVDError),
    "source fails": (lambda: failing(RuntimeError("out of memory")), RuntimeError),
    "interrupted": (lambda: failing(KeyboardInterrupt()), KeyboardInterrupt),
    "disk full": (lambda: failing(OSError(28, "No space left on device")), SVDError),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("existing", [True, False])
def test_an_encode_that_fails_midway_leaves_everything_as_it_was(tmp_path: Path, broken: str, existing: bool):
    path = tmp_path / "clip.mp4"
    if existing:
        path.write_bytes(b"an older video")
    frames, error = BROKEN[broken]
    with pytest.raises(error):
        save_video(frames(), path)
    assert os.listdir(tmp_path) == (["clip.mp4"] if existing else [])
    assert not existing or path.read_bytes() == b"an older video"


def test_a_frame_that_cannot_be_read_is_not_blamed_on_the_place(tmp_path: Path):
    """Pillow reads a picture when its pixels are asked for."""
    Image.fromarray(clip()[0]).save(tmp_path / "frame.png")
    whole = (tmp_path / "frame.png").read_bytes()
    (tmp_path / "frame.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SVDError, match=r"Frame 0 cannot be read .*truncated"):
        save_video([Image.open(tmp_path / "frame.png")], tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == ["frame.png"]


def test_an_older_video_stays_where_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "The process cannot access the file")

    path = tmp_path / "clip.mp4"
    path.write_bytes(b"an older video")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SVDError, match="cannot be written"):
        save_video(clip(), path)
    assert os.listdir(tmp_path) == ["clip.mp4"] and path.read_bytes() == b"an older video"


def test_a_finished_video_replaces_the_older_one(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"an older video")
    save_video(clip(), path)
    assert len(read(path)[0]) == 5


def test_an_encoder_that_fails_is_told_in_a_sentence(tmp_path: Path):
    """H.264 ends at 16384 pixels a side in this encoder."""
    with pytest.raises(SVDError, match=r"17000x2 at 7 frames per second cannot be written as mp4 .* another size"):
        save_video(np.zeros((1, 2, 17000, 3), np.uint8), tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name, words", [("clip.xyz", "container"), ("clip", "container"), ("clip.png", "container")])
def test_unknown_containers_are_refused(tmp_path: Path, name: str, words: str):
    with pytest.raises(SVDError, match=words):
        save_video(clip(), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(SVDError, match=r"missing of clip\.mp4 does not exist"):
        save_video(clip(), tmp_path / "missing" / "clip.mp4")
    assert os.listdir(tmp_path) == []


def test_names_that_cannot_be_written_are_refused(tmp_path: Path):
    (tmp_path / "folder.mp4").mkdir()
    for name in ("folder.mp4", "x" * 300 + ".mp4"):
        with pytest.raises(SVDError, match="cannot be written"):
            save_video(clip(), tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.mp4"]


@pytest.mark.parametrize(
    "frames, words",
    [
        ([], "no frames"),
        (iter([]), "no frames"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no frames"),
        (torch.zeros(0, 8, 8, 3), "no frames"),
        (np.zeros((8, 8, 3), np.uint8), r"shape \(8, 8, 3\)"),
        (np.zeros((2, 8, 8), np.uint8), r"shape \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"shape \(8, 8, 4\)"),
        (torch.zeros(2, 3, 8, 8), r"shape \(3, 8, 8\)"),
        (np.zeros((2, 8, 8, 3), np.int64), "int64"),
        (np.zeros((2, 1, 8, 3), np.uint8), "8x1 is too small"),
        (np.zeros((2, 0, 8, 3), np.uint8), "too small"),
        ([Image.new("RGB", (8, 8)), Image.new("RGB", (8, 10))], "Frame 1 is 8x10 and the first is 8x8"),
        (Image.new("RGB", (8, 8)), "The frames have the shape"),
        (None, "The frames have the shape"),
        ([None], "Frame 0"),
    ],
)  # fmt: skip
def test_what_is_no_clip_is_refused(tmp_path: Path, frames, words: str):
    with pytest.raises(SVDError, match=words):
        save_video(frames, tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "options, words",
    [
        ({"fps": 0}, "fps"),
        ({"fps": -7}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"fps": 1e-6}, "fps"),
        ({"fps": 10**400}, "fps is a number too large"),
        ({"fps": 10**5000}, "fps is a number too large"),
        ({"quality": 10**400}, "quality is a number too large"),
        ({"quality": -1}, "quality"),
        ({"quality": 11}, "quality"),
        ({"quality": float("nan")}, "quality"),
    ],
)
def test_rates_and_qualities_out_of_range_are_refused(tmp_path: Path, options: dict[str, float], words: str):
    with pytest.raises(SVDError, match=words):
        save_video(clip(), tmp_path / "clip.mp4", **options)
    assert os.listdir(tmp_path) == []
