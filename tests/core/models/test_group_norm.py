"""Group norm in either memory format, and from the moments of pieces, against PyTorch's in fp64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from svd_core.models.kernels.group_norm import LARGE, Moments, measure, merge, normalise, normalise_silu, scale_shift
from svd_core.models.kernels.memory_format import lies_side_by_side
from tests.core.models.test_networks import randomised, relative

FORMATS = [torch.contiguous_format, torch.channels_last]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def stacked(moments: list[Moments]) -> tuple[Tensor, Tensor]:
    """Mean and variance, n groups each."""
    return torch.stack([row.mean for row in moments]), torch.stack([row.variance for row in moments])


def exact_moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Of every row of x, n c h w, in fp64."""
    rows = rearrange(x.double(), "n (g c) h w -> n g (c h w)", g=groups)
    variance, mean = torch.var_mean(rows, -1, correction=0)
    return mean, variance


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_moments_of_every_row(memory_format: torch.memory_format, dtype: torch.dtype) -> None:
    frames = draw(6, 8, 3, 5).to(dtype).contiguous(memory_format=memory_format)
    for some in (frames, frames[2:3], frames[:, :, 1:3], frames[1:2, :, 1:2]):
        measured, exact = stacked(measure(some, 4)), exact_moments(some, 4)
        assert measured[0].dtype == torch.float32
        for ours, wanted in zip(measured, exact, strict=True):
            assert relative(ours, wanted) < 1e-5


def test_moments_where_there_is_no_kernel_of_the_cpu() -> None:
    """The other branch, as a GPU runs it."""
    frames = draw(6, 8, 3, 5)
    on_meta = measure(frames.to("meta"), 4)
    assert [(row.size, row.mean.shape, row.mean.device.type) for row in on_meta] == [(30, (4,), "meta")] * 6
    assert scale_shift(nn.GroupNorm(4, 8, device="meta"), on_meta, frames.to("meta")).scale.device.type == "meta"


@pytest.mark.parametrize("side", [1, 4, 40])
@pytest.mark.parametrize("clips", [1, 3])
def test_norms_of_channels_side_by_side_keep_the_digits_of_large_means(side: int, clips: int) -> None:
    """PyTorch's own, which takes the mean of squares, is off by 1e-4 to 1e-3 here; a rounding of 100 is 4e-6."""
    assert (side * side >= LARGE) == (side == 40)
    drawn = draw(clips, 64, side, side)
    x = torch.empty(drawn.shape, memory_format=torch.channels_last).copy_(100 + drawn)
    torch.manual_seed(0)
    norm = randomised(nn.GroupNorm(4, 64))
    exact = F.group_norm(x.double(), norm.num_groups, norm.weight.double(), norm.bias.double())
    with torch.no_grad():
        assert relative(normalise(norm, x).double(), exact) < 1e-5
        assert relative(normalise_silu(norm, x).double(), F.silu(exact)) < 1e-5
        assert lies_side_by_side(normalise_silu(norm, x)) == (side > 1)
        mean, variance = stacked(measure(x, 4))
    exact_mean, exact_variance = exact_moments(x, 4)
    assert relative(mean.double(), exact_mean) < 1e-6
    assert relative(variance.double(), exact_variance) < 1e-4


@torch.no_grad()
def test_parameters_are_read_where_the_norm_is_computed_outside_its_module() -> None:
    x, norm = draw(2, 64, 40, 40).contiguous(memory_format=torch.channels_last), nn.GroupNorm(4, 64)
    patched = normalise_silu(norm, x, lambda norm, like: (3.0 * norm.weight, norm.bias + 1.0))
    assert relative(patched, F.silu(3.0 * norm(x) + 1.0)) < 1e-5


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_moments_of_unequal_pieces_are_those_of_the_whole(mean: float) -> None:
    """Where the mean is large, sums of squares in fp32 would leave no digit of the variance."""
    x = (mean + draw(6, 50)).double()
    pieces = [moments for some in x.float().split([1, 30, 19], dim=1) for moments in measure(some[None], 2)]
    variance, expected = torch.var_mean(x.reshape(2, -1), dim=1, correction=0)
    merged = merge(pieces)
    assert merged.size == x.numel() // 2
    torch.testing.assert_close(merged.mean, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(merged.variance, variance, rtol=1e-4, atol=0)


@torch.no_grad()
def test_norm_with_known_moments_is_the_group_norm() -> None:
    norm, x = randomised(nn.GroupNorm(2, 6)), draw(1, 6, 4, 9)  # b c t n
    found = scale_shift(norm, measure(x, 2), x).silu(x)
    assert relative(found, F.silu(norm(x))) < 1e-6
