"""Clips from the command line: one, many, those of a stopped run, and what is refused."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core import SVDPipeline, load_metadata, load_video
from svd_core.checkpoints.layouts import read_files
from svd_core.cli import main
from svd_core.cli.options import LoRAOption, parse_lora
from svd_core.cli.records import hash_file
from svd_core.errors import SVDError
from svd_core.pipeline.clip import Clip
from tests.support.random_lora import random_factors, write_lora
from tools.comfyui import REPOSITORY

from .conftest import QUICK, Animate, files

# One clip


def test_a_picture_becomes_a_clip_that_says_how(animate: Animate, desk: Path, checkpoint: Path, capsys) -> None:
    assert animate("pictures/0.png", "-o", "clip.mp4", "--seed", "5", "--fps", "8") == 0
    video = load_video("clip.mp4")
    assert video.frames.shape == (3, 16, 32, 3) and video.fps == 8
    capsys.readouterr()
    assert main(["show", "clip.mp4"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == video.metadata and shown["seed"] == 5 and shown["settings"]["num_inference_steps"] == 1
    assert shown["checkpoint_sha256"] == hash_file(checkpoint)
    assert shown["picture_sha256"] == hash_file(desk / "pictures" / "0.png")


def test_it_is_the_clip_of_the_pipeline(animate: Animate, desk: Path, checkpoint: Path) -> None:
    """And what the file says of its settings makes it again."""
    assert animate("pictures/0.png", "-o", "clip/%d.png", "--seed", "5", "--sampler", "euler_ancestral") == 0
    record = load_metadata("clip/%d.png")
    settings = {k: v for k, v in record["settings"].items() if k not in ("dtype", "weight_dtype", "quality")}
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu")
    with Image.open("pictures/0.png") as picture:
        wanted = pipe(picture, seed=record["seed"], **settings, output="array", progress=False)
    assert np.array_equal(load_video("clip").frames, wanted)


@pytest.mark.parametrize("format", ["mp4", "mov", "mkv", "webm", "gif", "webp"])
def test_every_format_is_skipped_when_it_is_there(animate: Animate, desk: Path, format: str, capsys) -> None:
    words = ("pictures/0.png", "-o", "out", "--format", format)
    assert animate(*words) == 0
    before = (desk / "out" / f"0.{format}").stat().st_mtime_ns
    assert animate(*words) == 0
    assert "1 of 1 clips are there already" in capsys.readouterr().out
    assert (desk / "out" / f"0.{format}").stat().st_mtime_ns == before


def test_a_picture_whose_name_looks_like_a_pattern_becomes_one_file(animate: Animate, desk: Path) -> None:
    shutil.copy("pictures/0.png", "shot%d.png")
    assert animate("shot%d.png", "-o", "out", "--format", "webp") == 0
    assert files(desk / "out") == ["shot_d.webp"]


@pytest.mark.parametrize(
    "words, reason",
    [
        (("-o", "clip.gif", "--fps", "60"), "at most 50 frames per second, not 60"),
        (("-o", "out", "--format", "webp", "--fps", "100"), "at most 90 frames per second, not 100"),
        (("-o", "clip.mp4"), "needs the Python library av"),
        (("-o", "out", "--format", "webm", "--dry-run"), "needs the Python library av"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    animate: Animate, desk: Path, words: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "av.codec", None)
    monkeypatch.delattr(SVDPipeline, "from_checkpoint")
    before = files(desk)
    assert animate("pictures/0.png", *words) == 2
    assert reason in capsys.readouterr().err
    assert files(desk) == before


def test_frames_are_skipped_too_and_never_mixed(animate: Animate, desk: Path, capsys) -> None:
    assert animate("pictures/0.png", "-o", "out", "--format", "png") == 0
    assert files(desk / "out") == ["0/0000.png", "0/0001.png", "0/0002.png"]
    assert animate("pictures/0.png", "-o", "out", "--format", "png") == 0
    assert "are there already" in capsys.readouterr().out
    assert animate("pictures/0.png", "-o", "out", "--format", "png", "--seed", "1") == 2
    assert "holds something else" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        ["--seed", "1"], ["--fps", "8"], ["--motion-bucket-id", "90"], ["--noise-aug-strength", "0.1"],
        ["--max-cfg-scale", "2"], ["--min-cfg-scale", "1.5"], ["--fit", "pad"], ["--guidance-kind", "triangle"],
        ["--sampler", "dpmpp_2m"], ["--schedule", "align your steps"], ["--quality", "6"], ["--dtype", "bf16"],
        ["--weight-dtype", "fp8_e4m3fn"], ["--post-normalize"], ["--contrast-enhance-scale", "1.2"],
        ["--colour-match", "1"], ["--speed", "balanced"], ["--hold", "-1=pictures/1.png"],
        ["--input-video", "pictures", "--denoising-strength", "0.5"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_other_settings_make_it_again(animate: Animate, desk: Path, change: list[str], capsys) -> None:
    assert animate("pictures/0.png", "-o", "clip.mp4") == 0
    before = (desk / "clip.mp4").read_bytes()
    assert animate("pictures/0.png", "-o", "clip.mp4", *change) == 0
    assert "already" not in capsys.readouterr().out
    assert (desk / "clip.mp4").read_bytes() != before


def test_what_changes_nothing_does_not(animate: Animate, desk: Path, capsys) -> None:
    assert animate("pictures/0.png", "-o", "clip.mp4") == 0
    os.rename("pictures/0.png", "renamed.png")
    assert animate("renamed.png", "-o", "clip.mp4", "--memory", "smallest", "--frames-at-once", "1") == 0
    assert "already" in capsys.readouterr().out


def test_loras_count_and_are_recorded(animate: Animate, desk: Path, checkpoint: Path) -> None:
    from svd_core.checkpoints import open_checkpoint, unet_shapes

    shapes = unet_shapes(open_checkpoint(checkpoint).unet)
    write_lora(desk / "a:b.safetensors", random_factors(shapes), shapes, "peft")
    assert animate("pictures/0.png", "-o", "plain.mp4") == 0
    assert animate("pictures/0.png", "-o", "lora.mp4", "--lora", "a:b.safetensors:0.5") == 0
    assert load_metadata("lora.mp4")["loras"] == [["a:b.safetensors", hash_file(desk / "a:b.safetensors"), 0.5]]
    assert not np.array_equal(load_video("plain.mp4").frames, load_video("lora.mp4").frames)
    assert animate("pictures/0.png", "-o", "none.mp4", "--lora", "missing.safetensors") == 2


@pytest.mark.parametrize(
    ("text", "path", "strength"),
    [("a", "a", 1), ("a:0.5", "a", 0.5), ("a:b", "a:b", 1), ("C:\\a:-1", "C:\\a", -1), ("C:\\a", "C:\\a", 1)],
)
def test_a_lora_and_its_strength(text: str, path: str, strength: float) -> None:
    assert parse_lora(text) == LoRAOption(Path(path), strength)


# Many


def test_pictures_times_seeds(animate: Animate, desk: Path, capsys) -> None:
    assert animate("pictures", "-o", "out", "--seeds", "2", "--seed", "7") == 0
    assert files(desk / "out") == [f"{picture}_seed{seed}.mp4" for picture in range(3) for seed in (7, 8)]
    assert {load_metadata(f"out/1_seed{seed}.mp4")["seed"] for seed in (7, 8)} == {7, 8}
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_seeds_begin_again_after_the_largest(animate: Animate, desk: Path) -> None:
    largest = 2**64 - 1
    assert animate("pictures/0.png", "-o", "out", "--seeds", "2", "--seed", str(largest)) == 0
    assert files(desk / "out") == ["0_seed0.mp4", f"0_seed{largest}.mp4"]


def test_the_checkpoint_is_opened_once(animate: Animate, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def note_and_open(path: Path) -> object:
        opened.append(path)
        return read_files(path)

    monkeypatch.setattr("svd_core.checkpoints.load.read_files", note_and_open)
    assert animate("pictures", "-o", "out") == 0
    assert len(opened) == 1


def test_one_bad_picture_does_not_stop_the_rest(animate: Animate, desk: Path, capsys) -> None:
    (desk / "pictures" / "1.png").write_text("no picture")
    assert animate("pictures", "missing.png", "-o", "out") == 1
    assert files(desk / "out") == ["0.mp4", "2.mp4"]
    *_, first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("svd-nodes: missing.mp4 was not made") or second.startswith("svd-nodes: missing.mp4")
    assert "1.mp4 was not made" in first + second and "cannot be read as a picture" in first + second
    assert animate("pictures/1.png", "-o", "out") == 2  # none at all


def refuse_to_save(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    save = Clip.save

    def refuse(clip: Clip, path: Path, *options: object) -> Path:
        if path.stem == name:
            raise error
        return save(clip, path, *options)

    monkeypatch.setattr(Clip, "save", refuse)


def test_a_clip_that_cannot_be_saved_does_not_stop_the_rest(animate: Animate, desk: Path, monkeypatch, capsys) -> None:
    refuse_to_save(monkeypatch, "1", SVDError("1.mp4 cannot be written (No space left on device); free some space."))
    assert animate("pictures", "-o", "out") == 1
    assert files(desk / "out") == ["0.mp4", "2.mp4"]
    assert "svd-nodes: 1.mp4 was not made: 1.mp4 cannot be written" in capsys.readouterr().err


def test_a_name_too_long_does_not_stop_the_rest(animate: Animate, desk: Path, capsys) -> None:
    """The picture's name is just short enough, its clip's is not."""
    (desk / "pictures" / "1.png").rename(desk / "pictures" / f"{'n' * 251}.jpg")
    assert animate("pictures", "-o", "out", "--format", "webm") == 1
    assert files(desk / "out") == ["0.webm", "2.webm"]
    assert "File name too long" in capsys.readouterr().err


def test_an_interrupted_batch_still_says_what_failed(animate: Animate, desk: Path, monkeypatch, capsys) -> None:
    (desk / "pictures" / "0.png").write_text("no picture")
    refuse_to_save(monkeypatch, "1", KeyboardInterrupt())
    assert animate("pictures", "-o", "out") == 130
    assert "0.mp4 was not made" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_known_before_the_sampling(
    animate: Animate, desk: Path, monkeypatch, capsys
) -> None:
    (desk / "out").touch()
    monkeypatch.setattr(SVDPipeline, "__call__", lambda *_, **__: pytest.fail("a clip was made"))
    assert animate("pictures", "-o", "out") == 2
    assert capsys.readouterr().err.count("The folder out cannot be made") == 3


@pytest.mark.parametrize("format", ["mp4", "png"])
def test_what_another_run_makes_in_the_meantime_is_not_made_again(
    animate: Animate, desk: Path, monkeypatch, capsys, format: str
) -> None:
    made: list[int] = []
    call = SVDPipeline.__call__

    def be_slow(pipe: SVDPipeline, *given: object, **options: object) -> Clip:
        made.append(len(made))
        if len(made) == 1:
            assert animate("pictures", "-o", "out", "--format", format) == 0
        return call(pipe, *given, **options)

    monkeypatch.setattr(SVDPipeline, "__call__", be_slow)
    assert animate("pictures", "-o", "out", "--format", format) == 0
    assert len(made) == 4  # three by the other run, and one by both
    assert not capsys.readouterr().err


def test_a_file_that_comes_in_the_meantime_is_not_replaced(animate: Animate, desk: Path, monkeypatch, capsys) -> None:
    call = SVDPipeline.__call__

    def be_slow(pipe: SVDPipeline, *given: object, **options: object) -> Clip:
        (desk / "out" / "0.mp4").write_text("theirs")
        return call(pipe, *given, **options)

    monkeypatch.setattr(SVDPipeline, "__call__", be_slow)
    assert animate("pictures/0.png", "-o", "out") == 2
    assert (desk / "out" / "0.mp4").read_text() == "theirs"
    assert "was not made by this program" in capsys.readouterr().err


def start(*words: str, **pipes: int) -> subprocess.Popen[bytes]:
    """In a process of its own, with as many threads as here: sums are in the same order."""
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-m", "svd_core", *words]
    return subprocess.Popen(command, env=environment, preexec_fn=listen_to_ctrl_c, **pipes)


def listen_to_ctrl_c() -> None:
    """A shell's background processes ignore it, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_killed_batch_goes_on_to_the_same_clips(desk: Path, checkpoint: Path) -> None:
    """Killed in the middle, with the second clip under way; on a busy machine the third."""
    command = ["animate", "pictures", "--checkpoint", str(checkpoint), *QUICK, "--num-inference-steps", "10", "-o"]
    process = start(*command, "killed", stderr=subprocess.DEVNULL)
    while process.poll() is None and not Path("killed/0.mp4").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    made = {name: Path("killed", name).stat().st_mtime_ns for name in files(desk / "killed")}
    assert "0.mp4" in made and "2.mp4" not in made, "killed too late to prove anything"
    assert main([*command, "killed"]) == 0
    for name, time_made in made.items():
        assert Path("killed", name).stat().st_mtime_ns == time_made  # it was not made again
    assert main([*command, "whole"]) == 0
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes()


