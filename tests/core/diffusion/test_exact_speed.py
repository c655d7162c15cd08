"""Identities that save time: each against the plain way of computing the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svd_core.models import attention
from svd_core.models.attention import CrossAttention, FeedForward
from svd_core.models.layers import WORTH_FOUR_PHASES, Layers, convolve_doubled
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.unet.evaluation import Constants
from svd_core.models.unet.transformer import SpatialVideoTransformer
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import SMALL_UNET, randomised, relative, unet_inputs


def plain_doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (8, 4)])
def test_four_phases_are_the_convolution_of_the_doubled_picture(height: int, width: int) -> None:
    x, weight, bias = (torch.randn(*shape).double() for shape in ((2, 6, height, width), (4, 6, 3, 3), (4,)))
    assert relative(convolve_doubled(x, weight, bias), plain_doubled(x, weight, bias)) < 1e-14


@pytest.mark.parametrize("side", [4, 16])
def test_doubling_conv_is_the_same_above_and_below_what_pays(side: int) -> None:
    conv = Layers().doubling_conv(6, 6)
    x = torch.randn(2, 6, side, side)
    assert (x[:, 0].numel() >= WORTH_FOUR_PHASES) == (side == 16)
    with torch.no_grad():
        assert relative(conv(x[None])[0], plain_doubled(x, conv.weight, conv.bias)) < 1e-6
        assert relative(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1)) < 1e-6


def plain_feed_forward(module: FeedForward, x: Tensor) -> Tensor:
    value, gate = module.net[0].proj(x).chunk(2, dim=-1)
    return module.net[2](value * F.gelu(gate))


def test_feed_forward_in_place_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    module, norm, x = FeedForward(Layers(), 8), nn.LayerNorm(8), torch.randn(3, 50, 8)
    sizes: list[int] = []
    module.net[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    with torch.no_grad():
        plain = x + plain_feed_forward(module, norm(x))
        assert relative(module.add_to(x.clone(), norm), plain) < 1e-6
        monkeypatch.setattr(attention, "CPU_FEED_FORWARD_BYTES", 40 * 8 * 8 * 4)  # of 40 tokens
        in_place = x.clone()
        assert module.add_to(in_place, norm).data_ptr() == in_place.data_ptr()
        assert relative(in_place, plain) < 1e-6
        assert relative(module.add_to(x.clone(), norm, 100), plain) < 1e-6
        assert relative(module.add_to(x.clone(), norm, 30), plain) < 1e-6
    assert sizes == [150, 38, 38, 38, 36, 38, 38, 38, 36, 30, 30, 30, 30, 30], "as the caches or the caller have it"


def test_what_stays_through_a_run_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And serves pieces of the clip, too."""
    torch.manual_seed(0)
    unet = randomised(VideoUNet(SMALL_UNET, Layers(dtype=torch.float64)))
    kept = {1: Constants(), 2: Constants()}  # for one clip, and for two
    calls = Counter[str]()
    for name in ("frame_positions", "of_one_token"):
        for owner in (SpatialVideoTransformer, CrossAttention):
            if method := getattr(owner, name, None):
                monkeypatch.setattr(owner, name, counted(calls, name, method))

    def evaluate(sigma: float, clips: int, constants: Constants | None, pieces: Pieces = ALL) -> Tensor:
        inputs = unet_inputs(clips)
        inputs["c_noise"] += sigma
        return unet(**inputs, num_frames=3, constants=constants, pieces=pieces)

    transformers = sum(isinstance(layer, SpatialVideoTransformer) for layer in unet.modules())
    with torch.no_grad():
        plain = [evaluate(sigma, clips, None) for sigma in (0.0, 1.0) for clips in (1, 2)]
        assert calls["frame_positions"] == 4 * transformers
        calls.clear()
        for index, (sigma, clips) in enumerate(product((0.0, 1.0), (1, 2))):
            assert torch.equal(evaluate(sigma, clips, kept[clips]), plain[index])
        assert calls == {"frame_positions": 2 * transformers, "of_one_token": 2 * 2 * transformers}
        in_pieces = evaluate(1.0, 1, kept[1], Pieces(2, 5, 17))
        assert relative(in_pieces, plain[2]) < 1e-12 and calls["of_one_token"] == 2 * 2 * transformers


def counted(calls: Counter[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        calls[name] += 1
        return method(*arguments)

    return call


def test_gradients_go_through_the_same_layers() -> None:
    module, conv = FeedForward(Layers(), 8), Layers().doubling_conv(8, 8)
    x = torch.randn(2, 8, 16, 16, requires_grad=True)

    def through(feed_forward: nn.Module | None) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        h = (
            tokens + plain_feed_forward(module, tokens)
            if feed_forward is None
            else module.add_to(tokens, nn.Identity())
        )
        h = h.transpose(1, 2).reshape(x.shape)
        h = plain_doubled(h, conv.weight, conv.bias) if feed_forward is None else conv(h[None])[0]
        return torch.autograd.grad(h.square().sum(), x)[0]

    assert relative(through(module), through(None)) < 1e-5
