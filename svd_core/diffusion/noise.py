"""Seeded noise, drawn in fp32 on the CPU so that a seed gives the same clip on every device."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from ..errors import SVDError

MIN_SEED, MAX_SEED = -(2**63), 2**64 - 1


class Stream(IntEnum):
    """Uses of a seed. Each has its own stream of numbers, so that no two uses draw the same ones.

    The values are XORed into the seed. They are 32 bits wide because the CPU generator of torch (mt19937) is seeded
    from the low 32 bits alone; zero keeps ComfyUI's own noise for the seed.
    """

    LATENT = 0
    AUGMENTATION = 0x9E3779B9
    STEP = 0x7F4A7C15


def draw_noise(shape: Sequence[int], seed: int, stream: Stream = Stream.LATENT) -> Tensor:
    """Standard normal noise of `shape`, fp32 on the CPU.

    `Stream.LATENT` equals `torch.randn(shape, generator=torch.Generator().manual_seed(seed))`, which is what ComfyUI
    draws for the seed. Raises SVDError for a seed torch cannot take.
    """
    return torch.randn(tuple(shape), generator=make_generator(seed, stream), dtype=torch.float32)


def seed_of_clip(seed: int, index: int) -> int:
    """The seed of clip `index` in a batch: `seed` + index, starting again at 0 after the largest seed."""
    following = seed + index
    return following if following <= MAX_SEED else following - MAX_SEED - 1


def step_generator(seed: int) -> torch.Generator:
    """The generator of the noise that stochastic samplers add at every step."""
    return make_generator(seed, Stream.STEP)


def make_generator(seed: int, stream: Stream) -> torch.Generator:
    """A CPU generator at the start of one stream of `seed`."""
    if not MIN_SEED <= seed <= MAX_SEED:
        raise SVDError(f"The seed {seed} does not fit into 64 bits; use one from 0 to {MAX_SEED}.")
    return torch.Generator().manual_seed(seed ^ stream)


def draw_seed(generator: torch.Generator) -> int:
    """Draw a seed from a generator of any device. The generator advances, so the next clip differs."""
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
