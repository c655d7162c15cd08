"""Fits the sampling to the memory there is: the splits to choose from, the choice, and what to do when it was wrong.

No choice changes the result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from .activations import UNetCall, unet_bytes
from .config import AutoencoderConfig, UNetConfig
from .errors import SVDError
from .memory import USABLE
from .split import Split

logger = logging.getLogger(__name__)

MemoryChoice = Literal["automatic", "fastest", "smallest"]
MEMORY_CHOICES: tuple[str, ...] = get_args(MemoryChoice)

# "smallest" stops here: beyond it the buffers of the clip are what counts, and small pieces would only cost time.
WORTH_SPLITTING = 1.25
PIXELS_PER_LATENT = AutoencoderConfig().downscale  # of every released model; only for what users are told


@dataclass(frozen=True)
class SamplingPlan:
    """How one evaluation of the UNet runs, and how it may run where that turns out to be too much."""

    config: UNetConfig
    call: UNetCall
    splits: tuple[Split | None, ...]  # the first is the choice, each further one needs less
    free: int | None

    @property
    def split(self) -> Split | None:
        return self.splits[0]

    @cached_property
    def peak(self) -> int:
        """Bytes of activations."""
        return unet_bytes(self.config, self.call, self.split)

    def smaller(self) -> SamplingPlan:
        """The next smaller split; the caller has made sure that there is one."""
        return replace(self, splits=self.splits[1:])

    def __str__(self) -> str:
        if self.split is None or self.split.frames < self.call.num_frames:
            at_once = "all at once" if self.split is None else f"{self.split.frames} at once"
        else:
            at_once = "all at once but for the feed-forwards"
        of_free = "" if self.free is None else f" of {_gigabytes(self.free)} free"
        return f"{self.call.num_frames} frames, {at_once}, peak {_gigabytes(self.peak)}{of_free}"


def plan_sampling(
    config: UNetConfig, call: UNetCall, free: int | None, choice: str = "automatic", limit: int | None = None
) -> SamplingPlan:
    """The split for one shape of evaluation.

    free: bytes for activations, None where the device does not tell; 0 says no more than that it is full. limit: bytes
    that could be made free, where that is more. "automatic" takes the least split that leaves a margin, and none at all
    where that fits or nothing is known; "fastest" never begins with one; "smallest" goes as far as it pays.
    Raises SVDError where nothing fits, and says what would.
    """
    if choice not in MEMORY_CHOICES:
        raise SVDError(f"There is no memory choice named {choice!r}; choose one of {', '.join(MEMORY_CHOICES)}.")
    splits = tuple(_splits(config, call))
    plans = [SamplingPlan(config, call, splits[index:], free) for index in range(len(splits))]
    limit = max(limit or 0, free or 0)
    if limit and plans[-1].peak > limit:
        raise SVDError(_what_would_fit(config, call, plans[-1].peak, limit))
    if choice == "fastest" or (choice == "automatic" and free is None):
        return plans[0]
    worth = next(plan for plan in plans if plan.peak <= WORTH_SPLITTING * plans[-1].peak)
    if choice == "smallest" or not free:
        return worth
    return next((plan for plan in plans if plan.peak <= USABLE * free), plans[-1])


def smallest_bytes(config: UNetConfig, call: UNetCall) -> int:
    """Peak bytes of one evaluation under "smallest"."""
    return plan_sampling(config, call, None, "smallest").peak


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory; MPS and the CPU say so in words only."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(some in str(error).lower() for some in words)
    )


def free_for_activations(device: torch.device) -> int | None:
    """Bytes that tensors can still take on a device, None where it does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, to be reused
        return torch.cuda.mem_get_info(device)[0] + unused
    return _available_host_memory() if device.type == "cpu" else None


