"""The host's patches and control networks, run at the UNet's hooks.

Patch names, their arguments and their order are the host's; see its `openaimodel.py` and `attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.ldm.modules.diffusionmodules.openaimodel import apply_control
from comfy.ops import cast_bias_weight
from torch import Tensor, nn

from ...svd_core.models.attention import CrossAttention, attend_in_rows
from ...svd_core.models.unet.hooks import BlockKind, UNetHooks

# The host's own SVD asks for this where its attention does not choose the precision itself.
ATTENTION_PRECISION = torch.float32

ATTENTION_PATCHES = ("attn1_patch", "attn1_output_patch", "middle_patch", "attn2_patch", "attn2_output_patch")


class HostHooks(UNetHooks):
    """One forward pass under one set of `transformer_options`."""

    def __init__(
        self, options: dict[str, Any], control: dict[str, Any] | None, model_channels: int, call: dict[str, Any]
    ) -> None:
        """call: the arguments of the pass; some patches read them."""
        self.options = options
        self.control = control
        self.model_channels = model_channels
        self.call = call
        self.patches: dict[str, list[Callable[..., Any]]] = options.get("patches", {})
        self.replacements: dict[str, dict[tuple[Any, ...], Callable[..., Tensor]]] = options.get("patches_replace", {})
        options["original_shape"] = list(call["x"].shape)
        options["transformer_index"] = 0

    def attention(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """The host's selected attention, and what the user put in its place."""
        options = {"attn_precision": ATTENTION_PRECISION, "transformer_options": self.options}
        return attend_in_rows(partial(optimized_attention, **options), q, k, v, heads)

    def embedding(self, emb: Tensor) -> Tensor:
        for patch in self.patches.get("emb_patch", ()):
            emb = patch(emb, self.model_channels, self.options)
        self.call["emb"] = emb
        return emb

    def before_block(self, kind: BlockKind, index: int) -> None:
        self.options["block"] = (kind, index)

    def after_input_block(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = apply_control(h, self.control, "input")
        for patch in self.patches.get("input_block_patch", ()):
            h = patch(h, self.options)
        skip = h
        for patch in self.patches.get("input_block_patch_after_skip", ()):
            h = patch(h, self.options)
        return h, skip

    def after_middle_block(self, h: Tensor) -> Tensor:
        h = apply_control(h, self.control, "middle")
        for patch in self.patches.get("middle_block_after_patch", ()):
            h = patch({**self.call, "h": h, "transformer_options": self.options})["h"]
        return h

    def before_output_block(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        skip = apply_control(skip, self.control, "output")
        for patch in self.patches.get("output_block_patch", ()):
            h, skip = patch(h, skip, self.options)
        return h, skip

    def watches_output_block(self) -> bool:
        return bool(self.patches.get("output_block_patch") or (self.control or {}).get("output"))

    def before_transformer(self, x: Tensor) -> None:
        self.options["activations_shape"] = list(x.shape)

    def before_transformer_block(self, index: int) -> None:
        self.options["block_index"] = index

    def after_transformer(self) -> None:
        self.options["transformer_index"] += 1

    def self_attention(self, attn: CrossAttention, x: Tensor) -> Tensor:
        return self._patched("attn1", attn, x, x)

    def after_self_attention(self, x: Tensor) -> Tensor:
        for patch in self.patches.get("middle_patch", ()):
            x = patch(x, self._extra(None))
        return x

    def watches_transformer(self) -> bool:
        """Patches count rows and positions: they get whole activations."""
        block = self.options["block"]
        return self._patches_attention() or any(key[:2] == block for key in self._replaced_attention())

    def watches_any_transformer(self) -> bool:
        """True if a patch sees whole activations anywhere in the network, however the work is split."""
        return self._patches_attention() or bool(self._replaced_attention())

    def watches_cross_attention(self) -> bool:
        return bool(
            self.patches.get("attn2_patch") or self.patches.get("attn2_output_patch") or self.replacements.get("attn2")
        )

    def norm_parameters(self, norm: nn.GroupNorm, like: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias as the host casts them: they may be on another device, or patched when they are used."""
        return cast_bias_weight(norm, like)

    def cross_attention(self, attn: CrossAttention, x: Tensor, context: Tensor) -> Tensor:
        return self._patched("attn2", attn, x, context)

    def _patches_attention(self) -> bool:
        return any(self.patches.get(name) for name in ATTENTION_PATCHES)

    def _replaced_attention(self) -> list[tuple[Any, ...]]:
        """Places, such as ("input", 1) or ("input", 1, 0), where a patch stands in for an attention layer."""
        return [key for name in ("attn1", "attn2") for key in self.replacements.get(name, {})]

    def _patched(self, name: str, attn: CrossAttention, x: Tensor, context: Tensor) -> Tensor:
        """Attention `name` ("attn1" or "attn2") with the user's patches before, instead of and after it."""
        extra, value = self._extra(attn), context
        for patch in self.patches.get(f"{name}_patch", ()):
            x, context, value = patch(x, context, value, extra)
            value = context if value is None else value
        replacement = self._replacement(name)
        if replacement is None:
            out = attn(x, context, value, attention=self.attention)
        else:
            out = attn.to_out(replacement(attn.to_q(x), attn.to_k(context), attn.to_v(value), extra))
        for patch in self.patches.get(f"{name}_output_patch", ()):
            out = patch(out, extra)
        return out

    def _replacement(self, name: str) -> Callable[..., Tensor] | None:
        """The patch for this transformer block, else the one for its whole numbered block."""
        block = self.options["block"]
        candidates = self.replacements.get(name, {})
        return candidates.get((*block, self.options.get("block_index", 0)), candidates.get(block))

    def _extra(self, attn: CrossAttention | None) -> dict[str, Any]:
        extra = {key: value for key, value in self.options.items() if key not in ("patches", "patches_replace")}
        extra["attn_precision"] = ATTENTION_PRECISION
        if attn is not None:
            extra |= {"n_heads": attn.heads, "dim_head": attn.head_dim}
        return extra
