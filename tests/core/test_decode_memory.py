"""A decode in bounded memory gives the pictures of the whole-clip decode, whatever the split."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from svd_core.autoencoder import Autoencoder, DecodePlan
from svd_core.config import AutoencoderConfig
from tests.core.test_networks import randomised, relative

SMALL = AutoencoderConfig(channels=32, channel_mult=(1, 2), num_res_blocks=1)
SMALL_IMAGE = AutoencoderConfig(channels=32, channel_mult=(1, 2), num_res_blocks=1, temporal_decoder=False)
FRAMES = 7
PLANS = [DecodePlan(*each) for each in product((1, 2, 3, 5, 8), (1, 2, 5), (False, True), (False, True))]


def make(config: AutoencoderConfig, dtype: torch.dtype = torch.float32) -> Autoencoder:
    torch.manual_seed(0)
    return randomised(Autoencoder(config)).to(dtype)


def latents(frames: int = FRAMES, height: int = 5, width: int = 3) -> Tensor:
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vae() -> Autoencoder:
    return make(SMALL)


@pytest.fixture(scope="module")
def whole(vae: Autoencoder) -> Tensor:
    return vae.decode(latents())


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_plan_gives_the_whole_clip(vae: Autoencoder, whole: Tensor, plan: DecodePlan) -> None:
    assert relative(vae.decode_planned(latents(), plan), whole) <= 5e-6
