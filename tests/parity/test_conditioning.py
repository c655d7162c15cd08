"""The conditioning vector against diffusers' own embedding, given what its pipeline gives it."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.embeddings import Timesteps

from svd_core.diffusion.conditioning import MicroConditioning, vector


@pytest.mark.parametrize("fps, motion, strength", [(7, 127, 0.02), (1, 0, 0.0), (25, 255, 1.0), (30, 1023, 0.3)])
def test_conditioning_vector(fps: int, motion: int, strength: float):
    embed = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
    added_time_ids = torch.tensor([fps - 1, motion, strength])  # the pipeline lowers the rate by one
    torch.testing.assert_close(
        vector(MicroConditioning(fps, motion, strength)), embed(added_time_ids).flatten(), rtol=0, atol=1e-6
    )
