"""Plans the sampling: the splits of the UNet to choose from, what each needs, and the choice.

No choice changes the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

from ..config import AutoencoderConfig, UNetConfig
from ..errors import SVDError, choose
from ..models.split import Split
from .activations import UNetCall, unet_bytes
from .device import USABLE

MemoryChoice = Literal["automatic", "fastest", "smallest"]
MEMORY_CHOICES: tuple[str, ...] = get_args(MemoryChoice)

# "smallest" stops here: beyond it the buffers of the clip are what counts, and small pieces would only cost time.
WORTH_SPLITTING = 1.2
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
        """The next smaller split, for where `free` has proven wrong; the caller has made sure that there is one."""
        return replace(self, splits=self.splits[1:], free=None)

    def __str__(self) -> str:
        clips = f"{self.call.clips} clips of " if self.call.clips > 1 else ""
        of_free = "" if self.free is None else f" of {_gigabytes(self.free)} free"
        return f"{clips}{self.call.num_frames} frames, {self._at_once()}, peak {_gigabytes(self.peak)}{of_free}"

    def _at_once(self) -> str:
        if self.split is None:
            return "all at once"
        if self.split.frames >= self.call.rows:
            return "all at once but for the feed-forwards"
        return f"{self.split.frames} at once"


def plan_sampling(
    config: UNetConfig, call: UNetCall, free: int | None, choice: str = "automatic", limit: int | None = None
) -> SamplingPlan:
    """The split for one shape of evaluation.

    free: bytes for activations, None where the device does not tell; 0 says no more than that it is full. limit: bytes
    that could be made free, where that is more. "automatic" takes the least split that leaves a margin, and none at all
    where that fits or nothing is known; "fastest" never begins with one; "smallest" goes as far as it pays.
    Raises SVDError where nothing fits, and says what would.
    """
    check_memory_choice(choice)
    splits = tuple(_splits(config, call))
    plans = [SamplingPlan(config, call, splits[index:], free) for index in range(len(splits))]
    limit = max(limit or 0, free or 0)
    if limit and plans[-1].peak > limit:
        raise SVDError(_what_would_fit(config, call, plans[-1].peak, limit))
    if choice == "fastest" or (choice == "automatic" and free is None):
        return plans[0]
    paying = [plan for plan in plans if plan.peak <= WORTH_SPLITTING * plans[-1].peak]
    if not free:
        return paying[0]
    allowed = paying if choice == "smallest" else plans
    return next((plan for plan in allowed if plan.peak <= USABLE * free), plans[-1])


def check_memory_choice(choice: str) -> None:
    """Raises SVDError for an unknown name."""
    choose("memory choice", choice, MEMORY_CHOICES)


def smallest_bytes(config: UNetConfig, call: UNetCall) -> int:
    """Peak bytes of one evaluation under "smallest"."""
    return plan_sampling(config, call, None, "smallest").peak


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
