"""The residual block, in three sweeps over the clip.

Its spatial half runs a few frames at a time; each of its temporal convolutions a few pixels at a time, all frames of
them. Both temporal norms need their moments before they can begin, so these add up during the sweep before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..kernels.group_norm import Moments, ScaleShift, measure, scale_shift
from ..temporal import TemporalResBlock
from ..unet.hooks import UNetHooks
from ..unet.resnet import VideoResBlock
from .conditions import Conditions
from .size import Split, pieces
from .source import Source


def run_resnet(block: VideoResBlock, source: Source, conditions: Conditions, split: Split) -> Tensor:
    """`block` of what the source gives. Returns (b t) c h w."""
    emb, num_frames = conditions.emb, conditions.num_frames
    frames, moments = _spatial_half(block, source, conditions, split.frames)
    source.release()
    shift = block.temporal_shift(emb, num_frames)
    weight = block.time_mixer.temporal_weight(frames, conditions.image_only)
    weight = weight.expand(len(frames), 1, 1, 1).flatten(2)  # (b t) 1 1
    for index, clip in enumerate(frames.flatten(2).split(num_frames)):  # t c n
        rows = slice(index * num_frames, (index + 1) * num_frames)
        half = _TemporalHalf(block.time_stack, shift[index], weight[rows], conditions.hooks, split.pixels)
        half.add_to(clip, moments[rows])
    return frames


def _spatial_half(
    block: VideoResBlock, source: Source, conditions: Conditions, frames_at_once: int
) -> tuple[Tensor, list[Moments]]:
    """The spatial half of every frame, and each frame's moments for the first temporal norm."""
    (norm, _), _ = block.time_stack.norms_and_convs()
    moments: list[Moments] = []
    whole = torch.empty(0)
    for rows in pieces(len(source), frames_at_once):
        some = block.spatial(source.frames(rows), conditions.emb[rows], conditions.hooks)
        if rows.start == 0:
            whole = some.new_empty(len(source), *some.shape[1:])
        whole[rows] = some
        moments += measure(some, norm.num_groups)
        del some
    return whole, moments


@dataclass(frozen=True)
class _TemporalHalf:
    stack: TemporalResBlock
    shift: Tensor  # c t 1, from the time embedding
    weight: Tensor  # t 1 1, of the blend
    hooks: UNetHooks
    pixels_at_once: int

    def add_to(self, clip: Tensor, moments: list[Moments]) -> None:
        """clip += weight · (the block of clip, without its residual), in place. clip: t c n, and its moments."""
        _, (norm, conv) = self.stack.norms_and_convs()
        hidden, moments = self._convolved(clip, moments, norm.num_groups)
        affine = scale_shift(norm, moments, hidden, self.hooks.norm_parameters)
        for some in self._pieces(clip):
            x = conv(_activate(affine, _over_frames(hidden, some)))  # 1 c t n
            clip[..., some].addcmul_(rearrange(x, "1 c t n -> t c n"), self.weight)
            del x  # or it stays while the next is made

    def _convolved(self, clip: Tensor, moments: list[Moments], groups: int) -> tuple[Tensor, list[Moments]]:
        """What the second norm reads, t c n, and the moments of its groups."""
        (norm, conv), _ = self.stack.norms_and_convs()
        affine = scale_shift(norm, moments, clip, self.hooks.norm_parameters)
        hidden = torch.empty_like(clip)
        hidden_moments: list[Moments] = []
        for some in self._pieces(clip):
            x = conv(_activate(affine, _over_frames(clip, some))).add_(self.shift)  # 1 c t n
            hidden[..., some] = rearrange(x, "1 c t n -> t c n")
            hidden_moments += measure(x, groups)
            del x
        return hidden, hidden_moments

    def _pieces(self, clip: Tensor) -> Iterator[slice]:
        return pieces(clip.shape[-1], self.pixels_at_once)


def _over_frames(clip: Tensor, some: slice) -> Tensor:
    return clip[..., some].transpose(0, 1)  # c t n


def _activate(affine: ScaleShift, x: Tensor) -> Tensor:
    """x: c t n, in any memory format. Returns 1 c t n, laid out as a convolution wants it."""
    return affine.silu(x, out=x.new_empty(x.shape))[None]
