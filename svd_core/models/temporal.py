"""The path over frames that UNet and decoder add to each spatial layer: a residual block, and the learned blend."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .kernels.group_norm import ReadParameters, normalise_silu, read_parameters
from .layers import Layers


class TemporalResBlock(nn.Module):
    """f of the temporal path s + f(s): norm, SiLU, conv over frames, twice. Its norms see the whole clip.

    The UNet's adds a time embedding in between, the decoder's has none (`emb_dim` 0).
    """

    def __init__(self, layers: Layers, channels: int, groups: int, eps: float, emb_dim: int = 0) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            layers.group_norm(groups, channels, eps), nn.SiLU(), layers.temporal_conv(channels, channels)
        )
        if emb_dim:
            self.emb_layers = nn.Sequential(nn.SiLU(), layers.linear(emb_dim, channels))
        # The third entry only holds the place of the dropout in the official names.
        self.out_layers = nn.Sequential(
            layers.group_norm(groups, channels, eps), nn.SiLU(), nn.Identity(), layers.temporal_conv(channels, channels)
        )

    def forward(self, x: Tensor, shift: Tensor | None = None, read: ReadParameters = read_parameters) -> Tensor:
        """x: b c t n; shift: what the embedding adds, b c t 1. Returns b c t n."""
        (norm1, conv1), (norm2, conv2) = self.norms_and_convs()
        h = conv1(normalise_silu(norm1, x, read))
        if shift is not None:
            h += shift
        h = normalise_silu(norm2, h, read)
        return conv2(h)

    def norms_and_convs(self) -> tuple[tuple[nn.GroupNorm, nn.Module], tuple[nn.GroupNorm, nn.Module]]:
        """Both halves in their parts, for those who bring the moments of a clip that they see in pieces."""
        norm1, _, conv1 = self.in_layers
        norm2, _, _, conv2 = self.out_layers
        return (cast(nn.GroupNorm, norm1), conv1), (cast(nn.GroupNorm, norm2), conv2)


def blend_weight(mix_factor: Tensor, like: Tensor) -> Tensor:
    """sigmoid(mix_factor) in fp32 on the device of `like`: 16 bits would already bend the weight."""
    return torch.sigmoid(mix_factor.to(device=like.device, dtype=torch.float32))


class AlphaBlender(nn.Module):
    """α · spatial + (1 - α) · temporal, α = sigmoid(mix_factor); the temporal path is dropped for single images."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def temporal_weight(self, like: Tensor, image_only: Tensor | None = None) -> Tensor:
        """1 - α in the dtype of `like`: one weight, or one for each of its rows, shaped to be multiplied with it.

        image_only: (b t), nonzero where a row of `like` is a lone image.
        """
        weight = blend_weight(-self.mix_factor, like)  # 1 - sigmoid(m) = sigmoid(-m)
        if image_only is not None:
            weight = torch.where(image_only.to(weight.device) != 0, torch.zeros_like(weight), weight)
            weight = weight.reshape(-1, *[1] * (like.ndim - 1))
        return weight.to(like.dtype)
