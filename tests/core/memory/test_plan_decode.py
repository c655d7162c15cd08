"""The planner's figures are those that are measured, and its plan is the fastest that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from svd_core import SVDError
from svd_core.config import AutoencoderConfig
from svd_core.memory import rehearsal
from svd_core.memory.decode import estimate
from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.estimate import buffer_bytes, decode_footprint, encode_bytes
from svd_core.memory.decode.plan import DecodeCall, DecodePlan
from svd_core.memory.decode.planner import describe_decode, plan_decode
from svd_core.memory.decode.sweep import Workspace
from svd_core.memory.device import USABLE, free_memory, room_to_spill
from svd_core.memory.meta_shapes import run_on_meta
from svd_core.memory.rehearsal import HOST, AllocationCounter
from svd_core.models.autoencoder import Autoencoder

FULL = AutoencoderConfig()
FULL_IMAGE = AutoencoderConfig(temporal_decoder=False)
NARROW = AutoencoderConfig(channels=32)
HD = DecodeCall(FULL, 72, 128, 25, torch.float16)
GB = 10**9

MakeVae = Callable[[AutoencoderConfig, torch.dtype], Autoencoder]


@pytest.fixture(scope="module")
def make() -> MakeVae:
    made: dict[AutoencoderConfig, Autoencoder] = {}

    def of(config: AutoencoderConfig, dtype: torch.dtype) -> Autoencoder:
        if config not in made:
            made[config] = Autoencoder(config).eval().requires_grad_(False)
        return made[config].to(dtype)

    return of


CASES = [
    (NARROW, (6, 4), 5, torch.float32, DecodePlan(5)),
    (NARROW, (6, 4), 5, torch.float32, DecodePlan(2)),
    (FULL, (6, 4), 5, torch.float32, DecodePlan(1)),
    (FULL, (6, 4), 5, torch.float32, DecodePlan(5)),
    (FULL, (5, 3), 7, torch.float32, DecodePlan(3, spill=True)),
    (FULL, (6, 4), 5, torch.float32, DecodePlan(2, recompute=True)),
    (FULL, (6, 4), 3, torch.float32, DecodePlan(1, 3, spill=True)),
    (FULL, (3, 4), 4, torch.float32, DecodePlan(4, 2)),
    (FULL, (3, 2), 2, torch.float16, DecodePlan(1, spill=True)),
    (FULL, (6, 4), 5, torch.bfloat16, DecodePlan(2, spill=True, recompute=True)),
    (FULL, (6, 4), 5, torch.bfloat16, DecodePlan(3)),
    (FULL_IMAGE, (6, 4), 5, torch.float32, DecodePlan(2)),
    (FULL_IMAGE, (6, 4), 3, torch.float32, DecodePlan(1, 3, spill=True)),
    (FULL_IMAGE, (6, 4), 3, torch.bfloat16, DecodePlan(1, spill=True)),
]


def case_id(case: object) -> str:
    names = {FULL: "temporal", FULL_IMAGE: "image", NARROW: "narrow"}
    return names[case] if isinstance(case, AutoencoderConfig) else str(case)


@pytest.mark.parametrize(("config", "size", "frames", "dtype", "plan"), CASES, ids=case_id)
def test_peaks_are_the_measured_ones(
    make: MakeVae, config: AutoencoderConfig, size: tuple[int, int], frames: int, dtype: torch.dtype, plan: DecodePlan
) -> None:
    vae, z = make(config, dtype), torch.randn(frames, 4, *size).to(dtype)
    with AllocationCounter() as counter:
        decode_clip(vae, z, plan)
    planned = decode_footprint(DecodeCall(config, *size, frames, dtype, on_cpu=True), plan)
    assert planned.device == pytest.approx(counter.peak["cpu"], rel=0.1)
    assert planned.host == pytest.approx(counter.peak[HOST], rel=0.1)


@pytest.mark.parametrize(
    "plan",
    [
        DecodePlan(1),
        DecodePlan(2, spill=True),
        DecodePlan(1, spill=True, recompute=True),
        DecodePlan(1, 6, spill=True),
        DecodePlan(1, 6, recompute=True),
    ],
    ids=str,
)
def test_the_first_tiles_stand_for_all(plan: DecodePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal leaves out later tiles and blocks; with all of them the peaks are those."""
    call = DecodeCall(FULL, 24, 32, 9, torch.float16)
    short = decode_footprint(call, plan)
    monkeypatch.setattr(estimate, "_Rehearsal", Workspace)
    monkeypatch.setattr(estimate, "replace", lambda config, **_: config)
    decode_footprint.cache_clear()
    whole = decode_footprint(call, plan)
    decode_footprint.cache_clear()
    assert short.device == pytest.approx(whole.device, rel=2e-3)
    assert short.host == whole.host


