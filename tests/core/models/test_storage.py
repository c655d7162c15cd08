"""Weights in eight bits: half the memory of fp16, a rounding that is known, and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from svd_core import SVDPipeline
from svd_core.models.kernels.fp8 import FP8
from tests.support.random_checkpoint import tiny_config, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("storage") / "tiny.safetensors", tiny_config())


def load(checkpoint: Path, weight_dtype: torch.dtype | None = None) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=torch.float32, weight_dtype=weight_dtype)


def answer(pipe: SVDPipeline) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context, y = (torch.randn(shape, generator=generator) for shape in ((4, 8, 8, 8), (4, 1, 32), (4, 768)))
    with torch.inference_mode():
        return pipe.unet(x, torch.full((4,), 0.5), context, y, 4)


def test_matrices_alone_are_stored_in_eight_bits(checkpoint: Path) -> None:
    pipe = load(checkpoint, FP8)
    for name, parameter in pipe.unet.named_parameters():
        assert parameter.dtype == (FP8 if parameter.ndim > 1 else torch.float32), name
    assert {p.dtype for p in (*pipe.vae.parameters(), *pipe.image_encoder.parameters())} == {torch.float32}


def test_the_result_is_that_of_the_rounded_weights(checkpoint: Path) -> None:
    """Storing is all that is done in eight bits: the products are those of the pipeline's own type."""
    exact, rounded = load(checkpoint), load(checkpoint, FP8)
    stored = answer(rounded)
    error = torch.linalg.vector_norm(stored - answer(exact)) / torch.linalg.vector_norm(stored)
    assert 0.005 < float(error) < 0.2
    with torch.no_grad():
        for parameter in exact.unet.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.to(FP8))
    assert torch.equal(answer(exact), stored)
