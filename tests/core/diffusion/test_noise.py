"""Seeded noise: ComfyUI's own numbers for the latent, other numbers for everything else."""

from __future__ import annotations

import itertools

import pytest
import torch

from svd_core.diffusion.noise import MAX_SEED, Stream, draw_noise, seed_of_clip, step_generator
from svd_core.errors import SVDError

SEEDS = (0, 1, 42, 2**32, 2**32 + 1, 2**63, MAX_SEED)


@pytest.mark.parametrize("seed", SEEDS)
def test_latent_noise_is_the_hosts(seed: int):
    expected = torch.randn((3, 4, 5, 7), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(draw_noise((3, 4, 5, 7), seed), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("a, b", list(itertools.combinations(Stream, 2)))
def test_streams_are_uncorrelated(seed: int, a: Stream, b: Stream):
    """Also for seeds that differ in high bits only, which the generator does not see."""
    n = 20000
    x, y = draw_noise((n,), seed, a), draw_noise((n,), seed, b)
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 5 / n**0.5


@pytest.mark.parametrize("stream", Stream)
def test_noise_is_standard_normal(stream: Stream):
    x = draw_noise((100_000,), 3, stream)
    assert x.dtype == torch.float32 and x.device.type == "cpu"
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02


def test_noise_is_reproducible_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    assert torch.equal(draw_noise((5,), 9, Stream.AUGMENTATION), draw_noise((5,), 9, Stream.AUGMENTATION))
    assert torch.equal(torch.randn(5, generator=step_generator(9)), draw_noise((5,), 9, Stream.STEP))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", [MAX_SEED + 1, -(2**63) - 1])
def test_a_seed_of_more_than_64_bits_is_refused(seed: int):
    with pytest.raises(SVDError, match="64 bits"):
        draw_noise((1,), seed)


def test_seeds_of_several_clips_follow_each_other_and_start_again_at_the_end():
    assert [seed_of_clip(5, index) for index in range(3)] == [5, 6, 7]
    assert [seed_of_clip(MAX_SEED - 1, index) for index in range(4)] == [MAX_SEED - 1, MAX_SEED, 0, 1]
