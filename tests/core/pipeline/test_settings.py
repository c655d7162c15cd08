"""Settings: written once, the same in every place that follows from them, and resolved alike everywhere."""

from __future__ import annotations

import json
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checks import settings_tables
from svd_core import ClipSettings, SVDError, SVDPipeline, open_checkpoint
from svd_core.checkpoints.releases import SVD, UNKNOWN
from svd_core.cli.batch import Batch
from svd_core.cli.main import make_parser
from svd_core.config import ModelConfig
from svd_core.diffusion.guidance import GUIDANCE_KINDS
from svd_core.diffusion.samplers import SAMPLERS
from svd_core.diffusion.schedules import SCHEDULES, SHORTENINGS
from svd_core.diffusion.speed import SPEEDS
from svd_core.images.pictures import FIT_MODES
from svd_core.memory.device import MEMORY_CHOICES
from svd_core.pipeline.given_frames import GivenFrames
from svd_core.pipeline.resolve import resolve_settings
from svd_core.pipeline.settings import (
    CallArguments,
    ResolvedSettings,
    RunOptions,
    describe_settings,
    read_numbers,
)
from tests.support.random_checkpoint import tiny_config, write_checkpoint

DESCRIBED = {**describe_settings(ClipSettings), **describe_settings(RunOptions)}
CHOICES = {
    "fit": FIT_MODES,
    "guidance_kind": GUIDANCE_KINDS,
    "sampler": SAMPLERS,
    "schedule": SCHEDULES,
    "speed": SPEEDS,
    "denoising_steps": SHORTENINGS,
    "memory": MEMORY_CHOICES,
}


def resolve(**settings: Any) -> ResolvedSettings:
    return resolve_settings(ClipSettings(**settings), ModelConfig(), None, None)


def test_the_arguments_of_a_call_are_the_fields() -> None:
    named = {each.name: each.type for kind in (ClipSettings, GivenFrames, RunOptions) for each in fields(kind)}
    annotated = {name: kind.__forward_arg__ for name, kind in CallArguments.__annotations__.items()}
    assert annotated == {"settings": "ClipSettings | None", **named}


def test_every_field_is_described() -> None:
    for kind in (ClipSettings, GivenFrames, RunOptions):
        assert list(describe_settings(kind)) == [each.name for each in fields(kind)]


def test_the_choices_are_those_there_are() -> None:
    assert {name: setting.choices for name, (_, setting) in DESCRIBED.items() if setting.choices} == {
        name: tuple(options) for name, options in CHOICES.items()
    }


NUMBERS = [name for name, (_, setting) in DESCRIBED.items() if setting.kind in (int, float)]
HUGE = (10**400, -(10**400), 2**64, 1e308, float("inf"), float("-inf"), float("nan"))


def test_every_number_has_an_end_on_both_sides() -> None:
    assert NUMBERS and all(DESCRIBED[name][1].limits for name in NUMBERS)


@pytest.mark.parametrize("name", [name for name in NUMBERS if name in describe_settings(ClipSettings)])
def test_the_ends_of_a_range_are_taken_and_what_lies_beyond_is_refused(name: str) -> None:
    _, setting = DESCRIBED[name]
    step = 1 if setting.kind is int else 1e-4
    for end, beyond in zip(setting.limits, (-step, step), strict=True):
        resolve(**{name: end})
        with pytest.raises(SVDError, match=f"^{name} is .* and must be {setting.range}[.]$"):
            resolve(**{name: end + beyond})


