"""The search for the largest clip that fits: right wherever more takes more, and in few counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svd_core.memory.search import find_largest


@dataclass(frozen=True)
class Sized:
    num_frames: int
    height: int = 7
    width: int = 11


def search(total: int, needs: Callable[[int], float], room: float) -> tuple[int, int]:
    """The most frames that fit, 0 if none, and how many clips were counted."""
    counted: list[int] = []

    def share(clip: Sized) -> float:
        counted.append(clip.num_frames)
        return needs(clip.num_frames) / room

    found = find_largest(range(total - 1, 0, -1), Sized, Sized(total), share)
    return found.num_frames if found else 0, len(counted)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=200), st.data())
def test_the_largest_that_fits_of_any_growth(steps: list[int], data: st.DataObject) -> None:
    needs = [sum(steps[: index + 1]) for index in range(len(steps))]  # of index frames
    room = data.draw(st.integers(0, needs[-1]).map(lambda n: n + 0.5))
    found, _ = search(len(needs) - 1, lambda frames: needs[frames], room) if needs[-1] > room else (0, 0)
    fitting = [frames for frames in range(1, len(needs) - 1) if needs[frames] <= room]
    if needs[-1] > room:
        assert found == max(fitting, default=0)


@pytest.mark.parametrize("total", [30, 1000, 4096, 2**40])
@pytest.mark.parametrize("power", [1.0, 1.001])
def test_few_counts_where_memory_is_about_a_line(total: int, power: float) -> None:
    def needs(frames: int) -> float:
        return 5e3 + 3.0 * frames**power

    for target in (1, total // 3, total - 2):
        found, counts = search(total, needs, needs(target) + 0.5)
        assert needs(found) <= needs(target) + 0.5 < needs(found + 1)
        assert counts <= (8 if total < 2**13 else 12)


def test_nothing_fits() -> None:
    assert search(100, lambda n: 10.0 + n, 5.0)[0] == 0
    assert search(1, lambda n: 10.0 + n, 5.0)[0] == 0
