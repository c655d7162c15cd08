"""The spatial and temporal transformer blocks, and the pair of them that the UNet uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..attention import CrossAttention, FeedForward
from ..embeddings import sinusoidal_embedding
from ..kernels.group_norm import normalise
from ..kernels.memory_format import frames_of_tokens, tokens_of_frames
from ..layers import Layers
from ..temporal import AlphaBlender
from .frame_positions import TrainedPositions
from .hooks import UNetHooks


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

    def forward(self, x: Tensor, context: Tensor, hooks: UNetHooks) -> Tensor:
        """x: (b r) l c, overwritten; context: b m k, each row serving r rows of x. Returns (b r) l c."""
        if self.temporal:
            x = _added(x, self.ff_in(self.norm_in(x)))
        x = _added(x, hooks.self_attention(self.attn1, self.norm1(x)))
        x = hooks.after_self_attention(x)
        x = self.cross_attended(x, context, hooks)
        return _added(x, self.ff(self.norm3(x)))

    def cross_attended(self, x: Tensor, context: Tensor, hooks: UNetHooks) -> Tensor:
        """x and what its cross-attention adds; x, (b r) l c, is overwritten."""
        clips, repeats = len(context), len(x) // len(context)
        if context.shape[1] == 1 and not hooks.watches_cross_attention():
            update = hooks.once(self.attn2, lambda: self.attn2.of_one_token(context))  # b 1 c
            return _added(x.unflatten(0, (clips, repeats)), update[:, None]).flatten(0, 1)
        return _added(x, hooks.cross_attention(self.attn2, self.norm2(x), context.repeat_interleave(repeats, dim=0)))


def _added(x: Tensor, update: Tensor) -> Tensor:
    """x + update, in place; gradients need the x that was normalise."""
    return x + update if torch.is_grad_enabled() else x.add_(update)


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

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        time_context: Tensor,
        num_frames: int,
        image_only: Tensor | None,
        hooks: UNetHooks,
    ) -> Tensor:
        """x: (b t) c h w; context: (b t) m k; time_context: b m k; image_only: (b t) or None."""
        hooks.before_transformer(x)
        height, pixels = x.shape[2], x.shape[2] * x.shape[3]
        position = hooks.once(self.time_pos_embed, lambda: self.frame_positions(num_frames, x))  # t 1 c
        weight = hooks.once(self.time_mixer, lambda: self._temporal_weight(x, num_frames, image_only))
        tokens = self.proj_in(tokens_of_frames(normalise(self.norm, x)))  # (b t) n c
        for index, (spatial, temporal) in enumerate(zip(self.transformer_blocks, self.time_stack, strict=True)):
            hooks.before_transformer_block(index)
            tokens = spatial(tokens, context, hooks)
            placed = self._place(tokens, position, height).unflatten(0, (-1, num_frames))  # b t n c
            mixed = temporal(placed.transpose(1, 2).flatten(0, 1), time_context, hooks)  # (b n) t c
            mixed = mixed.unflatten(0, (-1, pixels)).transpose(1, 2)  # b t n c
            tokens = torch.lerp(tokens.unflatten(0, (-1, num_frames)), mixed, weight).flatten(0, 1)
        hooks.after_transformer()
        return x + frames_of_tokens(self.proj_out(tokens), height)

    def _temporal_weight(self, x: Tensor, num_frames: int, image_only: Tensor | None) -> Tensor:
        """Of the blend, one weight or b t 1 1."""
        weight = self.time_mixer.temporal_weight(x[:, 0], image_only)
        return weight if image_only is None else weight.unflatten(0, (-1, num_frames))

    def frame_positions(self, num_frames: int, x: Tensor) -> Tensor:
        """Returns t 1 c. Raises SVDError for more frames than there are trained positions."""
        if self.time_positions is not None:
            rows = self.time_positions.rows(num_frames, x.device)  # t c
        else:
            rows = sinusoidal_embedding(torch.arange(num_frames, device=x.device), self.channels, self.max_period)
        return self.time_pos_embed(rows.to(x.dtype))[:, None]

    def _place(self, tokens: Tensor, position: Tensor, height: int) -> Tensor:
        """What the temporal block starts from, of the shape of tokens. tokens: (b t) n c; position: t 1 c."""
        num_frames = len(position)
        if self.time_positions is None:
            return (tokens.unflatten(0, (-1, num_frames)) + position).flatten(0, 1)
        clips = tokens.split(num_frames)
        return torch.cat([self.time_positions.spread(clip, position, height, num_frames) for clip in clips])
