"""The sampling in bounded memory: plans the pieces of each evaluation, and steps down if memory runs out after all.

No choice of pieces changes the result.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import dropwhile

from torch import Tensor

from ..config import AutoencoderConfig, UNetConfig
from ..errors import SVDError, choose
from ..models.pieces import ALL, Pieces
from .activations import UNetCall, unet_bytes
from .device import MEMORY_CHOICES, USABLE, describe_bytes, is_out_of_memory, release_cached_memory
from .search import find_largest

logger = logging.getLogger(__name__)

# "smallest" stops here: beyond it the buffers of the clip are what counts, and small pieces would only cost time.
WORTH_SPLITTING = 1.2
PIXELS_PER_LATENT = AutoencoderConfig().downscale  # of every released model; only for what users are told


@dataclass(frozen=True)
class SamplingPlan:
    """The pieces of one evaluation of the UNet, and smaller ones for when memory runs out all the same."""

    config: UNetConfig
    call: UNetCall
    choices: tuple[Pieces, ...]  # the first is the choice, the others take less and less at once
    free: int | None

    @property
    def pieces(self) -> Pieces:
        return self.choices[0]

    @property
    def peak(self) -> int:
        """Bytes of activations."""
        return unet_bytes(self.config, self.call, self.pieces)

    def step_down(self) -> SamplingPlan:
        """The next pieces that need less, for when `free` has proven wrong; the caller has made sure of `choices`."""
        rest = tuple(
            dropwhile(lambda pieces: unet_bytes(self.config, self.call, pieces) >= self.peak, self.choices[1:])
        )
        return replace(self, choices=rest or self.choices[-1:], free=None)

    def __str__(self) -> str:
        clips = f"{self.call.clips} clips of " if self.call.clips > 1 else ""
        of_free = "" if self.free is None else f" of {describe_bytes(self.free)} free"
        return f"{clips}{self.call.num_frames} frames, {self._at_once()}, peak {describe_bytes(self.peak)}{of_free}"

    def _at_once(self) -> str:
        if self.pieces.whole:
            return "all at once"
        if self.pieces.frames >= self.call.rows:
            return "all at once but for the feed-forwards"
        return f"{self.pieces.frames} at once"


def plan_sampling(
    config: UNetConfig, call: UNetCall, free: int | None, choice: str = "automatic", limit: int | None = None
) -> SamplingPlan:
    """Choose the pieces for one shape of evaluation.

    free: bytes for activations, None if the device does not tell; 0 says no more than that it is full. limit: bytes
    that could be made free, if that is more. "automatic" takes the largest pieces that leave a margin, and all at
    once if that fits or nothing is known; "fastest" always begins so; "smallest" goes as far as it pays.
    Raises SVDError if nothing fits, and says what would.
    """
    choices = _choose_pieces(config, call, free, choice, limit)
    if not choices:
        raise SVDError(_explain_refusal(config, call, max(limit or 0, free or 0)))
    return SamplingPlan(config, call, choices, free)


def _choose_pieces(
    config: UNetConfig, call: UNetCall, free: int | None, choice: str, limit: int | None
) -> tuple[Pieces, ...]:
    """The choices of `plan_sampling`; none if nothing fits."""
    choose("memory choice", choice, MEMORY_CHOICES)
    choices = _list_choices(call)
    limit = max(limit or 0, free or 0)

    def measure(pieces: Pieces) -> int:
        return unet_bytes(config, call, pieces)

    def begin_with(bound: float, choices: tuple[Pieces, ...]) -> tuple[Pieces, ...]:
        """From the largest pieces within the bound on, by bisection: a count takes a while. The last if none is."""
        return choices[bisect_left(range(len(choices) - 1), True, key=lambda i: measure(choices[i]) <= bound) :]

    if choice != "smallest" and free and measure(ALL) <= USABLE * free:
        return choices
    if limit and measure(choices[-1]) > limit:
        return ()
    if choice == "fastest" or (choice == "automatic" and free is None):
        return choices
    if choice == "smallest" or not free:
        choices = begin_with(WORTH_SPLITTING * measure(choices[-1]), choices)
    return begin_with(USABLE * free, choices) if free else choices


def smallest_bytes(config: UNetConfig, call: UNetCall) -> int:
    """Peak bytes of one evaluation under "smallest"."""
    return plan_sampling(config, call, None, "smallest").peak


class SamplingMemory:
    """The memory of one sampling run: plans each shape once, steps down if memory runs out after all."""

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
        self.together: dict[tuple[UNetConfig, UNetCall], bool] = {}
        self.said: set[str] = set()

    def plan(self, config: UNetConfig, call: UNetCall) -> SamplingPlan:
        """The plan for a shape. Raises SVDError if it cannot fit."""
        if (config, call) not in self.plans:
            plan = self.plans[config, call] = plan_sampling(config, call, self.free(), self.choice, self.limit)
            self.say_once(f"sampling: {plan}")
        return self.plans[config, call]

    def clips_at_once(self, config: UNetConfig, call: UNetCall) -> int:
        """All clips of the call if that fits at once, else one: the batch saves time, but memory comes first."""
        if (config, call) not in self.together:
            self.together[config, call] = self._fits_whole(config, call, self.free())
        return call.clips if self.together[config, call] else 1

    def run(self, config: UNetConfig, call: UNetCall, evaluate: Callable[[Pieces], Tensor]) -> Tensor:
        """Return what `evaluate` does under the plan; if memory runs out, call it again with smaller pieces."""
        plan = self.plan(config, call)
        while (result := self._attempt(plan, evaluate)) is None:
            self.release()
            plan = self.plans[config, call] = plan.step_down()
            logger.warning("Memory ran out; going on with %s. The result is the same.", plan)
        return result

    def say_once(self, line: str) -> None:
        """Log a line, unless the run has said it before."""
        if line not in self.said:
            self.said.add(line)
            logger.log(self.log_level, line)

    def _fits_whole(self, config: UNetConfig, call: UNetCall, free: int | None) -> bool:
        if self.choice == "automatic" and free:
            return unet_bytes(config, call) <= USABLE * free  # one count tells; a whole plan takes several
        pieces = _choose_pieces(config, call, free, self.choice, self.limit)
        return bool(pieces) and pieces[0].whole

    def _attempt(self, plan: SamplingPlan, evaluate: Callable[[Pieces], Tensor]) -> Tensor | None:
        """None if memory ran out. By then the error is gone, which holds the tensors of its frames."""
        try:
            return evaluate(plan.pieces)
        except Exception as error:
            if len(plan.choices) == 1 or not self.is_oom(error):
                raise
        return None


def _list_choices(call: UNetCall) -> tuple[Pieces, ...]:
    """Everything at once, then ever smaller pieces."""
    counts = [call.rows]
    while counts[-1] > 1:
        counts.append(-(-counts[-1] // 2))
    return (ALL, *(_balance(call, frames) for frames in counts))


def _balance(call: UNetCall, frames: int) -> Pieces:
    """Pieces of all kinds of layers that need about as much as the spatial layers of `frames` frames.

    A temporal piece holds as many numbers as a spatial one; a feed-forward has 17 widths alive at each token where
    attention has 6, so it takes a third of them.
    """
    area = call.height * call.width
    return Pieces(frames, -(-frames * area // call.num_frames), -(-frames * area // 3))


def _explain_refusal(config: UNetConfig, call: UNetCall, free: int) -> str:
    def share(call: UNetCall) -> float:
        return unet_bytes(config, call, _list_choices(call)[-1]) / (USABLE * free)

    def of_height(height: int) -> UNetCall:
        """About the same shape, in a size that the model takes."""
        return replace(call, height=height, width=max(step, call.width * height // call.height // step * step))

    step = config.size_multiple
    shorter = find_largest(
        range(call.num_frames - 1, 0, -1), lambda frames: replace(call, num_frames=frames), call, share
    )
    smaller = find_largest(range((call.height - 1) // step * step, 0, -step), of_height, call, share)
    advice = [
        *([f"make at most {shorter.num_frames} frames"] if shorter else []),
        *([f"choose {_describe_size(smaller)} pixels"] if smaller else []),
        "free some memory",
    ]
    needed = unet_bytes(config, call, _list_choices(call)[-1])
    return (
        f"Sampling {call.num_frames} frames of {_describe_size(call)} pixels needs {describe_bytes(needed)} beside the "
        f"weights and {describe_bytes(free)} are free; {', or '.join(advice)}."
    )


def _describe_size(call: UNetCall) -> str:
    return f"{PIXELS_PER_LATENT * call.width}x{PIXELS_PER_LATENT * call.height}"
