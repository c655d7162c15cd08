"""Convolutions in the Winograd domain against the sums over their taps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from svd_core.memory.rehearsal import peak_bytes
from svd_core.models.kernels import winograd
from svd_core.models.kernels.memory_format import WIDE
from svd_core.models.kernels.winograd import DOUBLED, PLAIN, WORKSPACE_BYTES, Transform, convolve, pays
from svd_core.models.layers import Layers
from tests.core.models.test_networks import relative

TRANSFORMS = pytest.mark.parametrize("transform", [PLAIN, DOUBLED], ids=["plain", "doubled"])


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def over_taps(x: Tensor, weight: Tensor, bias: Tensor | None, transform: Transform) -> Tensor:
    pictures = F.interpolate(x, scale_factor=2.0, mode="nearest") if transform is DOUBLED else x
    return F.conv2d(pictures, weight, bias, padding=1)


@TRANSFORMS
@pytest.mark.parametrize("workspace", [1, 6000, WORKSPACE_BYTES], ids=["a row", "some rows or pictures", "all"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 10), (14, 6)])
def test_it_is_the_same_convolution(
    height: int, width: int, workspace: int, transform: Transform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp64 to its last digits, so that it is an identity; in pieces of any size."""
    monkeypatch.setattr(winograd, "WORKSPACE_BYTES", workspace)
    monkeypatch.setattr(winograd, "MOST_OUTPUTS", 32)
    x, weight, bias = drawn((5, 3, height, width), (70, 3, 3, 3), (70,))
    assert relative(convolve(x, weight, bias, transform), over_taps(x, weight, bias, transform)) < 1e-14
    assert relative(convolve(x, weight, None, transform), over_taps(x, weight, None, transform)) < 1e-14


@TRANSFORMS
def test_its_rounding_is_near_that_of_the_sum_over_taps(transform: Transform) -> None:
    """Against fp64, on inputs with a large mean, as activations behind SiLU have it."""
    x, weight, bias = drawn((2, 320, 16, 16), (64, 320, 3, 3), (64,))
    x += 3.0
    exact = over_taps(x, weight, bias, transform)
    single = [each.float() for each in (x, weight, bias)]
    plain = relative(over_taps(*single, transform).double(), exact)
    assert relative(convolve(*single, transform).double(), exact) < 3 * plain


@TRANSFORMS
def test_its_memory_is_its_result_and_a_workspace(transform: Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "WORKSPACE_BYTES", 1 << 20)
    x, weight = drawn((4, 16, 64, 64), (16, 16, 3, 3), dtype=torch.float32)
    result = convolve(x, weight, None, transform)
    peak = peak_bytes(lambda: convolve(x, weight, None, transform))
    assert peak < 4 * result.numel() + 2 * (1 << 20)


@TRANSFORMS
def test_of_few_tiles_it_never_has_all_weights(transform: Transform) -> None:
    """16/9 of those of 320 outputs at a time, as where they have several hundred times as many numbers as the tiles."""
    x, weight = drawn((1, 1280, 4, 4), (1280, 1280, 3, 3), dtype=torch.float32)
    peak = peak_bytes(lambda: convolve(x, weight, None, transform))
    assert peak < 4 * (len(transform.g) ** 2 * 1280 * 320) + (4 << 20)


def test_what_it_takes() -> None:
    x, weight = torch.ones(5, WIDE, 16, 16), torch.ones(WIDE, WIDE, 3, 3)
    with torch.no_grad():
        assert pays(x, weight, PLAIN) and 4 * 8 * 8 * WIDE < PLAIN.fewest <= 5 * 8 * 8 * WIDE
        assert not pays(x[:4], weight, PLAIN), "too few tiles"
        assert not pays(x[:, 1:], weight[:, 1:], PLAIN), "too few channels"
        assert not pays(x[..., 1:], weight, PLAIN), "a row of pixels and a half"
        assert pays(x[..., 1:], weight, DOUBLED)
        assert not pays(x.double(), weight.double(), PLAIN) and not pays(x.bfloat16(), weight.bfloat16(), PLAIN)
        assert not pays(x.to("meta"), weight.to("meta"), PLAIN), "of which a CPU has nothing"
    assert not pays(x, weight, PLAIN), "gradients go through the sum over taps"


def test_the_layers_use_it_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Transform] = []

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None, transform: Transform) -> Tensor:
        used.append(transform)
        return convolve(x, weight, bias, transform)

    conv, doubling = Layers().conv(128, 128), Layers().doubling_conv(128, 128)
    x = torch.randn(1, 128, 32, 48)
    with torch.no_grad():
        plain = [F.conv2d(x, conv.weight, conv.bias, padding=1), over_taps(x, doubling.weight, doubling.bias, DOUBLED)]
        monkeypatch.setattr(winograd, "convolve", watched)
        assert relative(conv(x), plain[0]) < 1e-6 and relative(doubling(x[None])[0], plain[1]) < 1e-6
        assert used == [PLAIN, DOUBLED]
        conv(x[..., :3, :3]), doubling(x[None, ..., :3, :3]), Layers().conv(128, 128, stride=2)(x)
    assert used == [PLAIN, DOUBLED]
