"""The largest clip that fits, found in a few counts of memory, each of which takes a while."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Protocol, TypeVar


class Clip(Protocol):
    """What memory grows with."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def num_frames(self) -> int: ...


AnyClip = TypeVar("AnyClip", bound=Clip)
MOST_SECANTS = 5  # memory is nearly a line, on which three are enough; halving always ends


def find_largest(
    numbers: range, make: Callable[[int], AnyClip], too_large: AnyClip, share: Callable[[AnyClip], float]
) -> AnyClip | None:
    """The first of make(numbers), which get smaller and smaller, that fits; None if there is none.

    share: the part of the room that a clip takes; it fits with at most 1. too_large: a clip larger than all, which
    does not fit. Along the line through the two latest counts instead of by halves, since memory is about a line over
    the numbers in a clip.
    """
    too_many, fitting = -1, len(numbers)  # indices
    points = [(0.0, 0.0), (_volume(too_large), share(too_large))]
    while fitting - too_many > 1:
        index = (too_many + fitting) // 2
        (volume, part), (last_volume, last_part) = points[-2:]
        if len(points) < 2 + MOST_SECANTS and (last_part - part) * (last_volume - volume) > 0:
            wanted = last_volume + (1.0 - last_part) * (last_volume - volume) / (last_part - part)
            index = bisect_left(numbers, True, key=lambda number: _volume(make(number)) <= wanted)
            index = min(max(index, too_many + 1), fitting - 1)
        clip = make(numbers[index])
        points.append((_volume(clip), share(clip)))
        too_many, fitting = (too_many, index) if points[-1][1] <= 1.0 else (index, fitting)
    return make(numbers[fitting]) if fitting < len(numbers) else None


def _volume(clip: Clip) -> float:
    return float(clip.num_frames * clip.height * clip.width)
