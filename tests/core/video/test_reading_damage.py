"""Reading what is damaged, or says odd things of itself: a sentence, or the frames all the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core import load_metadata, load_video, save_video
from svd_core.errors import SVDError
from tests.core.video.test_reading import animate, grey
from tests.core.video.test_video import clip, difference
from tests.core.video.test_video_formats import METADATA

COMMENTS = [
    b"made with \xff love",
    b"[1, 2]",
    b'"a text"',
    b"7",
    b"null",
    b"{" * 5000,
    b'{"a":' * 500,
    b"\xff\xfe{}",
    b"",
]


@pytest.mark.parametrize("comment", COMMENTS)
def test_a_comment_that_is_no_dictionary_refuses_nothing(tmp_path: Path, comment: bytes) -> None:
    paths = [animate(tmp_path / "a.gif", grey(0, 200), 100, comment=comment)]
    exif = Image.Exif()
    exif[0x010E] = comment.decode("latin-1")
    for suffix in (".webp", ".avif", ".png"):
        paths.append(animate(tmp_path / f"a{suffix}", grey(0, 200), 100, exif=exif))
    for path in paths:
        video = load_video(path)
        assert len(video.frames) == 2 and video.metadata == load_metadata(path) == {}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_comment_that_is_not_utf_8_refuses_nothing(tmp_path: Path, suffix: str) -> None:
    path = save_video(clip(), tmp_path / f"a{suffix}", metadata={"name": "marker marker"})
    content = path.read_bytes()
    assert b"marker marker" in content
    path.write_bytes(content.replace(b"marker marker", b"\xff\xfe\xb5rker mark\xc3"))
    video = load_video(path)
    assert len(video.frames) == 5 and list(video.metadata) == ["name"]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nothing", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"x"]
)
def test_damaged_exif_data_refuses_nothing(tmp_path: Path, exif: bytes) -> None:
    for suffix in (".webp", ".png"):
        path = animate(tmp_path / f"a{suffix}", grey(0, 200), 100, exif=exif)
        assert len(load_video(path).frames) == 2


# Damage


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut, or some bytes of it changed, half of the time in its header."""
    if random.random() < 0.3:
        return content[: random.integers(len(content))]
    changed = bytearray(content)
    reach = len(changed) if random.random() < 0.5 else min(200, len(changed))
    for _ in range(random.choice((1, 2, 3, 8))):
        changed[random.integers(reach)] = random.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif", ".tif", ".mp4", ".webm"])
def test_damage_is_a_sentence(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow raises RuntimeError, struct.error, IndexError, TypeError and more."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # damaged sizes take their time
    path = tmp_path / f"a{suffix}"
    if suffix in (".mp4", ".webm"):
        save_video(clip(3, 16, 16), path, metadata=METADATA)
    else:
        animate(path, grey(0, 100, 200), 100, **({} if suffix == ".tif" else {"exif": Image.Exif()}))
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        path.write_bytes(damaged(content, random))
        try:
            frames = load_video(path, 14).frames
            assert frames.dtype == np.uint8 and len(frames) <= 14
        except SVDError as error:
            assert re.fullmatch(r"[^\n]*[.]", str(error))


def test_what_is_wanted_of_a_file_that_is_cut_is_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    path = animate(tmp_path / "a.gif", [Image.fromarray(frame) for frame in noise], 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(load_video(path, 3).frames) == 3
    with pytest.raises(SVDError, match=r"a\.gif cannot be read as a picture"):
        load_video(path)


def test_frames_of_16_bits_keep_their_levels(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.full((8, 8), 20000 + 10000 * index, np.uint16)).save(tmp_path / f"{index}.png")
    assert difference(load_video(tmp_path).frames[:, 0, 0, 0], np.array([78, 117, 156])) < 1
