"""The planner against counted peaks, its choices, and what happens when memory runs out after all."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from svd_core.config import ClipVisionConfig, UNetConfig
from svd_core.errors import SVDError
from svd_core.memory import rehearsal
from svd_core.memory.activations import UNetCall, clip_bytes, evaluate_on_meta, unet_bytes
from svd_core.memory.device import is_out_of_memory
from svd_core.memory.meta_shapes import run_on_meta
from svd_core.memory.rehearsal import peak_bytes
from svd_core.memory.sampling import SamplingMemory, plan_sampling
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.unet.resnet import VideoResBlock
from svd_core.models.unet.transformer import SpatialVideoTransformer
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import SMALL_UNET, randomised, relative, unet_inputs

FULL = UNetConfig()
FULL_WIDTHS = UNetConfig(num_res_blocks=1)  # of fewer blocks: the walk is the same, and shorter
FULL_SIZE = UNetCall(height=72, width=128, num_frames=25, dtype=torch.float16)
SMALL_SIZE = UNetCall(height=8, width=8, num_frames=3, dtype=torch.float32)


def counted_in_full(config: UNetConfig, call: UNetCall, pieces: Pieces) -> int:
    """Of every block and every piece."""
    return peak_bytes(lambda: evaluate_on_meta(config, call, pieces))


CALLS = {
    "square, fp32": UNetCall(16, 16, 5, torch.float32),
    "wide, fp16": UNetCall(16, 40, 14, torch.float16),
    "both branches, bf16": UNetCall(16, 24, 8, torch.bfloat16, clips=2),
    "several tokens": UNetCall(16, 24, 6, torch.float16, clips=2, tokens=4),
    "odd sizes": UNetCall(19, 27, 3, torch.float16),
    "one frame": UNetCall(24, 24, 1, torch.float16),
}


@pytest.mark.parametrize("pieces", [ALL, Pieces(2, 100, 300), Pieces(99, 9999, 2000)], ids=["whole", "small", "large"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_blocks_and_pieces_that_are_skipped_change_nothing(call: UNetCall, pieces: Pieces) -> None:
    config = UNetConfig(model_channels=64, head_dim=32)
    assert unet_bytes(config, call, pieces) == pytest.approx(counted_in_full(config, call, pieces), rel=2e-3)


@pytest.mark.parametrize("pieces", [ALL, Pieces(2, 100, 200)], ids=["whole", "pieces"])
def test_trained_positions_are_counted_beyond_their_number_too(pieces: Pieces) -> None:
    config, call = replace(FULL_WIDTHS, num_positions=16), UNetCall(16, 24, 9, torch.float16, clips=2)
    assert unet_bytes(config, call, pieces) == pytest.approx(counted_in_full(config, call, pieces), rel=2e-3)
    assert unet_bytes(config, replace(call, num_frames=18), pieces) > unet_bytes(config, call, pieces)


@torch.no_grad()
@pytest.mark.parametrize(
    ("channels", "dtype", "error"),
    [
        (128, torch.float32, 0.01),
        (64, torch.bfloat16, 0.01),
        (64, torch.float32, 0.1),  # laid out for a CPU, which a plan does not know of
    ],
    ids=str,
)
@pytest.mark.parametrize("pieces", [ALL, Pieces(2, 150, 250)], ids=["whole", "pieces"])
def test_planned_peak_is_that_of_tensors_that_exist(
    pieces: Pieces, channels: int, dtype: torch.dtype, error: float
) -> None:
    """With the attention that the CPU has, not the stand-in for it."""
    config = UNetConfig(model_channels=channels, channel_mult=(1, 2, 2), num_res_blocks=1, head_dim=32)
    config = replace(config, attention_levels=(True, False, True))
    unet, call = VideoUNet(config, Layers(dtype=dtype)), UNetCall(16, 24, 5, dtype, clips=2, on_cpu=True)
    x, context, y = (torch.randn(shape, dtype=dtype) for shape in ((10, 8, 16, 24), (10, 1, 1024), (1, 768)))
    peak = peak_bytes(lambda: unet(x.clone(), torch.zeros(1), context, y, 5, pieces=pieces))
    assert unet_bytes(config, call, pieces) == pytest.approx(peak, rel=error)


@torch.no_grad()
def test_planned_peak_of_the_image_encoder_is_that_of_tensors_that_exist() -> None:
    config = ClipVisionConfig(width=160, num_layers=3, mlp_width=640, projection_dim=64)
    tower, pixels = ClipVision(config), torch.zeros(2, 3, config.image_size, config.image_size)
    peak = peak_bytes(lambda: tower(pixels.clone()))
    assert clip_bytes(config, torch.float32, pictures=2) == pytest.approx(peak, rel=0.01)


def test_a_first_plan_runs_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full-size plans take tenths of a second, since blocks that are alike run once, and few choices are looked at."""
    runs: list[str] = []
    for kind in (VideoResBlock, SpatialVideoTransformer):
        monkeypatch.setattr(kind, "forward", counting(kind.forward, runs))
    both = replace(FULL_SIZE, clips=2, num_frames=24)  # a shape that no other test plans
    plan_sampling(FULL, both, 100_000_000_000)
    assert len(runs) <= 20
    plan_sampling(FULL, both, 2_000_000_000)
    assert len(runs) <= 120


