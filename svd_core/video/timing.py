"""Durations of an animation's frames, in whole ticks: to write them, and to find the frames that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

from ..errors import SVDError


@dataclass(frozen=True)
class Clock:
    """Times of a format, in milliseconds. shortest: browsers show a frame of less for a tenth of a second."""

    tick: int
    shortest: int

    @property
    def max_rate(self) -> Fraction:
        return Fraction(1000, self.shortest)


GIF_CLOCK = Clock(tick=10, shortest=20)
WEBP_CLOCK = Clock(tick=1, shortest=11)


def check_browser_rate(rate: Fraction, clock: Clock, suffix: str) -> None:
    """Raises SVDError for more frames per second than browsers show."""
    if rate > clock.max_rate:
        raise SVDError(
            f"A {suffix} file plays at most {int(clock.max_rate)} frames per second, not {float(rate):g}, because "
            "browsers slow shorter frames down to 10; write an .mp4, or lower the fps."
        )


def frame_durations(rate: Fraction, clock: Clock) -> Iterator[int]:
    """Milliseconds per frame, in whole ticks whose sum never drifts from the frame rate."""
    start = 0
    for index in count(1):
        end = frame_end(index, rate, clock)
        yield end - start
        start = end


def frame_end(count: int, rate: Fraction, clock: Clock) -> int:
    """Milliseconds that `count` frames take."""
    return clock.tick * round(count * 1000 / rate / clock.tick)