def release_cached_memory() -> None:
    """Hand back what torch's allocator keeps; its pieces have the wrong sizes once the split is another."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class SamplingMemory:
    """The memory of one sampling run: plans each shape once, steps down where memory runs out after all."""

    def __init__(
        self,
        choice: str,
        free: Callable[[], int | None],
        is_oom: Callable[[Exception], bool] = is_out_of_memory,
        release: Callable[[], None] = release_cached_memory,
        limit: int | None = None,
        log_level: int = logging.INFO,
    ) -> None:
        """free: bytes for activations right now. limit: see `plan_sampling`. is_oom, release: a host has its own."""
        self.choice, self.free, self.limit, self.log_level = choice, free, limit, log_level
        self.is_oom, self.release = is_oom, release
        self.plans: dict[tuple[UNetConfig, UNetCall], SamplingPlan] = {}
        self.said: set[str] = set()

    def plan(self, config: UNetConfig, call: UNetCall) -> SamplingPlan:
        """The plan for a shape. Raises SVDError where it cannot fit."""
        if (config, call) not in self.plans:
            plan = self.plans[config, call] = plan_sampling(config, call, self.free(), self.choice, self.limit)
            self.say_once(f"sampling: {plan}")
        return self.plans[config, call]

    def run(self, config: UNetConfig, call: UNetCall, evaluate: Callable[[Split | None], Tensor]) -> Tensor:
        """What `evaluate` returns under the plan; where memory runs out, it is called again with a smaller split."""
        plan = self.plan(config, call)
        while (result := self._attempt(plan, evaluate)) is None:
            self.release()
            plan = self.plans[config, call] = plan.smaller()
            logger.warning("Memory ran out; going on with %s. The result is the same.", plan)
        return result

    def say_once(self, line: str) -> None:
        """Log a line, unless the run has said it before."""
        if line not in self.said:
            self.said.add(line)
            logger.log(self.log_level, line)

    def _attempt(self, plan: SamplingPlan, evaluate: Callable[[Split | None], Tensor]) -> Tensor | None:
        """None where memory ran out: by then the error, which holds the tensors of its frames, is gone."""
        try:
            return evaluate(plan.split)
        except Exception as error:
            if len(plan.splits) == 1 or not self.is_oom(error):
                raise
        return None


def _available_host_memory() -> int | None:
    """Linux counts files it can drop at will as available, though not as free; others are not asked."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _splits(config: UNetConfig, call: UNetCall) -> Iterator[Split | None]:
    """No split, then ever smaller pieces, each needing less than those before."""
    yield None
    least, frames = unet_bytes(config, call), call.rows
    while True:
        split = _balanced(call, frames)
        if (peak := unet_bytes(config, call, split)) < least:
            least = peak
            yield split
        if frames == 1:
            return
        frames = -(-frames // 2)


def _balanced(call: UNetCall, frames: int) -> Split:
    """Pieces of all kinds of layers that need about as much as the spatial layers of `frames` frames.

    A temporal piece holds as many numbers as a spatial one; a feed-forward has 17 widths alive at each token where
    attention has 6, so it takes a third of them.
    """
    area = call.height * call.width
    return Split(frames, -(-frames * area // call.num_frames), -(-frames * area // 3))


def _what_would_fit(config: UNetConfig, call: UNetCall, needed: int, free: int) -> str:
    def fits(**other: int) -> bool:
        *_, least = _splits(config, replace(call, **other))
        return unet_bytes(config, replace(call, **other), least) <= USABLE * free

    frames = next((n for n in range(call.num_frames - 1, 0, -1) if fits(num_frames=n)), None)
    size = next(((h, w) for h, w in _smaller_sizes(config, call) if fits(height=h, width=w)), None)
    advice = [
        *([f"make at most {frames} frames"] if frames else []),
        *([f"choose {_pixels(*size)} pixels"] if size else []),
        "free some memory",
    ]
    return (
        f"Sampling {call.num_frames} frames of {_pixels(call.height, call.width)} pixels needs {_gigabytes(needed)} "
        f"beside the weights and {_gigabytes(free)} are free; {', or '.join(advice)}."
    )


def _smaller_sizes(config: UNetConfig, call: UNetCall) -> Iterator[tuple[int, int]]:
    """Latent sizes of about the same shape that the model takes, largest first."""
    step = config.size_multiple
    for height in range((call.height - 1) // step * step, 0, -step):
        yield height, max(step, int(call.width * height / call.height) // step * step)


def _pixels(height: int, width: int) -> str:
    return f"{PIXELS_PER_LATENT * width}x{PIXELS_PER_LATENT * height}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