def _rest(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal until its other end is closed, which is an error on Linux."""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 1024):
            yield piece
    os.close(terminal)


def test_interrupting_leaves_nothing_half_written(desk: Path, checkpoint: Path) -> None:
    command = ["animate", "pictures/0.png", "--checkpoint", str(checkpoint), *QUICK, "--num-inference-steps", "500"]
    terminal, end = os.openpty()  # bars are for terminals
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = start(*command, "-o", "out/clip.mp4", stderr=end)
    os.close(end)
    seen = b""
    while not re.search(rb" [1-9]\d*/500", seen):
        seen += os.read(terminal, 1024)
        assert process.poll() is None, seen
    process.send_signal(signal.SIGINT)
    seen += b"".join(_rest(terminal))
    assert process.wait() == 130
    assert seen.splitlines()[-1] == b"svd-nodes: interrupted" and b"Traceback" not in seen
    assert not (desk / "out").exists() or files(desk / "out") == []


# Refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pictures", "-o", "clip.mp4"], "3 clips do not go into clip.mp4"),
        (["pictures/0.png", "-o", "clip.avi"], "clip.avi is neither a video nor a folder"),
        (["pictures/0.png", "more/0.png", "-o", "out"], "would both become 0.mp4"),
        (["pictures/0.png", "-o", "pictures/0.webp"], None),
        (["still.webp", "-o", ".", "--format", "webp"], "would replace a picture"),
        (["pictures/0.png", "--checkpoint", "nowhere.safetensors"], "does not exist"),
        (["pictures/0.png", "--sampler", "fast"], "no sampler named 'fast'"),
        (["pictures/0.png", "--schedule", "fast"], "fast"),
        (["pictures/0.png", "--guidance-kind", "none"], "none"),
        (["pictures/0.png", "--memory", "none"], "none"),
        (["pictures/0.png", "--speed", "warp"], "no speed named 'warp'"),
        (["pictures/0.png", "--fit", "none"], "none"),
        (["pictures/0.png", "--device", "cuda:99"], "The device cuda:99 cannot be used here"),
        (["pictures/0.png", "--device", "abacus"], "The device abacus cannot be used here"),
        (["pictures/0.png", "--fps", "0"], "fps"),
        (["pictures/0.png", "--quality", "11"], "quality"),
        (["empty"], "no pictures in empty"),
    ],
)
def test_what_cannot_be_is_one_line(
    animate: Animate, desk: Path, words: list[str], message: str | None, capsys
) -> None:
    (desk / "more").mkdir()
    (desk / "empty").mkdir()
    shutil.copy("pictures/0.png", "more/0.png")
    Image.new("RGB", (8, 8)).save("still.webp")
    code = animate(*words)
    if message is None:
        assert code == 0
        return
    assert code == 2
    last = [line for line in capsys.readouterr().err.splitlines() if line][-1]
    assert last.startswith("svd-nodes: ") and message in last


def test_files_of_others_are_not_replaced(animate: Animate, desk: Path, capsys) -> None:
    Path("clip.mp4").write_bytes(b"a film of mine")
    assert animate("pictures/0.png", "-o", "clip.mp4") == 2
    assert "was not made by this program" in capsys.readouterr().err
    assert Path("clip.mp4").read_bytes() == b"a film of mine"
    assert animate("pictures/0.png", "-o", "clip.mp4", "--overwrite") == 0
    assert load_metadata("clip.mp4")


def test_running_out_of_memory_is_one_line(animate: Animate, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SVDPipeline, "__call__", full)
    assert animate("pictures/0.png", "-o", "clip.mp4") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("svd-nodes: clip.mp4 was not made: memory ran out")