@pytest.mark.parametrize("value", [*HUGE, "7", 1j, [7], b"7"], ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_such_number_is_refused_in_one_sentence(tmp_path: Path, name: str, value: Any) -> None:
    kind = ClipSettings if name in describe_settings(ClipSettings) else RunOptions
    with pytest.raises(SVDError, match=f"^{name} is .* and must be ") as caught:
        read_numbers(kind(**{name: value}))
    assert len(str(caught.value)) < 120


def test_none_stands_for_a_default_of_none_alone() -> None:
    described = {**describe_settings(ClipSettings), **describe_settings(RunOptions)}
    for name in NUMBERS:
        kind = ClipSettings if name in describe_settings(ClipSettings) else RunOptions
        if described[name][0] is None:
            assert getattr(read_numbers(kind(**{name: None})), name) is None
        else:
            with pytest.raises(SVDError, match=f"^{name} is None and must be a"):
                read_numbers(kind(**{name: None}))


def test_a_call_checks_its_run_as_well(tmp_path: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(write_checkpoint(tmp_path / "a.safetensors", tiny_config()), device="cpu")
    for name in ("seed", "frames_at_once"):
        with pytest.raises(SVDError, match=f"^{name} is -1 and must be 0 to"):
            pipe(np.zeros((8, 8)), **{name: -1})


@pytest.mark.parametrize("value", [3, np.int64(3), np.float32(3.0), Fraction(3)])
def test_numbers_of_other_libraries_become_plain_ones(value: Any) -> None:
    """A file could not hold them as they are, which would show after the sampling."""
    fps = resolve(fps=value).fps
    assert type(fps) is float and fps == 3
    if not isinstance(value, (np.floating, Fraction)):
        frames = resolve(num_frames=value).num_frames
        assert type(frames) is int and frames == 3
        assert type(read_numbers(RunOptions(seed=value)).seed) is int


def test_nothing_is_left_open_and_the_rest_stays() -> None:
    assert resolve() == ResolvedSettings()  # the defaults of a model that does not say what it is
    made = (UNKNOWN.width, UNKNOWN.height, UNKNOWN.num_frames, UNKNOWN.max_cfg_scale)
    assert made == (1024, 576, 25, 3.0)
    given = {"width": 128, "height": 192, "num_frames": 3, "max_cfg_scale": 1.5, "fps": 9.0, "fit": "pad"}
    assert {name: getattr(resolve(**given), name) for name in given} == given


def test_a_guessed_length_is_said_where_it_is_used(caplog: pytest.LogCaptureFixture) -> None:
    resolve(num_frames=25)
    assert not caplog.messages
    resolve()
    assert ["25, as SVD XT, is a guess" in text for text in caplog.messages] == [True]
    caplog.clear()
    resolve_settings(ClipSettings(), ModelConfig(), SVD, None)
    resolve_settings(ClipSettings(), ModelConfig(), None, 21)
    assert not caplog.messages


def test_a_folder_with_its_own_length_gives_it_to_python_and_the_command_line(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", tiny_config(), layout="diffusers")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_frames": 8}))
    pipe = SVDPipeline.from_checkpoint(open_checkpoint(folder), device="cpu")
    (tmp_path / "picture.png").touch()
    words = ["animate", str(tmp_path / "picture.png"), "--checkpoint", str(folder), "-o", str(tmp_path / "out")]
    assert Batch.from_options(make_parser().parse_args(words)).settings == pipe.resolve()
    assert pipe.resolve().num_frames == 8


def test_settings_can_be_kept_and_single_ones_changed(tmp_path: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(write_checkpoint(tmp_path / "a.safetensors", tiny_config()), device="cpu")
    kept = ClipSettings(num_frames=5, fps=9)
    assert pipe.resolve(kept, fps=11) == pipe.resolve(num_frames=5, fps=11)
    with pytest.raises(TypeError, match="num_frame'"):
        pipe.resolve(num_frame=5)


def test_every_setting_is_an_option_of_the_command_line() -> None:
    options = vars(make_parser().parse_args(["animate", "picture.png"]))
    shared = {name: default for name, (default, setting) in DESCRIBED.items() if setting.group}
    assert {name: options[name] for name in shared} == shared


def test_the_page_has_the_tables_of_the_fields() -> None:
    page = settings_tables.PAGE.read_text("utf-8")
    (written,) = settings_tables.MARKERS.findall(page)
    assert written == settings_tables.write_tables(), "run: python -m checks.settings_tables"
