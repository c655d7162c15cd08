"""Plan of a command: sizes, memory of each stage, and about how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..checkpoints import Checkpoint
from ..diffusion.guidance import needs_uncond
from ..diffusion.speed import speed_mode
from ..diffusion.step_cache import StepCache
from ..memory import flops
from ..memory.activations import UNetCall, clip_bytes
from ..memory.decode.estimate import encode_bytes
from ..memory.decode.plan import DecodeCall
from ..memory.decode.planner import describe_decode, plan_decode
from ..memory.device import describe_bytes, free_memory, room_to_spill
from ..memory.sampling import plan_sampling
from ..pipeline.loading import choose_device, choose_dtype
from ..pipeline.resolve import frame_scales, noise_levels
from .batch import Batch
from .options import find_dtype, name_dtype

SMALLEST_MATRIX, LARGEST_MATRIX, REPEATS = 256, 8192, 3
LONG_ENOUGH = 0.02  # seconds, for the clock and the overhead of a call not to matter
# Evaluations of the network in each step (one less in the last).
EVALUATIONS = {"heun": 2}


def describe_run(batch: Batch) -> list[str]:
    """Lines to print. Raises SVDError where the memory does not suffice."""
    todo = len(batch.find_missing())
    settings, checkpoint = batch.settings, batch.checkpoint
    stages = _Stages(batch)
    title = checkpoint.release.title if checkpoint.release else "an unknown release"
    extension = f" with {batch.options.extension.name}" if batch.options.extension else ""
    lines = [
        f"checkpoint  {checkpoint.name}{extension}: {title}, UNet in {name_dtype(checkpoint.dtype('unet'))}",
        f"clips       {len(batch.jobs)}, of which {todo} are still to be made"
        + (f" and {len(batch.failures)} cannot be" if batch.failures else ""),
        f"size        {settings.width}x{settings.height}, {settings.num_frames} frames at {settings.fps:g} per second "
        f"({settings.num_frames / settings.fps:.1f} s), {stages.steps} steps from sigma {stages.sigmas[0]:.3g}",
        *_describe_given(batch),
        *stages.describe_memory(),
        f"time        {stages.describe_time()}",
    ]
    lines += [f"cannot be   {job.place.name}: {error}" for job, error in batch.failures.items()]
    return lines


def _describe_given(batch: Batch) -> Iterator[str]:
    """Lines about the video and the held pictures, if there are any."""
    files, settings = batch.files, batch.settings
    if files.input_video is not None and batch.settings.starts_from_video:
        yield f"starts from {files.input_video.name}, at a strength of {settings.denoising_strength:g}"
    for held in files.held:
        part = f", where {held.mask.name} is white" if held.mask else ""
        yield f"held        frame {held.frame_id}, as {held.picture.name}{part}"


class _Stages:
    """Memory and time of one clip, stage by stage."""

    def __init__(self, batch: Batch) -> None:
        self.settings, self.options, self.checkpoint = batch.settings, batch.options, batch.checkpoint
        self.sigmas = noise_levels(self.settings)
        self.steps = len(self.sigmas) - 1
        video = self.settings.num_frames if batch.settings.starts_from_video else 0
        self.encodes = 1 + video + len(batch.given.mask_frames)
        self.device = torch.device(self.options.device or choose_device())
        self.dtype: torch.dtype = find_dtype(self.options.dtype) or choose_dtype(self.device)
        self.unet, self.vae, self.clip = self.checkpoint.unet, self.checkpoint.vae, self.checkpoint.clip
        self.height, self.width = (side // self.vae.downscale for side in (self.settings.height, self.settings.width))

    def describe_memory(self) -> list[str]:
        num_frames = self.settings.num_frames
        weights = self.count_weights()
        free = free_memory(self.device)
        left = None if free is None else max(free - sum(weights.values()), 1)
        kept = StepCache(speed_mode(self.settings.speed), branches=1).branches
        on_cpu = self.device.type == "cpu"
        call = UNetCall(self.height, self.width, num_frames, self.dtype, kept=kept, on_cpu=on_cpu)
        sampling = plan_sampling(self.unet, call, left, self.options.memory)
        decode = DecodeCall(self.vae, self.height, self.width, num_frames, self.dtype, on_cpu)
        plan = plan_decode(decode, left, room_to_spill(self.device), self.options.frames_at_once)
        encode = encode_bytes(self.vae, self.height, self.width, on_cpu=on_cpu)
        sizes = ", ".join(f"{name} {describe_bytes(size)}" for name, size in weights.items())
        times = "once" if self.encodes == 1 else f"{self.encodes} times"
        sizes = ", ".join(f"{name} {describe_bytes(size)}" for name, size in weights.items())
        return [
            f"weights     {sizes}, on {self.device}",
            f"encode      {times}, peak {describe_bytes(max(encode, clip_bytes(self.clip, self.dtype)))}",
            f"sampling    {sampling}",
            f"decode      {describe_decode(decode, plan, left).removeprefix('decode: ')}",
        ]

    def count_weights(self) -> dict[str, int]:
        """Bytes of each network as the pipeline holds it: the encoder of the VAE in fp32."""
        matrices = find_dtype(self.options.weight_dtype) or self.dtype
        return {
            "UNet": _count_bytes(self.checkpoint, "unet", lambda _, shape: matrices if len(shape) > 1 else self.dtype),
            "VAE": _count_bytes(
                self.checkpoint, "vae", lambda name, _: torch.float32 if name.startswith("encoder.") else self.dtype
            ),
            "CLIP": _count_bytes(self.checkpoint, "clip", lambda *_: self.dtype),
        }

    def describe_time(self) -> str:
        settings, area = self.settings, (self.height, self.width)
        scale = frame_scales(settings)
        mode = speed_mode(settings.speed)
        branches = sum(1 + needs_uncond(mode.scale_at(sigma, scale)) for sigma in self.sigmas[:-1])
        whole, outer = (flops.unet_flops(self.unet, *area, settings.num_frames, only) for only in (False, True))
        evaluation = (whole + mode.reuses * outer) / (1 + mode.reuses)
        sampling = branches * EVALUATIONS.get(settings.sampler, 1) * evaluation
        decode = flops.decode_flops(self.vae, *area, settings.num_frames)
        encode = self.encodes * flops.encode_flops(self.vae, *area) + flops.clip_flops(self.clip)
        rate = measure_matmul_rate(self.device, self.dtype)
        return (
            f"about {_format_duration((sampling + decode + encode) / rate)} for each clip or longer: "
            f"{_format_flops(encode)} for encoding, {_format_flops(sampling)} for sampling, "
            f"{_format_flops(decode)} for decoding, "
            f"at the {_format_flops(rate)} a second that a matrix product reaches here"
        )


def _count_bytes(checkpoint: Checkpoint, part: str, dtype: Callable[[str, tuple[int, ...]], torch.dtype]) -> int:
    return sum(
        torch.Size(entry.shape).numel() * dtype(name, entry.shape).itemsize
        for name, entry in checkpoint.parameters_of(part).items()
    )


def measure_matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a matrix product, enlarged until its time can be measured."""
    side, seconds = SMALLEST_MATRIX, 0.0
    while True:
        a = torch.ones(side, side, device=device, dtype=dtype)
        seconds = min(_time_product(a) for _ in range(REPEATS))
        if seconds > LONG_ENOUGH or side >= LARGEST_MATRIX:
            return 2 * side**3 / seconds
        side *= 2


def _time_product(a: Tensor) -> float:
    start = time.perf_counter()
    (a @ a)[0, 0].item()  # waits for the device
    return max(time.perf_counter() - start, 1e-9)


def _format_flops(operations: float) -> str:
    return f"{operations / 1e12:,.0f} TFLOP" if operations >= 1e13 else f"{operations / 1e9:,.4g} GFLOP"


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "a second"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
