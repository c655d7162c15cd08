"""Narrow networks hold the channels of a pixel side by side on a CPU; what they compute does not depend on it."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.models.autoencoder import Autoencoder, decoder
from svd_core.models.kernels import memory_format
from svd_core.models.kernels.memory_format import (
    WIDE,
    clips_of_frames,
    frames_of_clips,
    frames_of_tokens,
    lies_side_by_side,
    tokens_of_frames,
)
from svd_core.models.layers import Layers, convolve_window
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import SMALL_UNET, SMALL_VAE, randomised, relative, unet_inputs

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize(("clips", "frames", "memory_format"), list(product((1, 2), (1, 3), FORMATS)), ids=str)
def test_views(clips: int, frames: int, memory_format: torch.memory_format) -> None:
    x = torch.randn(clips * frames, 5, 4, 6).contiguous(memory_format=memory_format)
    together = clips_of_frames(x, frames)
    assert torch.equal(together, rearrange(x, "(b t) c h w -> b c t (h w)", t=frames))
    assert torch.equal(frames_of_clips(together, *x.shape[2:]), x)
    assert torch.equal(tokens_of_frames(x), rearrange(x, "b c h w -> b (h w) c"))
    assert torch.equal(frames_of_tokens(tokens_of_frames(x), *x.shape[2:]), x)
    assert all(view.data_ptr() == x.data_ptr() for view in (together, frames_of_clips(together, *x.shape[2:])))
    if frames > 1:
        assert lies_side_by_side(nn.GroupNorm(5, 5)(together)) == (memory_format == torch.channels_last)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_windows_in_either_layout(memory_format: torch.memory_format) -> None:
    frames = torch.randn(6, 8, 3, 5).contiguous(memory_format=memory_format)
    weight, bias = torch.randn(4, 8, 3), torch.randn(4)
    expected = F.conv2d(rearrange(frames, "t c h w -> 1 c t (h w)"), weight[..., None], bias)
    assert relative(convolve_window(frames.flatten(2), weight, bias), expected[0].transpose(0, 1)) < 1e-6


def layouts(network: nn.Module) -> list[bool]:
    """Whether the channels lie side by side in what each convolution gives; filled as the network runs."""
    seen: list[bool] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, y: seen.append(lies_side_by_side(y.flatten(0, -4))))
    return seen


def networks(dtype: torch.dtype) -> tuple[VideoUNet, Autoencoder]:
    torch.manual_seed(0)
    layers = Layers(dtype=dtype)
    return randomised(VideoUNet(SMALL_UNET, layers)), randomised(Autoencoder(SMALL_VAE, layers))


def latents(dtype: torch.dtype) -> Tensor:
    return torch.randn(3, 4, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def clip(dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: x.to(dtype) for name, x in unet_inputs().items()}


@torch.no_grad()
def test_narrow_networks_keep_their_channels_side_by_side() -> None:
    network, vae = networks(torch.float32)
    of_unet, of_vae = layouts(network), layouts(vae)
    network(**clip(torch.float32), num_frames=3)
    for plan in (DecodePlan(3), DecodePlan(2)):
        decode_clip(vae, latents(torch.float32), plan)
    assert len(of_unet) > 20
    assert all(of_unet)
    assert len(of_vae) > 20
    assert all(of_vae)


def test_wide_networks_and_gpus_have_their_pictures_channel_by_channel() -> None:
    assert memory_format.best_format(torch.empty(0), WIDE) == torch.contiguous_format
    assert memory_format.best_format(torch.empty(0, device="meta"), 16) == torch.contiguous_format
    assert memory_format.best_format(torch.empty(0).half(), 16) == torch.contiguous_format
    assert memory_format.best_format(torch.empty(0), 16) == torch.channels_last


def results() -> list[Tensor]:
    network, vae = networks(torch.float64)
    z = latents(torch.float64)
    plans = [DecodePlan(3), DecodePlan(1), DecodePlan(2, 2, True), DecodePlan(2, 1, False, True)]
    decoded = [vae.decode(z), *(decode_clip(vae, z, plan) for plan in plans)]
    return [network(**clip(torch.float64), num_frames=3), *decoded]


@torch.no_grad()
def test_the_layout_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def results_in(wanted: torch.memory_format) -> list[Tensor]:
        for module in (memory_format, decoder):
            monkeypatch.setattr(module, "best_format", lambda *_: wanted)
        return results()

    for ours, plain in zip(*map(results_in, FORMATS), strict=True):
        assert relative(ours, plain) < 1e-12
