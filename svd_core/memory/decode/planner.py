"""The fastest split of a decode that fits the memory there is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import inf

from ...errors import SVDError
from ..budget import USABLE, describe_bytes
from .footprint import Footprint, decode_footprint
from .plan import DecodeCall, DecodePlan


def plan_decode(
    call: DecodeCall, free_device: int | None, free_host: int | None, frames_at_once: int = 0
) -> DecodePlan:
    """The fastest plan that fits: many frames at once before few, then one buffer or host memory, then bands.

    free_device, free_host: bytes, None if unknown; a free_host of 0 means that the device shares the host's memory, as
    a CPU does. If free_device is unknown, or 0 although caches may hold enough, the plan takes one frame at a time.
    frames_at_once: the most frames at once; 0 chooses. Raises SVDError, with sizes that would fit, if nothing does.
    """
    if not free_device:
        spill = free_device == 0 and free_host != 0
        return DecodePlan(max(min(frames_at_once, call.num_frames), 1), spill=spill)
    room = _Room(USABLE * free_device, inf if free_host is None else USABLE * free_host)
    plan = _fastest_plan(call, room, frames_at_once)
    if plan is None:
        raise SVDError(_explain_refusal(call, room, free_device, free_host))
    return plan


def describe_decode(call: DecodeCall, plan: DecodePlan, free_device: int | None) -> str:
    """One line for the log, such as "decode: 25 frames, 4 at once, peak 2.1 GB of 3.0 GB free"."""
    needed = decode_footprint(call, plan)
    parts = [f"decode: {call.num_frames} frames", f"{min(plan.frames_at_once, call.num_frames)} at once"]
    parts += [f"{plan.bands} bands"] * (plan.bands > 1) + ["one buffer"] * plan.recompute
    parts += [f"{describe_bytes(needed.host)} in host memory"] * plan.spill
    free = "" if free_device is None else f" of {describe_bytes(free_device)} free"
    return ", ".join(parts) + f", peak {describe_bytes(needed.device)}{free}"


@dataclass(frozen=True)
class _Room:
    """Bytes that a decode may take."""

    device: float
    host: float

    def holds(self, needed: Footprint) -> bool:
        return needed.device <= self.device and needed.host <= self.host


def _fastest_plan(call: DecodeCall, room: _Room, frames_at_once: int = 0) -> DecodePlan | None:
    plans = _list_plans(call, frames_at_once)
    return next((plan for plan in plans if room.holds(decode_footprint(call, plan))), None)


def _list_plans(call: DecodeCall, frames_at_once: int = 0) -> list[DecodePlan]:
    """The fastest first."""
    most = min(frames_at_once, call.num_frames) or call.num_frames
    counts = {-(-most // parts) for parts in range(1, most + 1)}
    splits = [(frames, 1) for frames in counts]
    splits += [(1, min(2**power, call.height)) for power in range(1, (call.height - 1).bit_length() + 1)]
    modes = list(product((False, True), (False, True) if call.config.temporal_decoder else (False,)))
    return sorted((DecodePlan(*split, *mode) for split in splits for mode in modes), key=_relative_cost)


def _shrink(call: DecodeCall, sixteenths: int) -> DecodeCall:
    """Smaller pictures of about the same shape, of a size the model takes as it is if they are large enough."""
    height, width = (_round_down(side * sixteenths // 16) for side in (call.height, call.width))
    return replace(call, height=height, width=width)


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


def _explain_refusal(call: DecodeCall, room: _Room, free_device: int, free_host: int | None) -> str:
    def find_largest(bound: int, changed: Callable[[int], DecodeCall]) -> DecodeCall | None:
        """The largest that fits, by bisection: fitting is monotonic."""
        fitting = bisect_left(range(1, bound), True, key=lambda n: _fastest_plan(changed(n), room, 1) is None)
        return changed(fitting) if fitting else None

    shorter = find_largest(call.num_frames, lambda frames: replace(call, num_frames=frames))
    smaller = find_largest(16, lambda sixteenths: _shrink(call, sixteenths))
    would = [] if shorter is None else [f"{shorter.num_frames} frame{'s' * (shorter.num_frames > 1)}"]
    would += [] if smaller is None else [str(smaller).split(" of ")[1]]
    return (
        f"The decode of {call} needs {_describe_least(call, free_device, free_host)}; "
        f"{' or '.join(would) + ' would fit' if would else 'free some memory first'}."
    )


def _describe_least(call: DecodeCall, free_device: int, free_host: int | None) -> str:
    """Bytes of the plan that takes least of the device. A host without room is the device itself."""
    plans = [plan for plan in _list_plans(call, 1) if free_host != 0 or not plan.spill]
    needed = min((decode_footprint(call, plan) for plan in plans), key=lambda needed: needed.device)
    device, free = describe_bytes(needed.device), describe_bytes(free_device)
    if free_host == 0:
        return f"{device} of memory, of which {free} are free, and may take {USABLE:.0%} of them"
    host = (
        ""
        if free_host is None
        else f", and {describe_bytes(needed.host)} in host memory of {describe_bytes(free_host)}"
    )
    return f"{device} on the device, of which {free} are free{host}, and may take {USABLE:.0%} of either"
