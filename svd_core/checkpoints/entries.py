"""How one parameter is made from stored tensors, and the functions that find every parameter of a network.

A finder looks at names and shapes only. It returns None where the file has nothing of that network, and otherwise
whatever it found: `infer.py` says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .header import TensorRef
from .inventory import CLIP_PREFIX, ENCODER_PREFIX, FIRST_STAGE_PREFIX, UNET_PREFIX, Shape
from .names import clip_map_for_names, unet_map_for_names, vae_map_for_names

Refs = Mapping[str, TensorRef]
Combine = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Entry:
    """One parameter: `combine` of the stored tensors `sources`, or the stored tensor itself."""

    sources: tuple[TensorRef, ...]
    shape: Shape
    combine: Combine | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the parameter is stored in."""
        return self.sources[0].dtype

    def make(self, tensors: Sequence[Tensor]) -> Tensor:
        return self.combine(tensors) if self.combine else tensors[0]


def combined(entries: Sequence[Entry], shape: Shape, combine: Combine) -> Entry:
    """A parameter made of other ones."""

    def make(tensors: Sequence[Tensor]) -> Tensor:
        rest = iter(tensors)
        return combine([entry.make([next(rest) for _ in entry.sources]) for entry in entries])

    return Entry(tuple(source for entry in entries for source in entry.sources), shape, make)


Entries = dict[str, Entry]


def stored(ref: TensorRef) -> Entry:
    return Entry((ref,), ref.shape)


# --- UNet --------------------------------------------------------------------------------------------------------

_UNET_PREFIXES = (UNET_PREFIX, "diffusion_model.", "unet.", "")
_UNET_HEADS = ("time_embed", "label_emb", "input_blocks", "middle_block", "output_blocks", "out")
_DIFFUSERS_UNET_HEADS = (
    *(
        "conv_in",
        "time_embedding",
        "add_embedding",
        "down_blocks",
        "mid_block",
        "up_blocks",
        "conv_norm_out",
        "conv_out",
    ),
)


def find_unet(refs: Refs) -> Entries | None:
    """Official names, or diffusers names, with or without a prefix."""
    for prefix in _UNET_PREFIXES:
        if f"{prefix}input_blocks.0.0.weight" in refs:
            return {name: stored(ref) for name, ref in _under(refs, prefix, _UNET_HEADS).items()}
        if f"{prefix}conv_in.weight" in refs and f"{prefix}time_embedding.linear_1.weight" in refs:
            found = _under(refs, prefix, _DIFFUSERS_UNET_HEADS)
            names = unet_map_for_names(found)
            return {names.to_official(name) or name: stored(ref) for name, ref in found.items()}
    return None


# --- autoencoder -------------------------------------------------------------------------------------------------

_VAE_PREFIXES = (FIRST_STAGE_PREFIX, "vae.", "")
_VAE_HEADS = ("encoder", "decoder", "quant_conv", "post_quant_conv")
_VAE_LINEARS = tuple(f".mid.attn_1.{name}.weight" for name in ("q", "k", "v", "proj_out"))


def find_vae(refs: Refs) -> Entries | None:
    """The first stage; its encoder from the conditioner's copy where the file has one."""
    for prefix in _VAE_PREFIXES:
        if f"{prefix}decoder.conv_in.weight" not in refs:
            continue
        found = _under(refs, prefix, _VAE_HEADS)
        if "decoder.mid_block.resnets.0.conv1.weight" in found or any(".spatial_res_block." in name for name in found):
            names = vae_map_for_names(found)
            found = {names.to_official(name) or name: ref for name, ref in found.items()}
        return _with_folded_quant_conv(_with_conditioning_encoder(found, refs))
    return None


def _with_conditioning_encoder(first_stage: dict[str, TensorRef], refs: Refs) -> dict[str, TensorRef]:
    """Replaces the first stage's encoder and quant_conv by those the conditioning was trained with."""
    copy = _under(refs, ENCODER_PREFIX, ("encoder", "quant_conv"))
    if "encoder.conv_in.weight" not in copy:
        return first_stage
    return copy | {name: ref for name, ref in first_stage.items() if name.startswith(("decoder.", "post_quant_conv."))}


def _with_folded_quant_conv(found: dict[str, TensorRef]) -> Entries:
    """Merges quant_conv into the encoder's last convolution; one that cannot be merged stays, and is reported."""
    entries = {name: _conv_1x1(name, ref) for name, ref in found.items()}
    names = (*("encoder.conv_out.weight", "encoder.conv_out.bias"), *("quant_conv.weight", "quant_conv.bias"))
    if not all(name in found for name in names):
        return entries
    weight, bias, quant, quant_bias = (found[name] for name in names)
    if quant.shape != (*bias.shape, *bias.shape, 1, 1) or quant_bias.shape != bias.shape:
        return entries
    del entries["quant_conv.weight"], entries["quant_conv.bias"]
    return entries | {
        "encoder.conv_out.weight": Entry((weight, quant), weight.shape, fold_weight),
        "encoder.conv_out.bias": Entry((bias, quant, quant_bias), bias.shape, fold_bias),
    }


