"""A decode planned by the free memory: the fastest split that fits."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import product
from math import inf

import torch
from torch import Tensor

from ...errors import SVDError
from ...models.autoencoder import Autoencoder
from ...models.finite import check_finite, check_latents_finite, is_finite
from ..device import USABLE, describe_bytes, free_memory, is_out_of_memory, room_to_spill
from ..search import find_largest
from .clip import decode_clip
from .estimate import Footprint, buffer_bytes, decode_footprint
from .plan import DecodeCall, DecodePlan
from .sweep import IsOutOfMemory

logger = logging.getLogger(__name__)


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
    plan = _find_fastest(call, room, frames_at_once)
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


def decode_in_free_memory(
    vae: Autoencoder,
    z: Tensor,
    dtype: torch.dtype,
    frames_at_once: int = 0,
    *,
    device: torch.device,
    in_dtype: Callable[[torch.dtype], AbstractContextManager[None]] = nullcontext,
    free_memory: Callable[[torch.device], int | None] = free_memory,
    is_oom: IsOutOfMemory = is_out_of_memory,
) -> Tensor:
    """Decode one clip in `dtype`, planned by the free memory; once more in fp32, and say so, if 16 bits overflow.

    z: t 4 h w, unscaled, on any device. frames_at_once: the most frames at once; 0 chooses. in_dtype: converts the
    weights for the second decode, unless the layers cast them. Returns t 3 8h 8w, about [-1, 1], unclamped, on `device`
    or in host memory. Raises SVDError for latents or frames that are not finite.
    """
    check_latents_finite(z)

    def decode(dtype: torch.dtype) -> Tensor:
        call = DecodeCall.of_shape(vae.config, z.shape, dtype, device)
        free = free_memory(device)
        plan = plan_decode(call, free, room_to_spill(device), frames_at_once)
        logger.info(describe_decode(call, plan, free))
        return decode_clip(vae, z.to(dtype), plan, device=device, is_oom=is_oom)

    frames = decode(dtype)
    if dtype != torch.float32 and not is_finite(frames):
        logger.warning("The decode in %s gave values that are not finite; decoding again in fp32.", dtype)
        del frames
        with in_dtype(torch.float32):
            frames = decode(torch.float32)
    check_finite(frames, "The decoded frames", vae, "VAE", torch.float32)
    return frames


@dataclass(frozen=True)
class _Room:
    """Bytes that a decode may take."""

    device: float
    host: float

    def share(self, needed: Footprint) -> float:
        """The part of the room that is needed; at most 1 if all fits."""
        return max(needed.device / self.device, needed.host / self.host if self.host else inf * bool(needed.host))


def _find_fastest(call: DecodeCall, room: _Room, frames_at_once: int = 0) -> DecodePlan | None:
    """By bisection in each way to split: what is slower there takes less memory."""
    ways = _list_ways(call, frames_at_once)
    fastest = ways[0][0] if _share(call, ways[0][0], room) <= 1 else None
    for way in ways:
        plans = [plan for plan in way if fastest is None or _relative_cost(plan) < _relative_cost(fastest)]
        if plans and _share(call, plans[-1], room) <= 1:
            fastest = plans[bisect_left(plans, True, key=lambda plan: _share(call, plan, room) <= 1)]
    return fastest


def _share(call: DecodeCall, plan: DecodePlan, room: _Room) -> float:
    """The part of the room that a plan takes; of one whose buffers alone are too large, their part."""
    buffers = buffer_bytes(call, plan.recompute)
    least = Footprint(0, buffers) if plan.spill else Footprint(buffers, 0)
    return room.share(least) if room.share(least) > 1 else room.share(decode_footprint(call, plan))


def _list_ways(call: DecodeCall, frames_at_once: int = 0) -> list[list[DecodePlan]]:
    """Plans that split alike, the fastest first; the way whose first plan is fastest comes first."""
    most = min(frames_at_once, call.num_frames) or call.num_frames
    counts = sorted({-(-most // parts) for parts in range(1, most + 1)}, reverse=True)
    bands = sorted({min(2**power, call.height) for power in range(1, (call.height - 1).bit_length() + 1)})
    splits = [[(frames, 1) for frames in counts], [(1, count) for count in bands]]
    modes = product((False, True), (False, True) if call.config.temporal_decoder else (False,))
    ways = [
        [DecodePlan(frames, bands, spill, recompute) for frames, bands in some]
        for some, (spill, recompute) in product(splits, modes)
        if some
    ]
    return sorted(ways, key=lambda plans: _relative_cost(plans[0]))


def _list_least(call: DecodeCall, free_host: int | None) -> list[DecodePlan]:
    """The plans that may take the least memory. A host without room is the device itself."""
    temporal = call.config.temporal_decoder
    modes = [(False, temporal)] + ([] if free_host == 0 else [(True, temporal), (True, False)])
    return [DecodePlan(1, call.height, *mode) for mode in modes]


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
    def share(call: DecodeCall) -> float:
        return min(_share(call, plan, room) for plan in _list_least(call, free_host))

    shorter = find_largest(
        range(call.num_frames - 1, 0, -1), lambda frames: replace(call, num_frames=frames), call, share
    )
    smaller = find_largest(range(15, 0, -1), lambda sixteenths: _shrink(call, sixteenths), call, share)
    would = [] if shorter is None else [f"{shorter.num_frames} frame{'s' * (shorter.num_frames > 1)}"]
    would += [] if smaller is None else [str(smaller).split(" of ")[1]]
    return (
        f"The decode of {call} needs {_describe_least(call, free_device, free_host)}; "
        f"{' or '.join(would) + ' would fit' if would else 'free some memory first'}."
    )


def _describe_least(call: DecodeCall, free_device: int, free_host: int | None) -> str:
    """The needs, in words, of the plan that takes the least of the device."""
    footprints = [decode_footprint(call, plan) for plan in _list_least(call, free_host)]
    needed = min(footprints, key=lambda footprint: footprint.device)
    device, free = describe_bytes(needed.device), describe_bytes(free_device)
    if free_host == 0:
        return f"{device} of memory, of which {free} are free, and may take {USABLE:.0%} of them"
    host = (
        ""
        if free_host is None
        else f", and {describe_bytes(needed.host)} in host memory of {describe_bytes(free_host)}"
    )
    return f"{device} on the device, of which {free} are free{host}, and may take {USABLE:.0%} of either"