@torch.no_grad()
@pytest.mark.parametrize("size", [(6, 4), (3, 5)], ids=str)
def test_peak_of_an_encode_is_the_measured_one(make: MakeVae, size: tuple[int, int]) -> None:
    vae, pixels = make(FULL, torch.float32), torch.randn(1, 3, 8 * size[0], 8 * size[1])
    with AllocationCounter() as counter:
        vae.encode(pixels)
    assert encode_bytes(FULL, *size, on_cpu=True) == pytest.approx(counter.peak["cpu"], rel=0.1)


def test_full_size_decode_fits_three_gigabytes() -> None:
    needed = decode_footprint(HD, DecodePlan(2, spill=True))
    assert needed.device <= 3 * GB
    assert decode_footprint(HD, DecodePlan(1, 4, spill=True)).device <= GB / 2


def test_more_room_never_means_a_slower_plan() -> None:
    """From bands over host memory to the whole clip at once."""
    plans = [plan_decode(HD, free * GB, 64 * GB) for free in (1, 2, 3, 4, 6, 9, 12, 16, 24, 48, 80)]
    speed = [(-p.bands, not p.spill, not p.recompute, p.frames_at_once) for p in plans]
    assert speed == sorted(speed)
    assert plans[0].bands > 1
    assert plans[-1] == DecodePlan(25)


@pytest.mark.parametrize("free", [1, 2, 3, 5, 8, 13, 21])
def test_the_plan_fits(free: int) -> None:
    plan = plan_decode(HD, free * GB, 64 * GB)
    assert decode_footprint(HD, plan).device <= USABLE * free * GB


def test_one_buffer_pays_where_two_do_not_fit_and_the_host_is_slow_to_reach() -> None:
    clip = replace(HD, num_frames=96)
    needed = decode_footprint(clip, DecodePlan(1)).device
    plan = plan_decode(clip, int(needed / USABLE) - 1, 64 * GB)
    assert plan.recompute
    assert not plan.spill


def test_a_host_without_room_is_not_spilled_to() -> None:
    assert not plan_decode(HD, 9 * GB, 0).spill
    assert not plan_decode(HD, 9 * GB, 1 * GB).spill
    assert plan_decode(HD, 3 * GB, None).spill


def test_frames_at_once_are_a_bound() -> None:
    assert plan_decode(HD, 80 * GB, 0, frames_at_once=3) == DecodePlan(3)
    assert plan_decode(HD, 80 * GB, 0, frames_at_once=99) == DecodePlan(25)
    assert plan_decode(HD, 3 * GB, 64 * GB, frames_at_once=8).frames_at_once <= 8