def with_quant_conv(entries: Entries) -> Entries:
    """The autoencoder with its quant_conv apart again; the one that changes nothing where the file has none."""
    if "quant_conv.weight" in entries:
        return entries
    weight, bias = (entries[f"encoder.conv_out.{leaf}"] for leaf in ("weight", "bias"))
    n = bias.shape[0]
    if len(weight.sources) == 2 and len(bias.sources) == 3:
        quant, quant_bias = stored(weight.sources[1]), stored(bias.sources[2])
        weight, bias = stored(weight.sources[0]), stored(bias.sources[0])
    else:
        quant = Entry(bias.sources, (n, n, 1, 1), lambda _: torch.eye(n)[:, :, None, None])
        quant_bias = Entry(bias.sources, (n,), lambda _: torch.zeros(n))
    return entries | {
        "encoder.conv_out.weight": weight,
        "encoder.conv_out.bias": bias,
        "quant_conv.weight": quant,
        "quant_conv.bias": quant_bias,
    }


def _conv_1x1(name: str, ref: TensorRef) -> Entry:
    """diffusers stores the attention's 1x1 convolutions as linears."""
    if name.endswith(_VAE_LINEARS) and len(ref.shape) == 2:
        return Entry((ref,), (*ref.shape, 1, 1), _as_conv_1x1)
    return stored(ref)


def _as_conv_1x1(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0][:, :, None, None]  # o i 1 1


def fold_weight(tensors: Sequence[Tensor]) -> Tensor:
    """A 1x1 convolution Q after a convolution W is one convolution, Q W; float64 keeps it exact."""
    weight, quant = (tensor.double() for tensor in tensors)
    return torch.einsum("om,mikl->oikl", quant[:, :, 0, 0], weight)


def fold_bias(tensors: Sequence[Tensor]) -> Tensor:
    """The bias of the same fold, Q b + q."""
    bias, quant, quant_bias = (tensor.double() for tensor in tensors)
    return quant[:, :, 0, 0] @ bias + quant_bias


# --- image tower -------------------------------------------------------------------------------------------------

_CLIP_PREFIXES = (CLIP_PREFIX, "image_encoder.", "clip_vision.", "visual.", "")
_CLIP_HEADS = ("vision_model", "visual_projection")
_OPEN_CLIP_HEADS = ("class_embedding", "conv1", "positional_embedding", "ln_pre", "ln_post", "proj", "transformer")
_JOINT_PROJECTION = ".attn.in_proj_"


def find_clip(refs: Refs) -> Entries | None:
    """The image tower under transformers or open_clip names; the text tower beside it stays unread."""
    for prefix in _CLIP_PREFIXES:
        if f"{prefix}vision_model.embeddings.class_embedding" in refs:
            found = _under(refs, prefix, _CLIP_HEADS)
            return {name: stored(ref) for name, ref in found.items() if not name.endswith(".position_ids")}
        if f"{prefix}class_embedding" in refs and f"{prefix}conv1.weight" in refs:
            return _from_open_clip(_under(refs, prefix, _OPEN_CLIP_HEADS))
    return None


def _from_open_clip(found: dict[str, TensorRef]) -> Entries:
    names = clip_map_for_names(found)
    entries: Entries = {}
    for name, ref in found.items():
        if _JOINT_PROJECTION in name and ref.shape and ref.shape[0] % 3 == 0:
            entries |= _split_projection(name, ref)
        elif name == "proj":
            entries["visual_projection.weight"] = Entry((ref,), ref.shape[::-1], _transposed)
        else:
            entries[names.to_other(name) or name] = stored(ref)
    return entries


def _split_projection(name: str, ref: TensorRef) -> Entries:
    """in_proj holds the query, key and value projections one below the other."""
    block, _, leaf = name.partition(_JOINT_PROJECTION)
    layer = f"vision_model.encoder.layers.{block.rpartition('.')[2]}.self_attn"
    shape = (ref.shape[0] // 3, *ref.shape[1:])
    return {
        f"{layer}.{projection}.{leaf}": Entry((ref,), shape, partial(_third, index))
        for index, projection in enumerate(("q_proj", "k_proj", "v_proj"))
    }


def _third(index: int, tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0].chunk(3)[index]


def _transposed(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0].t().contiguous()


# --- helpers -----------------------------------------------------------------------------------------------------


def _under(refs: Refs, prefix: str, heads: tuple[str, ...]) -> dict[str, TensorRef]:
    """Tensors below the prefix that begin with one of the heads, without the prefix."""
    found = {name[len(prefix) :]: ref for name, ref in refs.items() if name.startswith(prefix)}
    return {name: ref for name, ref in found.items() if name.partition(".")[0] in heads}
