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
        alpha = blend_weight(self.mix_factor, spatial)
        if image_only is not None:
            alpha = torch.where(image_only.to(alpha.device) != 0, torch.ones_like(alpha), alpha)
            alpha = alpha.reshape(-1, *[1] * (spatial.ndim - 1))
        return spatial + (1.0 - alpha).to(spatial.dtype) * (temporal - spatial)
