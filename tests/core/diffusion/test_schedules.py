"""Noise levels, against published tables and fp64 arithmetic."""

from __future__ import annotations

import math

import pytest
import torch

from svd_core.diffusion.schedules import SCHEDULES, SHORTENINGS, align_your_steps_sigmas, karras_sigmas, sigmas
from svd_core.errors import SVDError

KARRAS_25 = (
    700, 545.7, 421.6, 322.5, 244.0, 182.5, 134.9, 98.3, 70.5, 49.8, 34.5, 23.5, 15.6,
    10.1, 6.35, 3.87, 2.27, 1.27, 0.678, 0.339, 0.157, 0.0664, 0.0248, 0.0079, 0.002, 0,
)  # fmt: skip
PUBLISHED = (700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def test_karras_levels_of_25_steps():
    assert karras_sigmas(25).tolist() == pytest.approx(KARRAS_25, rel=4e-3)


@pytest.mark.parametrize("n", [2, 7, 25, 50, 999])
def test_karras_levels_match_the_formula_in_fp64(n: int):
    levels = karras_sigmas(n).double()
    start, end = 700 ** (1 / 7), 0.002 ** (1 / 7)
    expected = [(start + i / (n - 1) * (end - start)) ** 7 for i in range(n)]
    assert levels[:-1].tolist() == pytest.approx(expected, rel=1e-6)
    assert levels[-1] == 0


def test_karras_range_and_exponent_are_free():
    levels = karras_sigmas(5, sigma_min=0.5, sigma_max=4.5, rho=1.0)
    assert levels.tolist() == pytest.approx([4.5, 3.5, 2.5, 1.5, 0.5, 0.0])


def test_a_single_step_goes_from_pure_noise_to_the_picture():
    assert karras_sigmas(1).tolist() == [700.0, 0.0]
    assert align_your_steps_sigmas(1).tolist() == [700.0, 0.0]


def test_align_your_steps_is_the_published_table_for_ten_steps():
    assert torch.equal(align_your_steps_sigmas(10), torch.tensor([*PUBLISHED[:-1], 0.0]))


@pytest.mark.parametrize("n", [3, 5, 20, 25, 31])
def test_align_your_steps_interpolates_logarithms(n: int):
    levels = align_your_steps_sigmas(n).tolist()
    assert len(levels) == n + 1 and levels[-1] == 0.0
    for i, level in enumerate(levels[:-1]):
        below = min(int(i * 10 / n), 9)
        share = i * 10 / n - below
        expected = math.exp((1 - share) * math.log(PUBLISHED[below]) + share * math.log(PUBLISHED[below + 1]))
        assert level == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 10, 25, 100])
@pytest.mark.parametrize("denoise", [1.0, 0.99995, 0.7, 0.3, 0.01])
@pytest.mark.parametrize("shortening", SHORTENINGS)
def test_levels_fall_to_zero_in_the_steps_asked_for(schedule: str, steps: int, denoise: float, shortening: str):
    levels = sigmas(schedule, steps, denoise, shortening=shortening)
    assert levels.shape == (steps + 1,) and levels.dtype == torch.float32
    assert (levels[1:] < levels[:-1]).all()
    assert levels[-1] == 0 and levels[-2] > 0
    whole = int(steps / denoise) == steps if shortening == "last steps" else denoise > 0.9999
    assert (levels[0] == 700) == whole


def test_partial_denoising_is_the_tail_of_a_longer_schedule():
    assert torch.equal(sigmas("karras", 10, 0.4), karras_sigmas(25)[-11:])
    assert torch.equal(sigmas("align your steps", 7, 0.3), align_your_steps_sigmas(23)[-8:])
    assert torch.equal(sigmas("karras", 10, 0.99995), karras_sigmas(10))


DIFFSYNTH_STARTS = {0.9: 379, 0.7: 92.1, 0.5: 15.6, 0.3: 1.43}  # measured with its scheduler, 25 steps


@pytest.mark.parametrize("strength, start", DIFFSYNTH_STARTS.items())
def test_all_steps_run_over_the_last_part_of_the_way(strength: float, start: float):
    levels = sigmas("karras", 25, strength, shortening="all steps")
    assert len(levels) == 26 and levels[-2] == pytest.approx(0.002)
    assert float(levels[0]) == pytest.approx(start, rel=4e-3)
    roots = levels[:-1].double() ** (1 / 7)
    assert torch.allclose(roots.diff(), roots.diff().mean(), rtol=1e-4)


def test_all_steps_of_the_published_levels_start_at_one_of_them():
    levels = sigmas("align your steps", 5, 0.5, shortening="all steps")
    assert levels.tolist() == pytest.approx([*PUBLISHED[5:10], 0.0])


def test_the_range_reaches_the_karras_schedule():
    assert torch.equal(sigmas("karras", 6, 1.0, 0.1, 80.0), karras_sigmas(6, 0.1, 80.0))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("normal", 10), "no schedule named 'normal'"),
        (("karras", 0), "1 to 10000 steps"),
        (("karras", 2**63), "1 to 10000 steps"),
        (("align your steps", 10**400), "1 to 10000 steps and got a number too large"),
        (("karras", 25, 1e-9), "denoise is 1e-09 and must be 0.001 to 1"),  # asked for 25 thousand million levels
        (("karras", 25, 5e-324), "denoise is 4.94066e-324"),
        (("karras", 25, 10**400), "denoise is a number too large"),
        (("karras", 10, 0.0), "denoise is 0"),
        (("karras", 10, 1.5), "denoise is 1.5"),
        (("karras", 10, float("nan")), "denoise is nan"),
        (("karras", 10, 0.5, 0.002, 700.0, "none"), "no shortening named 'none'"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(arguments: tuple, words: str):
    with pytest.raises(SVDError, match=words):
        sigmas(*arguments)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("shortening", SHORTENINGS)
def test_the_smallest_denoise_still_has_levels_that_fall(schedule: str, shortening: str):
    """dpmpp_2m divides by their differences."""
    levels = sigmas(schedule, 1000, 0.001, shortening=shortening)
    assert len(levels) == 1001 and (levels.diff() < 0).all()
