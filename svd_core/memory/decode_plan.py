"""The fastest split of a decode that fits the memory there is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import inf

import torch

from ..config import AutoencoderConfig
from ..errors import SVDError
from .decode.footprint import Footprint, decode_footprint
from .decode.plan import DecodePlan

# Share of the free memory that a stage may count on; allocators fragment, libraries take work space for convolutions,
# and other programs move.
USABLE = 0.8


def plan_decode(
    config: AutoencoderConfig,
    height: int,
    width: int,
    num_frames: int,
    dtype: torch.dtype,
    free_device: int | None,
    free_host: int | None,
    frames_at_once: int = 0,
) -> DecodePlan:
    """The fastest plan that fits: many frames at once before few, then one buffer or host memory, then bands.

    height, width: of the latent. free_device, free_host: bytes, None where unknown; a free_host of 0 stands for a
    device that shares the host's memory, such as a CPU. A device that does not say, or says zero although its caches
    may hold what is needed, gets the smallest plan that costs little. frames_at_once: never more than that; 0 leaves
    it open. Raises SVDError where nothing fits, with what would.
    """
    clip = _Clip(config, height, width, num_frames, dtype)
    if not free_device:
        spill = free_device == 0 and free_host != 0
        return DecodePlan(max(min(frames_at_once, num_frames), 1), spill=spill)
    room = _Room(USABLE * free_device, inf if free_host is None else USABLE * free_host)
    plan = clip.fastest_plan(room, frames_at_once)
    if plan is None:
        raise SVDError(_refusal(clip, room, free_device, free_host))
    return plan


def describe_decode(
    config: AutoencoderConfig,
    height: int,
    width: int,
    num_frames: int,
    dtype: torch.dtype,
    plan: DecodePlan,
    free_device: int | None,
) -> str:
    """One line for the log, such as "decode: 25 frames, 4 at once, peak 2.1 GB of 3.0 GB free"."""
    needed = decode_footprint(config, height, width, num_frames, dtype, plan)
    parts = [f"decode: {num_frames} frames", f"{min(plan.frames_at_once, num_frames)} at once"]
    parts += [f"{plan.bands} bands"] * (plan.bands > 1) + ["one buffer"] * plan.recompute
    parts += [f"{_gigabytes(needed.host)} in host memory"] * plan.spill
    free = "" if free_device is None else f" of {_gigabytes(free_device)} free"
    return ", ".join(parts) + f", peak {_gigabytes(needed.device)}{free}"


@dataclass(frozen=True)
class _Room:
    """Bytes that a decode may take."""

    device: float
    host: float

    def holds(self, needed: Footprint) -> bool:
        return needed.device <= self.device and needed.host <= self.host


@dataclass(frozen=True)
class _Clip:
    config: AutoencoderConfig
    height: int
    width: int
    num_frames: int
    dtype: torch.dtype

    def footprint(self, plan: DecodePlan) -> Footprint:
        return decode_footprint(self.config, self.height, self.width, self.num_frames, self.dtype, plan)

    def fastest_plan(self, room: _Room, frames_at_once: int = 0) -> DecodePlan | None:
        return next((plan for plan in self.fastest_first(frames_at_once) if room.holds(self.footprint(plan))), None)

    def fastest_first(self, frames_at_once: int = 0) -> list[DecodePlan]:
        most = min(frames_at_once, self.num_frames) or self.num_frames
        counts = {-(-most // parts) for parts in range(1, most + 1)}
        splits = [(frames, 1) for frames in counts]
        splits += [(1, min(2**power, self.height)) for power in range(1, (self.height - 1).bit_length() + 1)]
        modes = list(product((False, True), (False, True) if self.config.temporal_decoder else (False,)))
        return sorted((DecodePlan(*split, *mode) for split in splits for mode in modes), key=_relative_cost)

    def shrunk(self, sixteenths: int) -> _Clip:
        """Smaller pictures of about the same shape, of a size the model takes as it is if they are large enough."""
        height, width = (_round_down(side * sixteenths // 16) for side in (self.height, self.width))
        return replace(self, height=height, width=width)

    def __str__(self) -> str:
        scale = self.config.downscale
        return f"{scale * self.width}x{scale * self.height} pixels"


def _relative_cost(plan: DecodePlan) -> float:
    """About the time that a split adds to a decode of unit time; only the order matters.

    Two neighbours of every window are normalised again. A first temporal convolution is an eighth of a block's work,
    and done again for two neighbours as well. Copies to the host and back are hidden in part. Bands come last.
    """
    neighbours = 2 / plan.frames_at_once
    recompute = (1 + neighbours) / 8 if plan.recompute else 0.0
    return 0.05 * neighbours + recompute + 0.3 * plan.spill + (plan.bands if plan.bands > 1 else 0)


def _round_down(side: int, multiple: int = 8) -> int:
    return side // multiple * multiple or max(side, 1)


def _refusal(clip: _Clip, room: _Room, free_device: int, free_host: int | None) -> str:
    def largest(bound: int, changed: Callable[[int], _Clip]) -> _Clip | None:
        """By bisection: what fits, fits all the more with less."""
        fitting = bisect_left(range(1, bound), True, key=lambda n: changed(n).fastest_plan(room, 1) is None)
        return changed(fitting) if fitting else None

    shorter = largest(clip.num_frames, lambda frames: replace(clip, num_frames=frames))
    shrunk = largest(16, clip.shrunk)
    would = [] if shorter is None else [f"{shorter.num_frames} frame{'s' * (shorter.num_frames > 1)}"]
    would += [] if shrunk is None else [str(shrunk)]
    return (
        f"The decode of {clip.num_frames} frames of {clip} needs {_least(clip, free_device, free_host)}; "
        f"{' or '.join(would) + ' would fit' if would else 'free some memory first'}."
    )


def _least(clip: _Clip, free_device: int, free_host: int | None) -> str:
    """Of the plan that takes the least of the device, in words. A host without room is the device itself."""
    plans = [plan for plan in clip.fastest_first(1) if free_host != 0 or not plan.spill]
    needed = min(map(clip.footprint, plans), key=lambda needed: needed.device)
    device, free = _gigabytes(needed.device), _gigabytes(free_device)
    if free_host == 0:
        return f"{device} of memory, of which {free} are free, and may take {USABLE:.0%} of them"
    host = "" if free_host is None else f", and {_gigabytes(needed.host)} in host memory of {_gigabytes(free_host)}"
    return f"{device} on the device, of which {free} are free{host}, and may take {USABLE:.0%} of either"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
