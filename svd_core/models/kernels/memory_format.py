"""Memory format of activations, and views of them, for layers that run thousands of times a clip.

In a narrow network a CPU's convolutions are faster where all channels of a pixel lie side by side: they are computed
that way, and any other format is reordered on the way in and again on the way out. In a wide one they are faster on
pictures that lie channel by channel. UNet and decoder gain from this; the encoder's single picture does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDE = 128  # channels at the finest level from which a network is wide


def best_format(like: Tensor, channels: int) -> torch.memory_format:
    """Memory format of pictures, b c h w, in a network with `channels` at its finest level.

    Contiguous under torch.compile, which chooses formats itself.
    """
    fp32_on_cpu = like.device.type == "cpu" and like.dtype == torch.float32
    side_by_side = fp32_on_cpu and channels < WIDE and not torch.compiler.is_compiling()
    return torch.channels_last if side_by_side else torch.contiguous_format


def laid_out(x: Tensor, channels: int) -> Tensor:
    """Pictures, b c h w, in the best format for a network; unchanged if the format makes no difference."""
    side_by_side = best_format(x, channels) == torch.channels_last
    return x.contiguous(memory_format=torch.channels_last) if side_by_side else x


def format_of(x: Tensor) -> torch.memory_format:
    """x: b c h w."""
    return torch.channels_last if lies_side_by_side(x) else torch.contiguous_format


def lies_side_by_side(x: Tensor) -> bool:
    """True if the channels of each pixel of x, b c h w, are neighbours, on a CPU.

    A lone pixel or a lone channel lies both ways, and counts as contiguous.
    """
    _, channels, height, width = x.shape
    return x.stride(1) == 1 and channels > 1 and height * width > 1 and x.is_cpu


def clips_of_frames(x: Tensor, num_frames: int) -> Tensor:
    """(b t) c h w → b c t (h w), a view in either layout if there is more than one pixel.

    Its strides are those of the same layout, of a single clip too: einops would choose others for that one.
    """
    rows, channels, height, width = x.shape
    clips = x.reshape(rows // num_frames, num_frames, channels, height * width).transpose(1, 2)
    return clips.contiguous() if height * width == 1 else clips  # a lone pixel has both layouts, its clip but one


def frames_of_clips(x: Tensor, height: int, width: int) -> Tensor:
    """b c t (h w) → (b t) c h w. A compiler could not see that a quotient of sizes is the width, so both are given."""
    return x.transpose(1, 2).flatten(0, 1).unflatten(2, (height, width))


def tokens_of_frames(x: Tensor) -> Tensor:
    """bt c h w → bt (h w) c, a view."""
    return x.flatten(2).transpose(1, 2)


def frames_of_tokens(tokens: Tensor, height: int, width: int) -> Tensor:
    """bt (h w) c → bt c h w, a view."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))
