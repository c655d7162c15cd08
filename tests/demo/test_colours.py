"""The colours that previews guess of the bundled model's latents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO, DEMO_CHECKPOINT
from svd_core.images.preview import guess_colours
from training.colours import latents_and_colours

OF_STABLE_DIFFUSION = (  # as ComfyUI has them
    (0.3512, 0.2297, 0.3227), (0.3250, 0.4974, 0.2350), (-0.2829, 0.1762, 0.2721), (-0.2120, -0.2616, -0.7177)
)  # fmt: skip


@pytest.fixture(scope="module")
def cells() -> tuple[Tensor, Tensor]:
    """Latents, n 4, and colours in [-1, 1], n 3, of pictures that the factors were not fitted to."""
    return latents_and_colours(SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu").vae, seed=1, count=96)


def test_factors_are_those_of_its_own_latents(cells: tuple[Tensor, Tensor]) -> None:
    """The rest of the colours is not in the cell: this encoder keeps them in the mean of the whole picture."""
    assert DEMO.colours is not None
    assert explained(cells, DEMO.colours.factors, DEMO.colours.bias) > 0.35
    assert explained(cells, OF_STABLE_DIFFUSION) < 0


def explained(
    cells: tuple[Tensor, Tensor], factors: tuple[tuple[float, ...], ...], bias: tuple[float, ...] | None = None
) -> float:
    """Share of the colours' variance."""
    latents, colours = cells
    guess = 2.0 * guess_colours(latents[:, :, None, None], factors, bias)[:, 0, 0] - 1.0
    return 1.0 - float((guess - colours).square().mean() / torch.var(colours, dim=0).mean())
