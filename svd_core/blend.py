"""The learned blend of a spatial and a temporal path."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def blend_weight(mix_factor: Tensor, like: Tensor) -> Tensor:
    """sigmoid(mix_factor) in fp32 on the device of `like`: 16 bits would already bend the weight."""
    return torch.sigmoid(mix_factor.to(device=like.device, dtype=torch.float32))


class AlphaBlender(nn.Module):
    """α · spatial + (1 - α) · temporal, α = sigmoid(mix_factor); the temporal path is dropped for single images."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, spatial: Tensor, temporal: Tensor, image_only: Tensor | None = None) -> Tensor:
        """spatial, temporal: (b t) ...; image_only: (b t), nonzero where a frame is a lone image."""
        return torch.lerp(spatial, temporal, self.temporal_weight(spatial, image_only))

    def temporal_weight(self, like: Tensor, image_only: Tensor | None = None) -> Tensor:
        """1 - α, in the type of `like`: one weight, or one for each of its rows, shaped to be multiplied with it."""
        alpha = blend_weight(self.mix_factor, like)
        if image_only is not None:
            alpha = torch.where(image_only.to(alpha.device) != 0, torch.ones_like(alpha), alpha)
            alpha = alpha.reshape(-1, *[1] * (like.ndim - 1))
        return (1.0 - alpha).to(like.dtype)