@pytest.mark.parametrize("free", [None, 0])
def test_unknown_or_no_free_memory_gets_the_smallest_plan_that_costs_little(free: int | None) -> None:
    assert plan_decode(HD, free, 0) == DecodePlan(1)
    assert plan_decode(HD, free, 0, frames_at_once=4) == DecodePlan(4)
    assert plan_decode(HD, 0, None).spill


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    free, large = 6 * GB, DecodeCall(FULL, 144, 256, 64, torch.float16)
    with pytest.raises(SVDError) as error:
        plan_decode(large, free, 0)
    words = str(error.value)
    assert "64 frames of 2048x1152" in words
    assert "6.0 GB" in words
    assert "\n" not in words
    frames = int(words.split(";")[1].split()[0])
    plan_decode(replace(large, num_frames=frames), free, 0)
    with pytest.raises(SVDError):
        plan_decode(replace(large, num_frames=frames + 1), free, 0)
    width, height = (int(side) // 8 for side in words.split(" or ")[1].split()[0].split("x"))
    plan_decode(replace(large, height=height, width=width), free, 0)


def test_a_cpu_is_refused_for_its_one_memory() -> None:
    """Buffers in host memory would be in the same memory: what is needed is that of a plan without them."""
    clip = DecodeCall(FULL, 64, 64, 128, torch.float32)
    with pytest.raises(SVDError) as error:
        plan_decode(clip, 15 * GB, 0)
    least = min(decode_footprint(clip, DecodePlan(1, bands, recompute=True)).device for bands in (1, 64))
    assert f"needs {least / 1e9:.1f} GB of memory, of which 15.0 GB are free, and may take 80%" in str(error.value)
    assert least > USABLE * 15 * GB
    with pytest.raises(SVDError, match=r"on the device, of which 10\.0 MB are free, and .* in host memory of 15\.0 GB"):
        plan_decode(clip, 10_000_000, 15 * GB)


@pytest.mark.parametrize("host", [0, 32 * GB], ids=["one memory", "two"])
@pytest.mark.parametrize("shape", [(72, 128, 1000), (1024, 1024, 4096)], ids=str)
def test_a_clip_that_fits_nowhere_is_refused_after_few_counts(
    shape: tuple[int, int, int], host: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long or large it is: neither the counts nor the operations of each grow with the clip."""
    operations: list[object] = []

    def run(func: Any, *given: Any) -> Any:
        operations.append(func)
        return run_on_meta(func, *given)

    monkeypatch.setattr(rehearsal, "run_on_meta", run)
    decode_footprint.cache_clear()
    with pytest.raises(SVDError, match=f"decode of {shape[2]} frames"):
        plan_decode(DecodeCall(FULL, *shape, torch.float16), 16 * GB, host)
    assert decode_footprint.cache_info().misses <= 10
    assert len(operations) <= 100_000


@pytest.mark.parametrize("config", [FULL, FULL_IMAGE], ids=case_id)
@pytest.mark.parametrize("recompute", [False, True])
def test_buffers_of_a_clip_grow_with_its_frames_and_pixels(config: AutoencoderConfig, recompute: bool) -> None:
    for height, width, frames in ((5, 3, 7), (12, 16, 2), (9, 9, 1), (24, 40, 30)):
        call = DecodeCall(config, height, width, frames, torch.bfloat16)
        plans = DecodePlan(1, spill=True, recompute=recompute), DecodePlan(3, spill=True, recompute=recompute)
        assert {decode_footprint(call, plan).host for plan in plans} == {buffer_bytes(call, recompute)}


def test_nothing_at_all_fits() -> None:
    with pytest.raises(SVDError, match="free some memory first"):
        plan_decode(HD, 1000, 0)


def test_the_image_decoder_has_nothing_to_recompute() -> None:
    for free in (1, 2, 3, 30):
        assert not plan_decode(replace(HD, config=FULL_IMAGE), free * GB, 64 * GB).recompute


def test_one_line_for_the_log() -> None:
    line = describe_decode(HD, DecodePlan(2, spill=True), 4 * GB)
    assert line == "decode: 25 frames, 2 at once, 7.5 GB in host memory, peak 2.7 GB of 4.0 GB free"
    assert describe_decode(HD, DecodePlan(99), None).startswith("decode: 25 frames, 25 at once, peak ")


def test_free_memory_of_the_cpu_is_known() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 0
    assert room_to_spill(torch.device("cpu")) == 0
    assert free_memory(torch.device("meta")) is None
