"""Scaled-dot-product attention, the projections around it and the gated feed-forward."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layers
from .pieces import UNBOUNDED, cut, update

# Several CUDA kernels put the batch into a grid dimension that ends at 65,535.
MAX_ATTENTION_ROWS = 32768

# Of a feed-forward's inner activations on a CPU, at most. More leaves the caches, and allocators hand out larger blocks
# fresh from the system, page by page.
CPU_FEED_FORWARD_BYTES = 24 << 20


class AttentionFunction(Protocol):
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor: ...


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q kᵀ / √d) v for `heads` heads side by side in the channels.

    q: b n (h d); k, v: b m (h d). Returns b n (h d).
    """
    return attend_in_rows(_attend, q, k, v, heads)


def attend_in_rows(attend: AttentionFunction, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """`attend`, with no more rows of the batch in one call than every kernel takes. Shapes: as `attend` has them."""
    if q.shape[0] <= MAX_ATTENTION_ROWS:
        return attend(q, k, v, heads)
    rows = zip(q.split(MAX_ATTENTION_ROWS), k.split(MAX_ATTENTION_ROWS), v.split(MAX_ATTENTION_ROWS), strict=True)
    return torch.cat([attend(*some, heads) for some in rows])


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))  # b h n d
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class CrossAttention(nn.Module):
    """Attention of x over a context; over x itself when both are the same."""

    def __init__(self, layers: Layers, dim: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.heads = dim // head_dim
        self.head_dim = head_dim
        self.to_q = layers.linear(dim, dim, bias=False)
        self.to_k = layers.linear(context_dim, dim, bias=False)
        self.to_v = layers.linear(context_dim, dim, bias=False)
        self.to_out = nn.Sequential(layers.linear(dim, dim))

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        value: Tensor | None = None,
        attention: AttentionFunction = scaled_dot_product_attention,
    ) -> Tensor:
        """x: b n c; context: b m k (keys, and values unless `value` is given). Returns b n c."""
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context if value is None else value)
        (to_out,) = self.to_out
        return to_out(attention(q, k, v, self.heads))

    def of_one_token(self, context: Tensor) -> Tensor:
        """Output of `forward` for every query if the context is a single token: softmax over one key is exactly 1.

        context: b 1 k. Returns b 1 c.
        """
        return self.to_out(self.to_v(context))


class GEGLU(nn.Module):
    """value · gelu(gate), exact (erf) gelu."""

    def __init__(self, layers: Layers, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = layers.linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """x: n c. Without gradients the result lies within the projection: by far the largest tensor of a block."""
        value, gate = self.proj(x).tensor_split(2, dim=-1)
        if torch.is_grad_enabled():
            return value * F.gelu(gate)
        return value.mul_(torch.ops.aten.gelu_(gate))


class FeedForward(nn.Module):
    """f: c → 4c, gated → c."""

    def __init__(self, layers: Layers, dim: int) -> None:
        super().__init__()
        # The middle entry only holds the place of the dropout in the official names.
        self.net = nn.Sequential(GEGLU(layers, dim, 4 * dim), nn.Identity(), layers.linear(4 * dim, dim))

    def add_to(self, x: Tensor, norm: nn.Module, tokens_at_once: int = UNBOUNDED) -> Tensor:
        """x + f(norm(x)), some tokens at a time; without gradients written into x, b n c.

        Tokens have nothing to do with each other, and a CPU takes as many as its caches like.
        """
        gated, _, linear = self.net
        tokens = x.flatten(0, 1)
        if x.is_cpu and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            tokens_at_once = min(tokens_at_once, _tokens_in_caches(tokens))
        pieces = cut(len(tokens), tokens_at_once)
        return update(tokens, pieces, lambda some, _: add(some, linear(gated(norm(some))))).view_as(x)


def add(x: Tensor, update: Tensor) -> Tensor:
    """x + update. Without gradients in place; gradients need the x that was normalised."""
    return x + update if torch.is_grad_enabled() else x.add_(update)


def _tokens_in_caches(tokens: Tensor) -> int:
    """Tokens, n c, of which the inner activations stay in the caches of a CPU: equal pieces."""
    inner = 8 * tokens.numel() * tokens.element_size()  # bytes
    return -(-len(tokens) // max(1, -(-inner // CPU_FEED_FORWARD_BYTES)))
