"""A decode in bounded memory gives the pictures of the whole-clip decode, whatever the split and whatever fails."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import product
from math import hypot
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from svd_core import SVDError
from svd_core.config import AutoencoderConfig
from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.memory.rehearsal import HOST, AllocationCounter
from svd_core.models.autoencoder import Autoencoder

SMALL = AutoencoderConfig(channels=32, channel_mult=(1, 2), num_res_blocks=1)
SMALL_IMAGE = AutoencoderConfig(channels=32, channel_mult=(1, 2), num_res_blocks=1, temporal_decoder=False)
FRAMES = 7
PLANS = [DecodePlan(*each) for each in product((1, 2, 3, 5, 8), (1, 2, 5), (False, True), (False, True))]
SOME_PLANS = [DecodePlan(1), DecodePlan(3, 1, True), DecodePlan(2, 2, True), DecodePlan(2, 1, False, True)]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).norm() / b.float().norm())


def make(config: AutoencoderConfig, seed: int = 0) -> Autoencoder:
    """With norms and blends that differ from one and zero, where mistakes in them would not show."""
    torch.manual_seed(seed)
    vae = Autoencoder(config).eval().requires_grad_(False)
    for parameter in vae.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vae


def latents(frames: int = FRAMES, height: int = 5, width: int = 3) -> Tensor:
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vae() -> Autoencoder:
    return make(SMALL)


@pytest.fixture(scope="module")
def image_vae() -> Autoencoder:
    return make(SMALL_IMAGE)


@pytest.fixture(scope="module")
def whole(vae: Autoencoder) -> Tensor:
    return vae.decode(latents())


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_plan_gives_the_whole_clip(vae: Autoencoder, whole: Tensor, plan: DecodePlan) -> None:
    assert relative(decode_clip(vae, latents(), plan), whole) <= 5e-6


@pytest.mark.parametrize("plan", [plan for plan in PLANS if not plan.recompute], ids=str)
def test_every_plan_gives_the_image_decoders_pictures(image_vae: Autoencoder, plan: DecodePlan) -> None:
    assert relative(decode_clip(image_vae, latents(4), plan), image_vae.decode(latents(4))) <= 5e-6


@pytest.mark.parametrize("plan", SOME_PLANS, ids=str)
@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 1, 1), (3, 7, 2)], ids=str)
def test_odd_shapes(plan: DecodePlan, shape: tuple[int, int, int]) -> None:
    """In fp64: the moments of so few numbers magnify the rounding of fp32, that of the whole-clip decode as well."""
    vae, z = make(SMALL).double(), latents(*shape).double()
    error = decode_clip(vae, z, plan) - vae.decode(z)
    assert float(error.norm() / vae.decode(z).norm()) <= 1e-12


@pytest.mark.parametrize("plan", SOME_PLANS, ids=str)
def test_clips_of_a_batch_do_not_mix(vae: Autoencoder, plan: DecodePlan) -> None:
    z = latents(6)
    apart = torch.cat([vae.decode(clip) for clip in z.split(3)])
    assert relative(decode_clip(vae, z, plan, num_frames=3), apart) <= 5e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_16_bits_lose_no_more_than_the_whole_clip_does(dtype: torch.dtype) -> None:
    """Over several networks: in any one of them roundings fall for or against the split by some hundredths."""
    config, z = replace(SMALL, norm_groups=8), latents(4)
    whole, split = [], []
    for seed in range(4):
        exact = make(config, seed).decode(z)
        vae = make(config, seed).to(dtype)
        whole.append(relative(vae.decode(z.to(dtype)), exact))
        split.append([relative(decode_clip(vae, z.to(dtype), plan), exact) for plan in SOME_PLANS])
    if dtype == torch.float16:
        assert max(map(max, split)) <= 2e-3
    for errors in zip(*split, strict=True):
        assert hypot(*errors) <= 1.05 * hypot(*whole)


def test_latents_and_the_pictures_of_the_caller_are_left_alone(vae: Autoencoder) -> None:
    z = latents()
    decode_clip(vae, z, DecodePlan(2))
    assert torch.equal(z, latents())


@pytest.mark.parametrize("recompute", [False, True])
def test_spilled_peak_does_not_grow_with_the_clip(recompute: bool) -> None:
    vae, peaks = make(replace(SMALL, norm_groups=4)), {}
    for frames in (8, 24, 72):
        z = latents(frames, 8, 12)
        with AllocationCounter() as counter:
            decode_clip(vae, z, DecodePlan(2, 1, True, recompute))
        peaks[frames] = counter.peak["cpu"]
        assert counter.peak[HOST] > frames * 32 * 16 * 24 * 4  # where the clip is
    assert max(peaks.values()) <= 1.1 * min(peaks.values()), peaks


@pytest.mark.parametrize(
    ("plan", "share"), [(DecodePlan(FRAMES), 0.5), (DecodePlan(FRAMES), 0.2), (DecodePlan(4), 0.1)]
)
def test_a_device_that_is_too_small_gets_smaller_splits(
    vae: Autoencoder, plan: DecodePlan, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    z = latents(FRAMES, 16, 12)
    with AllocationCounter() as unlimited:
        decode_clip(vae, z, DecodePlan(FRAMES))
    limit = int(share * unlimited.peak["cpu"])
    with AllocationCounter(limit) as counter, caplog.at_level(logging.WARNING):
        pictures = decode_clip(vae, z, plan)
    assert relative(pictures, vae.decode(z)) <= 5e-6
    assert counter.peak["cpu"] <= limit
    assert all("Out of memory while decoding; going on with" in record.message for record in caplog.records)
    assert 1 <= len(caplog.records) <= 8


def test_the_image_decoder_steps_down_too(image_vae: Autoencoder) -> None:
    z = latents(FRAMES, 16, 12)
    with AllocationCounter() as unlimited:
        decode_clip(image_vae, z, DecodePlan(FRAMES))
    limit = unlimited.peak["cpu"] // 12
    with AllocationCounter(limit) as counter:
        pictures = decode_clip(image_vae, z, DecodePlan(FRAMES))
    assert relative(pictures, image_vae.decode(z)) <= 5e-6
    assert counter.peak["cpu"] <= limit


class Failing(TorchDispatchMode):
    """Runs out of memory at one operation that makes a tensor; the first makes one without any numbers."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.seen = at, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func._schema.is_mutable and not func.is_view:
            self.seen += 1
            if self.seen == self.at:
                raise torch.OutOfMemoryError("no memory")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "plan",
    [DecodePlan(2), DecodePlan(1), DecodePlan(2, 1, True, True), DecodePlan(2, 2), DecodePlan(1, 2, True, True)],
    ids=str,
)
def test_wherever_memory_runs_out_the_pictures_are_the_same(plan: DecodePlan) -> None:
    vae, z = make(SMALL).double(), latents(3, 3, 2).double()
    whole = vae.decode(z)
    with Failing(0) as counted:
        decode_clip(vae, z, plan)
    for at in range(2, counted.seen, max(counted.seen // 20, 1)):
        with Failing(at) as failing:
            pictures = decode_clip(vae, z, plan)
        assert failing.seen > at
        assert float((pictures - whole).norm() / whole.norm()) <= 1e-12, at


def test_finished_blocks_are_not_done_again(vae: Autoencoder, whole: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[int] = []
    handle = vae.decoder.mid.block_1.conv1.register_forward_hook(lambda _, inputs, __: frames.append(len(inputs[0])))
    head, calls = vae.decoder.head, []

    def failing_head(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no memory")
        return head(x)

    monkeypatch.setattr(vae.decoder, "head", failing_head)
    pictures = decode_clip(vae, latents(), DecodePlan(4))
    handle.remove()
    assert sum(frames) == FRAMES
    assert calls == [4, 3, 1, 1, 1]  # the window that was done stays; the one that failed is done in smaller ones
    assert relative(pictures, whole) <= 5e-6


def test_a_host_may_tell_its_own_errors(vae: Autoencoder, whole: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    head, calls = vae.decoder.head, []

    def failing_head(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(x) > 1:
            raise RuntimeError("the device says no")
        return head(x)

    monkeypatch.setattr(vae.decoder, "head", failing_head)
    with pytest.raises(RuntimeError, match="says no"):
        decode_clip(vae, latents(), DecodePlan(4))
    pictures = decode_clip(vae, latents(), DecodePlan(4), is_oom=lambda error: "says no" in str(error))
    assert relative(pictures, whole) <= 5e-6


def test_the_smallest_split_that_fails_says_so(vae: Autoencoder) -> None:
    z = latents()
    with pytest.raises(torch.OutOfMemoryError), AllocationCounter(limit=100):
        decode_clip(vae, z, DecodePlan(2))


@pytest.mark.parametrize("change", [{"frames_at_once": 0}, {"frames_at_once": -1}, {"frames_at_once": 1, "bands": 0}])
def test_plans_that_mean_nothing(change: dict[str, int]) -> None:
    with pytest.raises(SVDError, match="at least 1"):
        DecodePlan(**change)


@pytest.mark.parametrize(("frames", "clip"), [(7, 3), (0, 3), (3, -1)])
def test_frames_that_are_not_whole_clips(vae: Autoencoder, frames: int, clip: int) -> None:
    with pytest.raises(SVDError, match="whole clips"):
        decode_clip(vae, latents(frames), DecodePlan(1), num_frames=clip)
