"""The pair of transformers, in three sweeps: frames for the spatial one, pixels for the temporal one, frames again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ..unet.hooks import UNetHooks
from ..unet.transformer import SpatialVideoTransformer, TransformerBlock
from .conditions import Conditions
from .size import Split, pieces


def run_transformer(layer: SpatialVideoTransformer, x: Tensor, conditions: Conditions, split: Split) -> Tensor:
    """`layer` of x, (b t) c h w, which is overwritten; whole where the hooks watch what a split would cut."""
    c, hooks = conditions, conditions.hooks
    if hooks.watches_transformer():
        return layer(x, c.context, c.time_context, c.num_frames, c.image_only, hooks)
    hooks.before_transformer(x)
    position = layer.frame_positions(c.num_frames, x)  # t 1 c
    tokens = _tokens(layer, x, split.frames)  # (b t) n c
    weight = layer.time_mixer.temporal_weight(tokens, c.image_only).expand(len(tokens), 1, 1)
    pairs = cast(
        Iterable[tuple[TransformerBlock, TransformerBlock]],
        zip(layer.transformer_blocks, layer.time_stack, strict=True),
    )
    for index, (spatial, temporal) in enumerate(pairs):
        hooks.before_transformer_block(index)
        for rows in pieces(len(tokens), split.frames):
            _run_block(spatial, tokens[rows], c.context[rows], hooks, split.tokens)
        clips, weights = tokens.split(c.num_frames), weight.split(c.num_frames)
        for clip, share, context in zip(clips, weights, c.time_context.split(1), strict=True):
            spread = _spread(layer, clip, position, x.shape[2], split.frames)
            _mix_frames(temporal, clip, share, position, spread, context, hooks, split)
            del spread
    hooks.after_transformer()
    for rows in pieces(len(x), split.frames):
        x[rows] += rearrange(layer.proj_out(tokens[rows]), "bt (h w) c -> bt c h w", h=x.shape[2])
    return x


def _tokens(layer: SpatialVideoTransformer, x: Tensor, frames_at_once: int) -> Tensor:
    tokens = x.new_empty(len(x), x[0, 0].numel(), x.shape[1])  # (b t) n c
    for rows in pieces(len(x), frames_at_once):
        tokens[rows] = layer.proj_in(rearrange(layer.norm(x[rows]), "bt c h w -> bt (h w) c"))
    return tokens


def _spread(
    layer: SpatialVideoTransformer, clip: Tensor, position: Tensor, height: int, frames_at_once: int
) -> Tensor | None:
    """With trained positions, the clip that the temporal block starts from, t n c."""
    if layer.time_positions is None:
        return None
    return layer.time_positions.spread(clip, position, height, frames_at_once)


def _mix_frames(
    block: TransformerBlock,
    clip: Tensor,
    weight: Tensor,
    position: Tensor,
    spread: Tensor | None,
    context: Tensor,
    hooks: UNetHooks,
    split: Split,
) -> None:
    """clip += weight · (block of clip - clip), in place.

    clip: t n c; weight: t 1 1; position: t 1 c; spread: t n c, what the block starts from where that is not
    clip + position; context: 1 m k.
    """
    for some in pieces(clip.shape[1], split.pixels):
        here = clip[:, some]
        mixed = here.new_empty(here.shape[1], here.shape[0], here.shape[2])  # n t c
        if spread is None:
            torch.add(here.transpose(0, 1), position.transpose(0, 1), out=mixed)
        else:
            mixed.copy_(spread[:, some].transpose(0, 1))
        _run_block(block, mixed, context, hooks, split.tokens)
        here.lerp_(mixed.transpose(0, 1), weight)
        del here, mixed


def _run_block(block: TransformerBlock, x: Tensor, context: Tensor, hooks: UNetHooks, tokens_at_once: int) -> None:
    """`block` of x, in place. x: (b r) l c, contiguous; context: b m k."""
    if block.temporal:
        _add_feed_forward(x, block.norm_in, block.ff_in, tokens_at_once)
    x += hooks.self_attention(block.attn1, block.norm1(x))
    block.cross_attended(x, context, hooks)
    _add_feed_forward(x, block.norm3, block.ff, tokens_at_once)


def _add_feed_forward(x: Tensor, norm: nn.Module, feed_forward: nn.Module, tokens_at_once: int) -> None:
    for some in x.flatten(0, 1).split(tokens_at_once):
        some += feed_forward(norm(some))
