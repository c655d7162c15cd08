"""The spatial and temporal transformer blocks, and the pair of them that the UNet uses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..attention import CrossAttention, FeedForward, add
from ..embeddings import TrainedPositions, sinusoidal_embedding
from ..kernels.group_norm import normalise
from ..kernels.memory_format import frames_of_tokens, tokens_of_frames
from ..layers import Layers
from ..pieces import ALL, Pieces, collect, cut, share, update
from ..temporal import AlphaBlender
from .evaluation import Evaluation


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward; a temporal block has one more feed-forward in front."""

    def __init__(self, layers: Layers, dim: int, context_dim: int, head_dim: int, temporal: bool) -> None:
        super().__init__()
        self.temporal = temporal
        if temporal:
            self.norm_in = layers.layer_norm(dim)
            self.ff_in = FeedForward(layers, dim)
        self.norm1 = layers.layer_norm(dim)
        self.attn1 = CrossAttention(layers, dim, dim, head_dim)
        self.norm2 = layers.layer_norm(dim)
        self.attn2 = CrossAttention(layers, dim, context_dim, head_dim)
        self.norm3 = layers.layer_norm(dim)
        self.ff = FeedForward(layers, dim)

    def forward(self, x: Tensor, rows: slice, call: Evaluation, tokens_at_once: int) -> Tensor:
        """x: (b r) l c, overwritten without gradients. rows: the b rows of the context, each serving r rows of x.

        Returns (b r) l c.
        """
        hooks = call.hooks
        if self.temporal:
            x = self.ff_in.add_to(x, self.norm_in, tokens_at_once)
        x = add(x, hooks.self_attention(self.attn1, self.norm1(x)))
        x = hooks.after_self_attention(x)
        x = self._attend_to_context(x, rows, call)
        return self.ff.add_to(x, self.norm3, tokens_at_once)

    def _attend_to_context(self, x: Tensor, rows: slice, call: Evaluation) -> Tensor:
        """x and what its cross-attention adds."""
        context = call.time_context if self.temporal else call.context
        if context.shape[1] == 1 and not call.hooks.watches_cross_attention():
            constant = call.once(self.attn2, lambda: self.attn2.of_one_token(context))[rows]  # b 1 c
            if not self.temporal:  # a row of context for each row of x
                return add(x, constant)
            grouped = x.unflatten(0, (len(constant), len(x) // len(constant)))  # b r l c
            return add(grouped, constant[:, None]).view_as(x)
        context = context[rows]
        context = context.repeat_interleave(len(x) // len(context), dim=0)
        return add(x, call.hooks.cross_attention(self.attn2, self.norm2(x), context))


class SpatialVideoTransformer(nn.Module):
    """Attention within each frame, then over the frames at each place, blended by a learned weight."""

    def __init__(
        self,
        layers: Layers,
        channels: int,
        *,
        context_dim: int,
        head_dim: int,
        depth: int,
        norm_groups: int,
        norm_eps: float,
        max_period: int,
        num_positions: int = 0,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.max_period = max_period
        self.norm = layers.group_norm(norm_groups, channels, norm_eps)
        self.proj_in = layers.linear(channels, channels)
        self.transformer_blocks, self.time_stack = (
            nn.ModuleList(TransformerBlock(layers, channels, context_dim, head_dim, temporal) for _ in range(depth))
            for temporal in (False, True)
        )
        self.time_pos_embed = nn.Sequential(
            layers.linear(channels, 4 * channels), nn.SiLU(), layers.linear(4 * channels, channels)
        )
        self.time_positions = TrainedPositions(layers, num_positions, channels) if num_positions else None
        self.time_mixer = AlphaBlender()
        self.proj_out = layers.linear(channels, channels)

    def forward(self, x: Tensor, call: Evaluation, pieces: Pieces) -> Tensor:
        """x: (b t) c h w, overwritten by several pieces. Returns (b t) c h w.

        Frames for the spatial blocks, pixels for the temporal ones, frames again for the result.
        """
        call.hooks.before_transformer(x)
        if call.hooks.watches_transformer():
            pieces = ALL
        frames, (height, width) = cut(len(x), pieces.frames), x.shape[2:]
        position = call.once(self.time_pos_embed, lambda: self.frame_positions(call.num_frames, x))  # t 1 c
        weight = call.once(
            self.time_mixer,
            lambda: self.time_mixer.temporal_weight(x, call.num_frames, call.image_only)[..., None, None],
        )  # b t 1 1, or 1 1 1 1

        def enter(rows: slice) -> Tensor:
            return self.proj_in(tokens_of_frames(normalise(self.norm, x[rows])))

        tokens = collect(frames, enter)  # (b t) n c
        for index, (spatial, temporal) in enumerate(zip(self.transformer_blocks, self.time_stack, strict=True)):
            call.hooks.before_transformer_block(index)
            tokens = update(tokens, frames, lambda some, rows, run=spatial: run(some, rows, call, pieces.tokens))

            def mix(clips: Tensor, which: slice, run: nn.Module = temporal) -> Tensor:
                placed = self._place(clips, position, height, pieces.frames)

                def mix_pixels(here: Tensor, some: slice) -> Tensor:
                    mixed = placed(here, some).transpose(1, 2).flatten(0, 1).contiguous()  # (b n) t c
                    mixed = run(mixed, which, call, pieces.tokens)
                    mixed = mixed.unflatten(0, (len(here), here.shape[2]))  # b n t c
                    return torch.lerp(here, mixed.transpose(1, 2), share(weight, which))

                return update(clips, cut(clips.shape[2], pieces.pixels), mix_pixels, dim=2)

            shape = len(tokens) // call.num_frames, call.num_frames
            tokens = update(tokens.unflatten(0, shape), pieces.of_clips(shape[0]), mix).view_as(tokens)
        call.hooks.after_transformer()

        def leave(some: Tensor, rows: slice) -> Tensor:
            return some + frames_of_tokens(self.proj_out(tokens[rows]), height, width)

        return update(x, frames, leave)

    def _place(
        self, clips: Tensor, position: Tensor, height: int, frames_at_once: int
    ) -> Callable[[Tensor, slice], Tensor]:
        """Gives the temporal block its input: some pixels of the clips, b t n c, with the positions of their frames."""
        if self.time_positions is None:
            return lambda here, _: here + position
        spread = self.time_positions.spread

        def spread_one(which: slice) -> Tensor:
            return spread(clips[which][0], position, height, frames_at_once)[None]

        placed = collect(cut(len(clips), 1), spread_one)  # b t n c
        return lambda _, some: placed[:, :, some]

    def frame_positions(self, num_frames: int, x: Tensor) -> Tensor:
        """Returns t 1 c. Raises SVDError for more frames than there are trained positions."""
        if self.time_positions is not None:
            rows = self.time_positions.rows(num_frames, x.device)  # t c
        else:
            rows = sinusoidal_embedding(torch.arange(num_frames, device=x.device), self.channels, self.max_period)
        return self.time_pos_embed(rows.to(x.dtype))[:, None]