@pytest.mark.parametrize("shape", [(72, 128, 1000), (1024, 1024, 4096), (2**28, 128, 25)], ids=str)
def test_a_clip_that_fits_nowhere_is_refused_after_few_counts(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long or large it is: neither the counts nor the operations of each grow with the clip."""
    operations: list[str] = []
    monkeypatch.setattr(rehearsal, "run_on_meta", counting(run_on_meta, operations))
    unet_bytes.cache_clear()
    memory, (height, width, frames) = SamplingMemory("automatic", lambda: 16_000_000_000), shape
    call = UNetCall(height, width, frames, torch.float16, clips=2)
    with pytest.raises(SVDError, match=f"Sampling {frames} frames"):
        memory.plan(FULL, replace(call, clips=memory.clips_at_once(FULL, call)))
    assert unet_bytes.cache_info().misses <= 10
    assert len(operations) <= 60_000


def counting(forward: Callable[..., Any], runs: list[str]) -> Callable[..., Any]:
    def run(*given: Any) -> Any:
        runs.append(forward.__qualname__)
        return forward(*given)

    return run


def test_smallest_at_full_size_stays_below_two_gigabytes() -> None:
    assert plan_sampling(FULL, FULL_SIZE, None, "smallest").peak < 1.0e9
    assert plan_sampling(FULL, replace(FULL_SIZE, clips=2), None, "smallest").peak < 2.0e9


def test_smallest_keeps_its_pieces_as_large_as_they_may_be() -> None:
    plan = plan_sampling(FULL, FULL_SIZE, None, "smallest")
    assert not plan.pieces.whole and plan.pieces.frames >= 2
    assert plan.peak <= 1.25 * unet_bytes(FULL, FULL_SIZE, plan.choices[-1])


@pytest.mark.parametrize(
    ("choice", "free", "splits"),
    [
        ("automatic", 100_000_000_000, False),  # fits anyway, pays nothing
        ("automatic", None, False),  # nothing is known
        ("automatic", 2_000_000_000, True),
        ("automatic", 0, True),  # full, or so the device says
        ("fastest", 2_000_000_000, False),
        ("fastest", 0, False),
        ("smallest", 100_000_000_000, True),
        ("smallest", None, True),
    ],
)
def test_choices(choice: str, free: int | None, splits: bool) -> None:
    assert (not plan_sampling(FULL, FULL_SIZE, free, choice).pieces.whole) == splits


def test_automatic_takes_the_least_split_that_fits() -> None:
    """More memory never means smaller pieces, and what is chosen fits."""
    plans = [plan_sampling(FULL, FULL_SIZE, free * 100_000_000) for free in range(10, 60, 2)]
    peaks = [plan.peak for plan in plans]
    assert peaks == sorted(peaks) and len(set(peaks)) >= 5
    assert all(plan.peak <= (plan.free or 0) for plan in plans)


def test_smallest_goes_on_where_even_that_would_not_fit() -> None:
    roomy, tight = (plan_sampling(FULL, FULL_SIZE, free, "smallest") for free in (None, 850_000_000))
    assert tight.peak < roomy.peak and tight.peak <= 850_000_000


def test_splits_need_less_and_less() -> None:
    plan = plan_sampling(FULL, FULL_SIZE, None)
    peaks = [plan.peak]
    while len(plan.choices) > 1:
        plan = plan.step_down()
        peaks.append(plan.peak)
    assert peaks == sorted(set(peaks), reverse=True) and len(peaks) >= 6


def test_what_would_fit_is_said_before_any_work() -> None:
    with pytest.raises(SVDError, match="25 frames of 1024x576") as refused:
        plan_sampling(FULL, FULL_SIZE, 400_000_000)
    frames = int(re.search(r"at most (\d+) frames", str(refused.value))[1])
    width, height = map(int, re.search(r"choose (\d+)x(\d+) pixels", str(refused.value)).groups())
    assert width % 64 == height % 64 == 0
    plan_sampling(FULL, replace(FULL_SIZE, num_frames=frames), 400_000_000)
    plan_sampling(FULL, replace(FULL_SIZE, height=height // 8, width=width // 8), 400_000_000)
    with pytest.raises(SVDError):
        plan_sampling(FULL, replace(FULL_SIZE, num_frames=2 * frames), 400_000_000)


def test_where_not_even_one_frame_fits() -> None:
    with pytest.raises(SVDError, match="are free; free some memory"):
        plan_sampling(FULL, FULL_SIZE, 1_000)


def test_what_can_be_made_free_counts() -> None:
    plan = plan_sampling(FULL, FULL_SIZE, 100_000_000, limit=8_000_000_000)
    assert len(plan.choices) == 1


def test_unknown_choice() -> None:
    with pytest.raises(SVDError, match="'tiny'"):
        plan_sampling(FULL, FULL_SIZE, None, "tiny")


def test_the_log_says_what_was_planned(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    memory = SamplingMemory("automatic", lambda: 1_500_000_000)
    for _ in range(3):
        memory.plan(FULL, FULL_SIZE)
    (line,) = caplog.messages
    assert re.fullmatch(r"sampling: 25 frames, \d+ at once, peak \d\.\d GB of 1\.5 GB free", line)


def no_memory() -> Exception:
    return torch.cuda.OutOfMemoryError("no memory")


class Short:
    """Memory that runs out in the calls of the given numbers, with a tensor in the frame of the failure."""

    def __init__(self, failing: Container[int], error: Callable[[], Exception] = no_memory) -> None:
        self.failing, self.error = failing, error
        self.splits: list[Pieces] = []
        self.left: list[weakref.ref[Tensor]] = []

    def __call__(self, split: Pieces) -> Tensor:
        assert all(ref() is None for ref in self.left), "the failed attempt still holds its tensors"
        activation = torch.zeros(8)
        self.splits.append(split)
        if len(self.splits) in self.failing:
            self.left.append(weakref.ref(activation))
            raise self.error()
        return activation


def test_running_out_repeats_the_call_with_the_next_smaller_split(caplog: pytest.LogCaptureFixture) -> None:
    released: list[int] = []
    memory = SamplingMemory("fastest", lambda: None, release=lambda: released.append(1))
    plan = memory.plan(FULL, FULL_SIZE)
    evaluate = Short({2, 3})
    for _ in range(3):
        memory.run(FULL, FULL_SIZE, evaluate)
    first, second, third, *_ = plan.choices
    assert evaluate.splits == [first, first, second, third, third]  # and what was learned is kept
    assert len(released) == 2
    assert sum("Memory ran out" in line for line in caplog.messages) == 2


def test_what_is_logged_after_running_out_claims_no_free_memory(caplog: pytest.LogCaptureFixture) -> None:
    SamplingMemory("fastest", lambda: 8_000_000_000).run(FULL, FULL_SIZE, Short({1}))
    (line,) = (line for line in caplog.messages if "ran out" in line)
    assert " free" not in line


def test_running_out_of_splits_raises_what_happened() -> None:
    memory = SamplingMemory("smallest", lambda: None)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="no memory"):
        memory.run(FULL, FULL_SIZE, Short(range(100)))


def test_other_errors_are_not_retried() -> None:
    evaluate = Short({1}, lambda: ValueError("a wrong shape"))
    with pytest.raises(ValueError, match="a wrong shape"):
        SamplingMemory("fastest", lambda: None).run(FULL, FULL_SIZE, evaluate)
    assert len(evaluate.splits) == 1


def test_a_host_may_know_better_what_running_out_is() -> None:
    evaluate = Short({1}, lambda: KeyError("code 2"))
    SamplingMemory("fastest", lambda: None, is_oom=lambda e: isinstance(e, KeyError)).run(FULL, FULL_SIZE, evaluate)
    assert len(evaluate.splits) == 2


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.cuda.OutOfMemoryError("anything"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (MemoryError("numpy has none either"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_running_out(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one


def test_running_out_in_the_network_leaves_the_result_as_it_is() -> None:
    """The failure comes in the middle of an evaluation, with skip connections alive."""
    torch.manual_seed(0)
    unet = randomised(VideoUNet(SMALL_UNET, Layers(dtype=torch.float32)))
    given: dict[str, Any] = {k: v.float() for k, v in unet_inputs().items()} | {"num_frames": 3}
    splits: list[Pieces] = []

    def fail_once(*_: Any) -> None:
        if len(splits) == 1:
            raise torch.cuda.OutOfMemoryError("no memory")

    def evaluate(split: Pieces) -> Tensor:
        splits.append(split)
        return unet(**given, pieces=split)

    handle = unet.output_blocks[2][0].emb_layers[1].register_forward_pre_hook(fail_once)
    with torch.inference_mode():
        found = SamplingMemory("fastest", lambda: None).run(SMALL_UNET, SMALL_SIZE, evaluate)
        handle.remove()
        expected = unet(**given)
    assert len(splits) == 2 and splits[0].whole and not splits[1].whole
    assert relative(found, expected) <= 5e-6
