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

    def temporal_weight(self, like: Tensor, image_only: Tensor | None = None) -> Tensor:
        """1 - α, in the type of `like`: one weight, or one for each of its rows, shaped to be multiplied with it.

        image_only: (b t), nonzero where a row of `like` is a lone image.
        """
        weight = blend_weight(-self.mix_factor, like)  # 1 - sigmoid(m) = sigmoid(-m)
        if image_only is not None:
            weight = torch.where(image_only.to(weight.device) != 0, torch.zeros_like(weight), weight)
            weight = weight.reshape(-1, *[1] * (like.ndim - 1))
        return weight.to(like.dtype)
