"""TAESDV's decoder (github.com/madebyollin/taesdv): a rough picture of every frame for a thousandth of the real decode.

Its latents are those of the diffusion, scaled. Frames are coupled forwards only: each memory block sees what it was
given for the frame before.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SVDError

WIDTH = 64
PREFIX = "decoder."  # the published file holds the encoder too


class SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * torch.tanh(x / 3.0)


class MemoryBlock(nn.Module):
    """Three convolutions of a frame and its memory, added to the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(2 * WIDTH), nn.ReLU(), _conv(WIDTH), nn.ReLU(), _conv(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """x: t c h w, one clip. The first frame remembers nothing."""
        memory = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        return F.relu(self.conv(torch.cat([x, memory], dim=1)) + x)


class TinyVideoDecoder(nn.Sequential):
    """x0 of one clip, t 4 h w in diffusion space, to t 3 8h 8w in about [0, 1]; layers numbered as in the file."""

    def __init__(self) -> None:
        levels = [layer for _ in range(3) for layer in (*(MemoryBlock() for _ in range(3)), *_upsampling())]
        super().__init__(SoftClamp(), _conv(4), nn.ReLU(), *levels, MemoryBlock(), _conv(WIDTH, 3))


def load_tiny_decoder(tensors: Mapping[str, Tensor]) -> TinyVideoDecoder:
    """From the tensors of the published file. Raises SVDError for those of another network."""
    with torch.device("meta"):
        decoder = TinyVideoDecoder()
    own = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    shapes = {name: tensor.shape for name, tensor in decoder.state_dict().items()}
    if {name: tensor.shape for name, tensor in own.items()} != shapes:
        raise SVDError("This file is not TAESDV; take taesdv.pth of github.com/madebyollin/taesdv.")
    decoder.load_state_dict(own, assign=True)
    return decoder.eval().requires_grad_(False)


def _conv(c_in: int, c_out: int = WIDTH, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)


def _upsampling() -> tuple[nn.Module, nn.Module]:
    return nn.Upsample(scale_factor=2), _conv(WIDTH, bias=False)
