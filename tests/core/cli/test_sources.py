"""Clips from videos, held frames and an extension; corrections; and what of them is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image, ImageOps

from svd_core import SVDPipeline, load_metadata, load_video, save_video
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.cli import main
from svd_core.cli.batch import Batch
from svd_core.cli.dry_run import _Stages
from svd_core.cli.main import _join_frame_ids, make_parser
from svd_core.cli.options import HoldOption, parse_hold_mask
from svd_core.cli.records import hash_file
from tests.support.random_checkpoint import tiny_config, write_extension

from .conftest import Animate
from .test_commands import COMET

FIRST, LAST = ["--hold", "0=pictures/1.png"], ["--hold", "-1=pictures/2.png"]
VIDEO = ["--input-video", "pictures", "--denoising-strength", "0.5"]
POSITIONS = 5
NOT_ARGUMENTS = ("dtype", "weight_dtype", "quality")


@pytest.fixture
def extension(desk: Path) -> Path:
    return write_extension(desk / "longer.safetensors", tiny_config().unet, POSITIONS)


def made(*words: str) -> np.ndarray:
    """A clip of the bundled model."""
    shutil.rmtree("made", ignore_errors=True)
    quick = ["--num-frames", "3", "--num-inference-steps", "3", "--format", "png"]
    assert main(["animate", str(COMET), "--checkpoint", str(DEMO_CHECKPOINT), *quick, "-o", "made", *words]) == 0
    return load_video(next(Path("made").iterdir())).frames


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of 8-bit levels."""
    return float(np.abs(a.astype(float) - b).mean())


# The clip


def test_a_video_is_kept_the_less_the_stronger(desk: Path) -> None:
    video = made()[:, :, ::-1]
    save_video(video, "mirrored/%d.png", 7)
    words = ["--input-video", "mirrored", "--denoising-strength"]
    near, far = (distance(made(*words, strength), video) for strength in ("0.1", "0.8"))
    assert near < 4 < far


def test_held_frames_and_masks(desk: Path) -> None:
    """The last frame is to have its comet, which is in the upper half, on the other side."""
    mirrored = ImageOps.mirror(Image.open(COMET).convert("RGB"))
    mirrored.save("last.png")
    for name, rows in (("upper.png", slice(48)), ("lower.png", slice(48, None))):
        half = np.zeros((96, 96), np.uint8)
        half[rows] = 255
        Image.fromarray(half).save(name)
    wanted = np.asarray(mirrored)[:48]
    hold = ["--hold", "-1=last.png"]
    plain, held, upper, lower = (
        distance(made(*words)[-1, :48], wanted)
        for words in ([], hold, [*hold, "--hold-mask", "upper.png"], [*hold, "--hold-mask", "lower.png"])
    )
    assert max(held, upper) < 0.5 * plain < lower


def test_a_mask_is_fitted_as_its_picture_is(desk: Path) -> None:
    """Of a square mask, a clip of 192x96 shows the middle half."""
    mask = np.zeros((64, 64), np.uint8)
    mask[:24] = 255
    Image.fromarray(mask).save("mask.png")
    words = ["pictures/0.png", *FIRST, *LAST, "--hold-mask", "-1=mask.png"]
    options = make_parser().parse_args(
        _join_frame_ids(["animate", *words, "--num-frames", "4", "--width", "192", "--height", "96"])
    )
    options.checkpoint = DEMO_CHECKPOINT
    batch = Batch.from_options(options)
    given = batch.given
    assert given.mask_frame_ids == [0, 3]
    _, held = given.encode(lambda pixels: F.avg_pool2d(pixels, 8)[:, [0, 0, 0, 0]], batch.settings)
    first, _, _, last = held.mask  # 1 12 24
    assert first.min() == 1  # it has none of its own
    assert last[:, :2].min() > 0.99 and last[:, 4:].max() < 0.01  # stretched, the edge would be between rows 4 and 5


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp"])
def test_a_video_whose_writer_left_frames_out_starts_the_same_clip(animate: Animate, desk: Path, name: str) -> None:
    """A frame that is shown three times as long stands for three."""
    walk = load_video("pictures").frames[[0, 0, 0, 1, 2]]
    save_video(walk, "walk/%d.png")
    first, *others = (Image.fromarray(frame) for frame in walk[[0, 3, 4]])
    quality = {} if name.endswith("gif") else {"lossless": True}
    first.save(name, save_all=True, append_images=others, duration=[300, 100, 100], **quality)
    wanted, read = load_video("walk").frames, load_video(name).frames
    assert len(read) == len(wanted) == 5
    for source, out in (("walk", "a"), (name, "b")):
        words = ["--input-video", source, "--denoising-strength", "0.3", "--num-frames", "4"]
        assert animate("pictures/0.png", "-o", f"{out}/%d.png", *words) == 0
    clips = [load_video(out).frames.astype(int) for out in ("a", "b")]
    assert abs(clips[0] - clips[1]).mean() <= (0 if quality else 3)


