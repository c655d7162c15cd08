"""Hooks: what a host may do around the layers of the UNet.

The UNet calls them at fixed places and knows nothing else of its surroundings. The base class is the plain network.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ..attention import CrossAttention, scaled_dot_product_attention

BlockKind = Literal["input", "middle", "output"]


class UNetHooks:
    """Every method returns what the network goes on with."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """q: b n (h d); k, v: b m (h d)."""
        return scaled_dot_product_attention(q, k, v, heads)

    def embedding(self, emb: Tensor) -> Tensor:
        """The time embedding, (b t) d or 1 d, before the micro-conditioning is added."""
        return emb

    def before_block(self, kind: BlockKind, index: int) -> None:
        """Called before each of the numbered blocks."""

    def after_input_block(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (h to go on with, h to keep for the skip connection)."""
        return h, h

    def after_middle_block(self, h: Tensor) -> Tensor:
        return h

    def before_output_block(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Before h and its skip connection are joined."""
        return h, skip

    def watches_output_block(self) -> bool:
        """True when `before_output_block` must see the joined clip, so that it may not be joined in pieces."""
        return self._overrides("before_output_block")

    def before_transformer(self, x: Tensor) -> None:
        """x: (b t) c h w."""

    def before_transformer_block(self, index: int) -> None:
        """Called before the spatial block `index` of a transformer, and so for the temporal block that follows."""

    def after_transformer(self) -> None: ...

    def self_attention(self, attn: CrossAttention, x: Tensor) -> Tensor:
        """x: n l c, normalised. Returns the attention's output, without the residual."""
        return attn(x, x, attention=self.attention)

    def after_self_attention(self, x: Tensor) -> Tensor:
        """x: n l c, residual added."""
        return x

    def watches_transformer(self) -> bool:
        """True when the hooks inside the coming transformer must see all of the clip at once, not a part of it.

        `attention` does not count: rows of attention never depend on each other.
        """
        return self._overrides("self_attention", "after_self_attention", "cross_attention")

    def watches_cross_attention(self) -> bool:
        """True when `cross_attention` must see every call, so that its one-token shortcut may not be taken."""
        return False

    def cross_attention(self, attn: CrossAttention, x: Tensor, context: Tensor) -> Tensor:
        """x: n l c, normalised; context: n m k. Returns the attention's output, without the residual."""
        return attn(x, context, attention=self.attention)

    def norm_parameters(self, norm: nn.GroupNorm, like: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of a norm that is computed outside its module, on the device of `like`."""
        return norm.weight.to(like.device), norm.bias.to(like.device)

    def _overrides(self, *names: str) -> bool:
        return any(getattr(type(self), name) is not getattr(UNetHooks, name) for name in names)
