"""The path over frames that UNet and decoder add to each spatial layer: a residual block, and the learned blend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .kernels.group_norm import ClipNorm, ReadParameters, read_parameters
from .layers import Layers
from .pieces import collect, update


class TemporalResBlock(nn.Module):
    """The temporal path s + w f(s); f is norm, SiLU, conv over frames, twice. Its norms see the whole clip.

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

    def forward(
        self,
        s: Tensor,
        weight: Tensor,
        shift: Tensor | None = None,
        norm: ClipNorm | None = None,
        pixels: Sequence[slice] = (slice(None),),
        read: ReadParameters = read_parameters,
    ) -> Tensor:
        """s + weight · f(s), a few pixels at a time; several pieces overwrite s.

        s: b c t n. weight, shift (what the embedding adds): broadcast to it. norm: the first norm, to which s has been
        shown if `pixels` are several pieces; see `first_norm`. read: reads the weights of norms.
        """
        (_, conv1), (norm2, conv2) = self.norms_and_convs()
        norm1, norm2 = norm or self.first_norm(read=read), ClipNorm(norm2, len(pixels) > 1, read)

        def convolve(some: slice) -> Tensor:
            h = conv1(norm1(s[..., some]))
            if shift is not None:
                h += shift
            return norm2.watch(h)

        hidden = collect(pixels, convolve, dim=-1)

        def add(s: Tensor, some: slice) -> Tensor:
            return torch.addcmul(s, weight, conv2(norm2(hidden[..., some])))

        return update(s, pixels, add, dim=-1)

    def first_norm(self, in_pieces: bool = False, read: ReadParameters = read_parameters) -> ClipNorm:
        """The norm that must have seen all of a clip before `forward` begins."""
        (norm, _), _ = self.norms_and_convs()
        return ClipNorm(norm, in_pieces, read)

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

    def temporal_weight(self, like: Tensor, num_frames: int, image_only: Tensor | None = None) -> Tensor:
        """1 - α in the dtype of `like`: of every frame, b t, or 1 1 where all share it.

        image_only: (b t), nonzero for frames that are lone images.
        """
        weight = blend_weight(-self.mix_factor, like)[None]  # 1 - sigmoid(m) = sigmoid(-m)
        if image_only is not None:
            images = image_only.to(weight.device).unflatten(0, (-1, num_frames)) != 0  # b t
            weight = torch.where(images, torch.zeros_like(weight), weight)
        return weight.to(like.dtype)