def test_it_is_the_clip_of_the_pipeline(animate: Animate, desk: Path, checkpoint: Path, extension: Path) -> None:
    """And what the file says makes it again."""
    corrections = ["--post-normalize", "--contrast-enhance-scale", "1.2", "--colour-match", "0.5"]
    words = ["--extension", str(extension), *VIDEO, *LAST, *corrections]
    assert animate("pictures/0.png", "-o", "clip/%d.png", *words, "--denoising-steps", "last steps") == 0
    record = load_metadata("clip/%d.png")
    settings = {key: value for key, value in record["settings"].items() if key not in NOT_ARGUMENTS}
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=extension)
    wanted = pipe(
        Image.open("pictures/0.png"),
        seed=record["seed"],
        **settings,
        input_video=load_video("pictures").frames,
        mask_frames=[Image.open("pictures/2.png")],
        mask_frame_ids=[held["frame_id"] for held in record["held_frames"]],
        output="array",
        progress=False,
    )
    assert np.array_equal(load_video("clip").frames, wanted)


# The record


def test_the_file_says_what_it_was_made_from(animate: Animate, desk: Path, extension: Path, capsys) -> None:
    save_video(load_video("pictures").frames, "walk.webp", 7)
    shutil.copy("pictures/1.png", "mask.png")
    words = ["--input-video", "walk.webp", "--denoising-strength", "0.5", *LAST, "--hold-mask", "mask.png"]
    assert animate("pictures/0.png", "-o", "clip.mp4", *words, "--extension", str(extension)) == 0
    capsys.readouterr()
    assert main(["show", "clip.mp4"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["input_video"] == "walk.webp" and shown["input_video_sha256"] == hash_file(Path("walk.webp"))
    assert shown["extension_sha256"] == hash_file(extension) != shown["checkpoint_sha256"]
    assert shown["held_frames"] == [
        {
            "frame_id": 2,
            "picture": "2.png",
            "picture_sha256": hash_file(Path("pictures/2.png")),
            "mask": "mask.png",
            "mask_sha256": hash_file(Path("mask.png")),
        }
    ]
    assert shown["settings"]["denoising_strength"] == 0.5


def test_the_same_files_under_other_names_are_skipped(animate: Animate, desk: Path, capsys) -> None:
    assert animate("pictures/0.png", "-o", "clip.mp4", *VIDEO, *FIRST, *LAST) == 0
    shutil.copytree("pictures", "frames")
    words = ["--input-video", "frames", "--denoising-strength", "0.5"]
    held = ["--hold", "2=frames/2.png", "--hold", "0=frames/1.png"]
    assert animate("pictures/0.png", "-o", "clip.mp4", *words, *held) == 0
    assert "already" in capsys.readouterr().out


@pytest.mark.parametrize("changed", ["frames/2.png", "held.png", "mask.png", "longer.safetensors"])
def test_other_files_of_the_same_names_make_it_again(
    animate: Animate, desk: Path, extension: Path, changed: str, capsys
) -> None:
    shutil.copytree("pictures", "frames")
    for name in ("held.png", "mask.png"):
        shutil.copy("pictures/0.png", name)
    words = ["--input-video", "frames", "--denoising-strength", "0.5", "--hold", "1=held.png"]
    words += ["--hold-mask", "mask.png", "--extension", str(extension)]
    assert animate("pictures/0.png", "-o", "clip.mp4", *words) == 0
    if changed.endswith(".png"):
        shutil.copy("pictures/1.png", changed)
    else:
        write_extension(extension, tiny_config().unet, POSITIONS, seed=2)
    assert animate("pictures/0.png", "-o", "clip.mp4", *words) == 0
    assert "already" not in capsys.readouterr().out


# The words


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("0=a.png", HoldOption(0, Path("a.png"))), ("-1=a=b.png", HoldOption(-1, Path("a=b.png"))),
        ("a.png", HoldOption(None, Path("a.png"))), ("a=b.png", HoldOption(None, Path("a=b.png"))),
        ("3=", HoldOption(None, Path("3="))),
    ],
)  # fmt: skip
def test_a_frame_and_its_file(text: str, option: HoldOption) -> None:
    assert parse_hold_mask(text) == option


def test_no_bars_where_nobody_watches(animate: Animate, desk: Path, capsys) -> None:
    """Standard error of the tests is no terminal; the lines of finished clips are for programs, too."""
    assert animate("pictures", "-o", "out") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(Path("out") / f"{index}.mp4") for index in range(3)]
    assert captured.err == ""


