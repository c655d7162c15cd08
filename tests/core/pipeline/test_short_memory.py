"""Memory runs out at one allocation of a clip after another: the same clip or one sentence, and nothing is left behind.

In normal runs at a few allocations of each kind of run, with --thorough at every 50th of all of them.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from svd_core import SVDError, SVDPipeline
from svd_core.memory.decode import planner
from svd_core.memory.decode.plan import DecodePlan
from svd_core.memory.device import MEMORY_CHOICES, OutOfMemory
from tests.core.models.test_networks import relative
from tests.core.pipeline.test_pipeline import AFTER_SAMPLING, PICTURE
from tests.support.random_checkpoint import tiny_config, write_checkpoint
from tests.support.short_memory import ShortMemory

SETTINGS = {"width": 32, "height": 16, "num_frames": 3, "num_inference_steps": 3, "progress": False}
HELD = {"mask_frames": [PICTURE], "mask_frame_ids": [-1]}
SAMPLINGS = list(product(MEMORY_CHOICES, ("exact", "balanced", "fastest"), ("euler", "heun"), ({}, HELD)))
SHORT = [SAMPLINGS[index] for index in (2, 5, 11, 16, 22, 33)]  # each choice, speed, sampler, with held frames and not
DECODES = [
    DecodePlan(3),
    DecodePlan(2, recompute=True),
    DecodePlan(2, spill=True),
    DecodePlan(1, spill=True, recompute=True),
    DecodePlan(1, 2),
    DecodePlan(1, 3, spill=True, recompute=True),
]
STEP = 50


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> SVDPipeline:
    path = write_checkpoint(tmp_path_factory.mktemp("short") / "tiny.safetensors", tiny_config())
    return SVDPipeline.from_checkpoint(path, device="cpu")


def run_short(run: Callable[[], Tensor], is_same: Callable[[Tensor, Tensor], bool], points: int = 0) -> Counter[str]:
    """Let every 50th allocation of `run` fail, or `points` of them, and count how it ended."""
    expected = run()  # by now what the process keeps is there
    with ShortMemory() as counter:
        assert torch.equal(run(), expected)
    every = list(range(1, counter.made + 1, STEP))
    outcomes: Counter[str] = Counter()
    for fails_at in every[:: max(1, len(every) // points)] if points else every:
        with ShortMemory(fails_at) as memory:
            outcomes[end(run, expected, is_same)] += 1
        assert memory.made >= fails_at, "the run is shorter than it was"
        gc.collect()  # frames of the caught error may hold each other, and with them some numbers, until Python looks
        assert not memory.live["cpu"], f"allocation {fails_at} leaves {memory.live['cpu']} bytes behind"
        if fails_at == every[-1] or not points or outcomes.total() == 1:
            assert torch.equal(run(), expected), f"the run after allocation {fails_at} gives another clip"
    return outcomes


def end(run: Callable[[], Tensor], expected: Tensor, is_same: Callable[[Tensor, Tensor], bool]) -> str:
    try:
        clip = run()
    except SVDError as error:
        assert isinstance(error, OutOfMemory) and "ran out of memory; " in str(error) and "\n" not in str(error)
        assert error.__context__ is error.__cause__ is None, "the error holds the tensors of the failed run"
        return "sentence"
    assert is_same(clip, expected)
    return "same bits" if torch.equal(clip, expected) else "same clip"


def sample(pipe: SVDPipeline, kind: tuple[str, str, str, dict[str, object]], points: int = 0) -> Counter[str]:
    memory, speed, sampler, held = kind
    settings = {**SETTINGS, **held, "memory": memory, "speed": speed, "sampler": sampler, "max_cfg_scale": 2.5}
    return run_short(
        lambda: pipe(PICTURE, **settings, output="latent"), lambda a, b: relative(a, b) < AFTER_SAMPLING, points
    )


def decode(pipe: SVDPipeline, plan: DecodePlan, monkeypatch: pytest.MonkeyPatch, points: int = 0) -> Counter[str]:
    latents = torch.randn(3, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(planner, "plan_decode", lambda *_: plan)
    return run_short(lambda: pipe.decode(latents), lambda a, b: torch.allclose(a, b, atol=1e-5), points)


@pytest.mark.parametrize("kind", SHORT, ids=lambda kind: ", ".join((*kind[:3], "held" if kind[3] else "free")))
def test_sampling_gives_the_same_clip_or_a_sentence(
    pipe: SVDPipeline, kind: tuple[str, str, str, dict[str, object]]
) -> None:
    outcomes = sample(pipe, kind, points=6)
    assert outcomes["same bits"] + outcomes["same clip"]


@pytest.mark.parametrize("plan", DECODES, ids=str)
def test_the_decode_gives_the_same_clip_or_a_sentence(
    pipe: SVDPipeline, plan: DecodePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = decode(pipe, plan, monkeypatch, points=6)
    assert outcomes["same bits"] + outcomes["same clip"]


def test_every_50th_allocation(
    pipe: SVDPipeline, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not pytestconfig.getoption("--thorough"):
        pytest.skip("a thousand runs: with --thorough")
    with capsys.disabled():
        for name, results in (
            ("sampling", [sample(pipe, kind) for kind in SAMPLINGS]),
            ("decode", [decode(pipe, plan, monkeypatch) for plan in DECODES]),
        ):
            total = sum(results, Counter[str]())
            print(f"\n{name}: {total.total()} injections in {len(results)} kinds of runs, {dict(total)}")
