"""Layers that keep their matrices in another type than they compute in: a namespace of operations, like `torch.nn`.

Eight bits halve what fp16 weights take. Each matrix is widened when its layer runs, and only then.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn

GroupNorm = nn.GroupNorm
LayerNorm = nn.LayerNorm
Embedding = nn.Embedding


class Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype), self.bias)


class Conv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), self.bias)


class Conv3d(nn.Conv3d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), self.bias)