# Plans


def plan(animate: Animate, capsys, *words: str) -> str:
    assert animate("pictures/0.png", "-o", "out", "--dry-run", *words) == 0
    return capsys.readouterr().out


def test_the_plan_tells_what_is_given(animate: Animate, desk: Path, capsys) -> None:
    shutil.copy("pictures/1.png", "mask.png")
    words = [*FIRST, *LAST, "--hold-mask", "0=mask.png", "--num-inference-steps", "25"]
    text = plan(animate, capsys, *VIDEO, *words)
    assert "25 steps from sigma 15.6" in text and "encode      6 times" in text  # the picture, 3 frames, 2 held
    assert "starts from pictures, at a strength of 0.5" in text
    assert "frame 0, as 1.png, where mask.png is white\n" in text and "frame 2, as 2.png\n" in text
    text = plan(animate, capsys, *VIDEO, *words, "--denoising-steps", "last steps")
    assert "25 steps from sigma 14.1" in text
    text = plan(animate, capsys, "--num-inference-steps", "25")
    assert "25 steps from sigma 700" in text and "encode      once" in text and "held " not in text


def test_an_extension_is_planned_at_its_full_length(desk: Path, checkpoint: Path, extension: Path, capsys) -> None:
    words = ["animate", "pictures/0.png", "--checkpoint", str(checkpoint), "--width", "32", "--height", "16"]
    plain, extended = (
        Batch.from_options(make_parser().parse_args([*words, *more])) for more in ([], ["--extension", str(extension)])
    )
    assert extended.settings.num_frames == POSITIONS and extended.settings.max_cfg_scale == 2
    assert main([*words, "--extension", str(extension), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"with {extension.name}: ExVideo" in out and f"{POSITIONS} frames" in out
    sizes = (_Stages(batch).count_weights()["UNet"] for batch in (extended, plain))
    assert next(sizes) > next(sizes)


# Refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--denoising-strength", "0.5"], "no input_video to start from"),
        (["--denoising-strength", "0", "--input-video", "pictures"], "denoising_strength is 0 and must be 0.001 to 1"),
        ([*VIDEO, "--denoising-steps", "few"], "no shortening named 'few'"),
        (["--input-video", "nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["--input-video", "pictures/%03d.jpg"], "There are no frames at"),
        (["--input-video", "text.mp4"], "text.mp4 cannot be read as a video"),
        ([*VIDEO, "--num-frames", "4"], "The video has 3 frames and the clip 4"),
        (["--hold", "3=pictures/1.png"], "There is no frame 3 in a clip of 3 frames"),
        (["--hold", "-4=pictures/1.png"], "There is no frame -4"),
        ([*LAST, "--hold", "2=pictures/1.png"], "Frame 2 is to be held 2 times"),
        (["--hold", "0=nowhere.png"], "nowhere.png does not exist"),
        (["--hold", "0=text.mp4"], "text.mp4 cannot be read as a picture"),
        (["--hold-mask", "pictures/1.png"], "needs a frame to be for"),
        ([*FIRST, "--hold-mask", "nowhere.png"], "nowhere.png does not exist"),
        ([*FIRST, "--hold-mask", "1=pictures/1.png"], "a --hold-mask for frame 1, which is not held"),
        ([*FIRST, "--hold-mask", "pictures/1.png", "--hold-mask", "0=pictures/1.png"], "stands alone"),
        (["--contrast-enhance-scale", "0"], "contrast_enhance_scale is 0 and must be 0.01 to 10"),
        (["--colour-match", "2"], "colour_match is 2 and must be 0 to 1"),
        (["--extension", "nowhere.safetensors"], "does not exist"),
        (["--extension", "longer.safetensors", "--num-frames", "6"], "extended to 5 frames"),
        (["--input-video", "walk.webp", "-o", "walk.webp"], "would replace a picture or video it is made from"),
        (["--hold", "0=walk.webp", "-o", "walk.webp"], "would replace a picture or video it is made from"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    animate: Animate, desk: Path, extension: Path, words: list[str], message: str, capsys, monkeypatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(SVDPipeline, "from_checkpoint", never)
    Path("text.mp4").write_text("no video")
    save_video(load_video("pictures").frames, "walk.webp", 7)
    assert animate("pictures/0.png", "-o", "out.mp4", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("svd-nodes: ") and message in line


@pytest.mark.parametrize("text", ["first.png", "a=first.png", "0="])
def test_a_held_frame_needs_its_number(desk: Path, text: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["animate", "pictures/0.png", "--hold", text])
    assert "expected ID=FILE" in capsys.readouterr().err
