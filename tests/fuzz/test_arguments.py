"""Any value for any option: a plan or a clip, or one sentence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from PIL import Image

from svd_core import SVDPipeline
from svd_core.cli.main import make_parser
from svd_core.pipeline.settings import ClipSettings, RunOptions, Setting, describe_settings
from tests.support.random_checkpoint import tiny_config, write_checkpoint

from .conftest import Fuzz
from .oracle import attempt, run_command

LARGEST = 2**64 - 1
NUMBERS = (
    *("0", "1", "2", "3", "-1", "0.5", "1e-9", "1e308", "-1e308", "1e400", "nan", "inf", "-inf"),
    *(str(LARGEST), str(LARGEST + 1), str(2**63), str(2**32), "9" * 400, "9" * 5000, "1_000", "٣", "0x10", " 1"),
)
WORDS = (
    *("", "x", "x" * 300, "x" * 5000, "\udc80.png", "\x1b[31mred\n", "-", "--", "..", ".", "~"),
    *("%d.png", "%0999999999d.png", "missing/x.mp4", "1=picture.png", "-1=picture.png", "x=picture.png"),
    *("lora.safetensors:1e999", "cuda:99", "mps", "cpu"),
)
SMALL = ["--width", "32", "--height", "32", "--num-frames", "3", "--num-inference-steps", "2"]
COMMANDS = ("animate", "demo", "inspect", "convert", "show")


@pytest.fixture(scope="module")
def files(desk: Path) -> Path:
    folder = desk / "arguments"
    folder.mkdir()
    write_checkpoint(folder / "tiny.safetensors", tiny_config())
    Image.linear_gradient("L").convert("RGB").save(folder / "picture.png")
    (folder / "text.txt").write_text("text")
    (folder / "empty").mkdir()
    return folder


def options_of(command: str) -> list[argparse.Action]:
    parser = next(action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in parser.choices[command]._actions if action.option_strings and action.dest != "help"]


@st.composite
def command_lines(draw: st.DrawFn, command: str, names: tuple[str, ...]) -> list[str]:
    words: list[str] = []
    for action in draw(st.lists(st.sampled_from(options_of(command)), max_size=4)):
        words.append(action.option_strings[0])
        if action.nargs != 0:
            choices = tuple(map(str, action.choices or ()))
            words.append(draw(st.sampled_from((*NUMBERS, *WORDS, *names, *choices, *choices))))
    return words


@pytest.mark.parametrize("command", COMMANDS)
def test_any_value_of_any_option(fuzz: Fuzz, files: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setattr("svd_core.cli.dry_run.measure_matmul_rate", lambda *_: 1e9)
    names = tuple(path.name for path in files.iterdir())

    def check(case: tuple[list[str], list[str]]) -> None:
        options, places = case
        given = {"animate": ["--dry-run"], "demo": ["--dry-run"]}.get(command, [])
        small = SMALL if command == "animate" else []
        run_command([command, *given, *small, *options, *places])  # an -- makes all that follows pictures
        assert {path.name for path in files.iterdir()} == set(names), "a plan wrote something"

    places = st.lists(st.sampled_from((*names, *WORDS)), max_size=3)
    if command == "convert":  # only what cannot be written, so that nothing is
        places = st.sampled_from(
            [["text.txt", "new"], ["empty", "x"], ["tiny.safetensors", "missing/x"], ["tiny.safetensors", "text.txt"]]
        )
    if command == "animate":
        places = places.map(lambda words: [*words, "--checkpoint", "tiny.safetensors"])
    fuzz(check, st.tuples(command_lines(command, names), places), cases=15, thorough_cases=600)


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    odd = (
        0,
        1,
        2,
        3,
        -1,
        0.5,
        1e-9,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
        2**31,
        2**63,
        2**64 - 1,
        10**400,
        None,
        "x",
        True,
    )
    return st.sampled_from((*setting.choices, *setting.choices, *odd))


def test_any_setting_of_the_pipeline(fuzz: Fuzz, files: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(files / "tiny.safetensors", device="cpu")
    picture = Image.open(files / "picture.png")
    described = {**describe_settings(ClipSettings), **describe_settings(RunOptions)}
    settings = [(name, values_of(setting)) for name, (_, setting) in described.items() if setting.group]
    small: dict[str, Any] = {"width": 16, "height": 16, "num_frames": 2, "num_inference_steps": 2}

    def check(changes: dict[str, Any]) -> None:
        frames = attempt(lambda: pipe(picture, output="tensor", **{**small, **changes}, progress=False))
        if frames is not None:
            assert frames.isfinite().all() and frames.ndim == 4, changes
            assert frames.max() > 0, "a black clip"

    pairs = st.one_of([st.tuples(st.just(name), values) for name, values in settings])
    fuzz(check, st.lists(pairs, min_size=1, max_size=3).map(dict), cases=25, thorough_cases=1500)
