"""Numbers and names that nobody means: one line each, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core import SVDError, SVDPipeline
from svd_core.cli.main import main, make_parser
from svd_core.diffusion.conditioning import MicroConditioning
from svd_core.diffusion.guidance import guidance_scale
from svd_core.diffusion.latents import check_contrast
from svd_core.images.colours import check_strength
from svd_core.pipeline.settings import ClipSettings, RunOptions, describe_settings
from svd_core.video.format import check_quality, check_rate

from .conftest import Animate

LONG, LARGEST, DIGITS = "x" * 5000, str(2**64 - 1), "9" * 5000
VIDEO = ["--input-video", "pictures", "--denoising-steps", "last steps"]

REFUSED = [
    (["--max-cfg-scale", "1e308"], "max_cfg_scale is 1e+308 and must be -100 to 100"),
    (["--min-cfg-scale=-1e308"], "min_cfg_scale is -1e+308"),
    (["--fps", "nan"], "fps is nan and must be 1 to 1000"),
    (["--motion-bucket-id", "1e400"], "motion_bucket_id is inf and must be 0 to 1023"),
    (["--noise-aug-strength", "1e300"], "noise_aug_strength is 1e+300"),
    (["--contrast-enhance-scale", "1e30"], "contrast_enhance_scale is 1e+30"),
    (["--quality", "nan"], "quality is nan and must be 0 to 10"),
    (["--quality", "1e400"], "quality is inf and must be 0 to 10"),
    ([*VIDEO, "--denoising-strength", "1e-9"], "denoising_strength is 1e-09 and must be 0.001 to 1"),
    (["--input-video", LONG, "--denoising-strength", "0.5"], ""),
    (["--hold", f"0={LONG}"], ""),
    (["--hold", f"{DIGITS[:30]}=pictures/0.png"], "There is no frame 9999"),
    (["--checkpoint", LONG], ""),
    (["--extension", LONG], ""),
    (["--lora", LONG], ""),
    (["--device", LONG], "cannot be used here"),
    (["--sampler", LONG], "There is no sampler named"),
    (["-o", LONG], "File name too long"),
    (["-o", f"{LONG}.mp4"], "File name too long"),
    (["-o", f"{LONG}/"], "File name too long"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=lambda value: " ".join(value)[:40] if value else "")
def test_what_is_too_much_is_one_line(
    animate: Animate, desk: Path, words: list[str], message: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(SVDPipeline, "from_checkpoint", never)
    assert animate("pictures/0.png", "-o", "out", *words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("svd-nodes: ")]
    assert len(lines) == 1 and message in lines[0] and len(lines[0]) < 1200


TYPED = [
    (["--num-frames", LARGEST], "expected a whole number from 2 to 4096"),
    (["--num-inference-steps", LARGEST], "expected a whole number from 1 to 1000"),
    (["--seeds", LARGEST], "expected a whole number from 1 to 10000"),
    (["--frames-at-once", LARGEST], "expected a whole number from 0 to 4096"),
    (["--width", "1e3"], "expected a whole number from 1 to 8192"),
    (["--seed", DIGITS], "expected a whole number from 0 to 18446744073709551615"),
    (["--fps", LONG], "invalid float value"),
    (["--format", LONG], "invalid choice"),
    (["--lora", "a.safetensors:1e308"], "expected a strength from -100 to 100"),
    (["--lora", "a.safetensors:nan"], "expected a strength from -100 to 100"),
    ([f"--{LONG}"], "unrecognized arguments"),
]


@pytest.mark.parametrize(("words", "message"), TYPED, ids=lambda value: " ".join(value)[:40] if value else "")
def test_words_that_cannot_be_read_are_one_short_line(animate: Animate, words: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        animate("pictures/0.png", *words)
    last = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2 and message in last and len(last) < 1200


def test_every_number_of_the_command_line_has_an_end_on_both_sides() -> None:
    """What is typed as a number is a setting with limits, or one of these."""
    settings = {**describe_settings(ClipSettings), **describe_settings(RunOptions)}
    numbers = [
        action.dest
        for action in make_parser()._subparsers._group_actions[0].choices["animate"]._actions
        if action.metavar in ("N", "X", "PIXELS")
    ]
    assert {"seeds", "quality"} == {name for name in numbers if name not in settings}
    assert all(settings[name][1].limits for name in numbers if name in settings)


def test_a_name_that_the_system_does_not_take_stops_no_other(animate: Animate, desk: Path, capsys) -> None:
    assert animate(f"{LONG}.png", "pictures/0.png", "-o", "out") == 1
    assert [file.name for file in Path("out").iterdir()] == ["0.mp4"]
    name = "n" * 240 + ".png"  # a name for a picture, and too long for its clip with a seed
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(name)
    assert animate(name, "pictures/1.png", "-o", "out", "--seeds", "2", "--seed", LARGEST) == 1
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan")], ids=lambda value: str(value)[:6])
@pytest.mark.parametrize(
    "check",
    [
        lambda value: MicroConditioning(fps=value),
        lambda value: MicroConditioning(noise_aug_strength=value),
        lambda value: guidance_scale("linear", 1.0, value, 3),
        lambda value: guidance_scale("constant", value, 1.0, 3),
        check_contrast,
        check_strength,
        check_quality,
        check_rate,
    ],
)
def test_python_numbers_of_any_size_end_in_one_sentence(check, value: float) -> None:
    with pytest.raises(SVDError) as caught:
        check(value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-frames", "1"], "1: expected a whole number from 2 to 4096"),
        (["--seeds", "none"], "none: expected a whole number from 1 to 10000"),
        (["--seeds", "18446744073709551615"], "expected a whole number from 1 to 10000"),
        (["--seed", "-1"], "-1: expected a whole number from 0 to 18446744073709551615"),
        (["--fps", "fast"], "'fast'"),
    ],
)
def test_numbers_are_checked_as_they_are_typed(animate: Animate, words: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        animate("pictures/0.png", *words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--nothing" + "x" * 5000], ["--seed", "x" * 5000], ["--seed", "\x1b[31m9\n"]])
def test_what_is_typed_is_repeated_on_one_short_line(words: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        main(["animate", "picture.png", *words])
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("svd-nodes") and ": error: " in line and line.isprintable() and len(line) < 600
