"""Durations of an animation's frames, in whole ticks: to write them, and to find the frames that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, count
from math import gcd

import numpy as np

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
_USUAL_RATES = [*range(1, 31), 40, 50, 60, 7.5, 12.5, *(rate / 1.001 for rate in (24, 30, 60))]
_MAX_GUESSED = 1000  # frames


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


def count_frames(
    durations: Sequence[float], clock: Clock, rate: Fraction | None, is_cut: bool = False
) -> tuple[np.ndarray, float]:
    """How many frames each stored one stands for, and frames per second.

    Writers store frames that do not change, or hardly, as one of a longer duration. rate: as the file states it, used
    if the durations fit it. is_cut: the writer cut the duration of each frame to whole milliseconds, as ComfyUI does.
    """
    ends = list(accumulate(durations))
    numbers = None if rate is None else (_fit_cut(ends, rate) if is_cut else _fit_steady(ends, rate, clock))
    if rate is not None and numbers is not None:
        return np.diff(numbers, prepend=0), float(rate)
    numbers, fps = _guess_numbers(np.array(durations), np.array(ends), clock)
    return np.diff(numbers, prepend=0), fps


def _fit_steady(ends: Sequence[float], rate: Fraction, clock: Clock) -> list[int] | None:
    """The number of frames up to each end; None where `frame_durations` does not give these ends."""
    numbers = [round(Fraction(end) * rate / 1000) for end in ends]
    fits = all(frame_end(number, rate, clock) == end for number, end in zip(numbers, ends, strict=True))
    return numbers if fits and len({0, *numbers}) == len(numbers) + 1 else None


def _fit_cut(ends: Sequence[float], rate: Fraction) -> list[int] | None:
    duration = max(int(1000 / rate), 1)
    return None if any(end % duration for end in ends) else [int(end) // duration for end in ends]


def _guess_numbers(durations: np.ndarray, ends: np.ndarray, clock: Clock) -> tuple[np.ndarray, float]:
    """The number of frames up to each end, and their rate: the simplest that the durations allow.

    In this order: every duration is a multiple of one that browsers show; frames of a usual rate, to the nearest tick;
    the fewest frames that begin within a tick of their time. Where nothing fits, a frame is as long as the shortest.
    """
    shortest = durations.min()
    shared = gcd(*map(int, durations)) if (durations % 1 == 0).all() else 0
    if shortest == durations.max():
        return _count_periods(ends, shortest)
    if shared >= clock.shortest:
        return _count_periods(ends, shared)
    for rate in _USUAL_RATES:
        if (numbers := _fit_within(ends, 1000 / rate, clock.tick / 2)) is not None:
            return numbers, float(rate)
    for number in range(len(ends), min(_MAX_GUESSED, int(ends[-1] / min(shortest, clock.shortest))) + 1):
        if (numbers := _fit_within(ends, ends[-1] / number, clock.tick)) is not None:
            return numbers, float(1000 * number / ends[-1])
    return _count_periods(np.rint(durations / shortest).cumsum() * shortest, shortest)


def _count_periods(ends: np.ndarray, period: float) -> tuple[np.ndarray, float]:
    return np.rint(ends / period).astype(int), float(1000 / period)


def _fit_within(ends: np.ndarray, period: float, tolerance: float) -> np.ndarray | None:
    """The number of frames up to each end; None where one is further than `tolerance` from a whole number of them."""
    numbers = np.rint(ends / period)
    fits = (abs(ends - numbers * period) <= tolerance).all() and (np.diff(numbers, prepend=0) > 0).all()
    return numbers.astype(int) if fits else None
