"""Residual blocks of the UNet, in space and over frames, and its changes of resolution."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..kernels.group_norm import normalise_silu
from ..kernels.memory_format import clips_of_frames, frames_of_clips
from ..layers import Layers
from ..pieces import Pieces, collect, cut, share, update
from ..temporal import AlphaBlender, TemporalResBlock
from .evaluation import BlockInput, Evaluation
from .hooks import UNetHooks


class ResBlock(nn.Module):
    """norm, SiLU, conv; add the time embedding; norm, SiLU, conv; add the input.

    The sequences are there for the official names. The SiLU of `emb_layers` is the same for all blocks, so the network
    takes it once.
    """

    def __init__(self, layers: Layers, c_in: int, c_out: int, emb_dim: int, groups: int, eps: float) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(layers.group_norm(groups, c_in, eps), nn.SiLU(), layers.conv(c_in, c_out))
        self.emb_layers = nn.Sequential(nn.SiLU(), layers.linear(emb_dim, c_out))
        self.out_layers = nn.Sequential(
            layers.group_norm(groups, c_out, eps), nn.SiLU(), nn.Identity(), layers.conv(c_out, c_out)
        )
        self.skip_connection = nn.Identity() if c_in == c_out else layers.conv(c_in, c_out, kernel=1)

    def spatial(self, x: Tensor, emb: Tensor, hooks: UNetHooks) -> Tensor:
        """The half within each frame. x: bt c h w; emb: bt d or 1 d, the SiLU of the embedding."""
        norm1, _, conv1 = self.in_layers
        _, project = self.emb_layers
        norm2, _, _, conv2 = self.out_layers
        h = conv1(normalise_silu(norm1, x, hooks.norm_parameters))
        h += project(emb)[:, :, None, None]
        h = normalise_silu(norm2, h, hooks.norm_parameters)
        h = conv2(h)
        h += self.skip_connection(x)
        return h


class VideoResBlock(ResBlock):
    """A residual block in space followed by one over frames, blended by a learned weight."""

    def __init__(self, layers: Layers, c_in: int, c_out: int, emb_dim: int, groups: int, eps: float) -> None:
        super().__init__(layers, c_in, c_out, emb_dim, groups, eps)
        self.channels = c_out
        self.time_stack = TemporalResBlock(layers, c_out, groups, eps, emb_dim)
        self.time_mixer = AlphaBlender()

    def forward(self, x: BlockInput, call: Evaluation, pieces: Pieces) -> Tensor:
        """x: (b t) c h w, released once read. Returns (b t) c h w.

        In three sweeps: its spatial half over frames, each temporal convolution over pixels. Both temporal norms need
        their moments before they can begin, so these add up during the sweep before.
        """
        height, width = x.size
        pixels = cut(height * width, pieces.pixels)
        norm = self.time_stack.first_norm(len(pixels) > 1, call.hooks.norm_parameters)

        def run_spatial(rows: slice) -> Tensor:
            return norm.watch(self.spatial(x.read(rows), share(call.emb, rows), call.hooks))

        frames = collect(cut(len(x), pieces.frames), run_spatial)
        x.release()
        shift, weight = self._temporal_shift(call), self._temporal_weight(frames, call)

        def run_temporal(clips: Tensor, which: slice) -> Tensor:
            own = norm.take(which, call.num_frames)
            some = share(weight, which), share(shift, which)
            return self.time_stack(clips, *some, own, pixels, call.hooks.norm_parameters)

        clips = clips_of_frames(frames, call.num_frames)
        clips = update(clips, pieces.of_clips(len(clips)), run_temporal)
        return frames_of_clips(clips, height, width)

    def _temporal_shift(self, call: Evaluation) -> Tensor:
        """The embedding's addition between the temporal convolutions, b c t 1; 1 c 1 1 where all frames share one."""
        _, project = self.time_stack.emb_layers
        num_frames = call.num_frames if len(call.emb) > 1 else 1
        return rearrange(project(call.emb), "(b t) c -> b c t 1", t=num_frames)

    def _temporal_weight(self, frames: Tensor, call: Evaluation) -> Tensor:
        """1 - α of α s + (1 - α) (s + f(s)) = s + (1 - α) f(s); b 1 t 1, or 1 1 1 1 where all frames share one."""

        def make() -> Tensor:
            return self.time_mixer.temporal_weight(frames, call.num_frames, call.image_only)[:, None, :, None]

        return call.once(self.time_mixer, make)


class Downsample(nn.Module):
    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.op = layers.conv(channels, channels, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # bt c ⌈h/2⌉ ⌈w/2⌉


class Upsample(nn.Module):
    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.conv = layers.doubling_conv(channels, channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """size: of the skip connection to come: twice x, or one less where an odd size was halved."""
        if tuple(size) == (2 * x.shape[2], 2 * x.shape[3]):
            return self.conv(x[None])[0]
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
