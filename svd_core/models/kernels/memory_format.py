"""How activations lie in memory, and views of them, for layers that run thousands of times a clip.

With few channels a CPU's convolutions are sooner done where all channels of a pixel lie side by side: that is how they
are computed, and anything else is reordered on the way in and again on the way out. With many they go through the
Winograd domain, which takes pictures channel by channel. UNet and decoder gain; the encoder's single picture does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .winograd import FEWEST_CHANNELS


def best_format(like: Tensor, channels: int) -> torch.memory_format:
    """For the pictures, b c h w, in a network whose finest level has so many channels; a compiler has its own mind."""
    fp32_on_cpu = like.device.type == "cpu" and like.dtype == torch.float32
    side_by_side = fp32_on_cpu and is_narrow(channels) and not torch.compiler.is_compiling()
    return torch.channels_last if side_by_side else torch.contiguous_format


def laid_out(x: Tensor, channels: int) -> Tensor:
    """Pictures on their way into such a network, b c h w; as they are where it does not mind."""
    side_by_side = best_format(x, channels) == torch.channels_last
    return x.contiguous(memory_format=torch.channels_last) if side_by_side else x


def is_narrow(channels: int) -> bool:
    """Of a network whose finest level has so many."""
    return channels < FEWEST_CHANNELS


def format_of(x: Tensor) -> torch.memory_format:
    """x: b c h w."""
    return torch.channels_last if lies_side_by_side(x) else torch.contiguous_format


def lies_side_by_side(x: Tensor) -> bool:
    """Whether the channels of x, b c h w, do, on a CPU; those of a lone pixel, or a lone channel, lie both ways."""
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
