"""Find every parameter of a network among stored tensors, whatever names they were saved under.

A finder looks at names and shapes only. It returns None if the file has nothing of its network, and otherwise what
there is: `infer.py` reports what is missing.
"""

from __future__ import annotations

from collections.abc import Collection

from .entries import Entries, Entry, Refs, fold_quant_conv, keep, linear_to_conv, split_rows, transpose
from .header import TensorRef
from .inventory import CLIP_PREFIX, ENCODER_PREFIX, FIRST_STAGE_PREFIX
from .names import clip_map_for_names, unet_map_for_names, vae_map_for_names
from .wrappers import UNET_PREFIXES

# --- UNet --------------------------------------------------------------------------------------------------------

_UNET_HEADS = ("time_embed", "label_emb", "input_blocks", "middle_block", "output_blocks", "out")
_DIFFUSERS_ENDS = ("conv_in", "time_embedding", "add_embedding", "conv_norm_out", "conv_out")
_DIFFUSERS_UNET_HEADS = (*_DIFFUSERS_ENDS, "down_blocks", "mid_block", "up_blocks")


def find_unet(refs: Refs) -> Entries | None:
    """Official names, or diffusers names, with or without a prefix."""
    for prefix in UNET_PREFIXES:
        if f"{prefix}input_blocks.0.0.weight" in refs:
            return {name: keep(ref) for name, ref in _select(refs, prefix, _UNET_HEADS).items()}
        if f"{prefix}conv_in.weight" in refs and f"{prefix}time_embedding.linear_1.weight" in refs:
            found = _select(refs, prefix, _DIFFUSERS_UNET_HEADS)
            names = unet_map_for_names(found)
            return {names.to_official(name) or name: keep(ref) for name, ref in found.items()}
    return None


# --- autoencoder -------------------------------------------------------------------------------------------------

_VAE_PREFIXES = (FIRST_STAGE_PREFIX, "vae.", "")
_ENCODER_HEADS = ("encoder", "quant_conv")
_VAE_HEADS = (*_ENCODER_HEADS, "decoder", "post_quant_conv")
_VAE_LINEARS = tuple(f".mid.attn_1.{name}.weight" for name in ("q", "k", "v", "proj_out"))


def find_vae(refs: Refs) -> Entries | None:
    """The first stage, with the conditioner's copy of the encoder if the file has one."""
    for prefix in _VAE_PREFIXES:
        if not any(f"{prefix}{half}.conv_in.weight" in refs for half in ("decoder", "encoder")):
            continue
        found = _select(refs, prefix, _VAE_HEADS)
        if _has_diffusers_names(found):
            names = vae_map_for_names(found)
            found = {names.to_official(name) or name: ref for name, ref in found.items()}
        found = _take_conditioning_encoder(found, refs)
        return fold_quant_conv({name: _keep_conv(name, ref) for name, ref in found.items()})
    return None


def describe_encoder(refs: Refs) -> str | None:
    """What stands in for the conditioner's copy of the encoder, as the end of a sentence; None where it is used."""
    if f"{CLIP_PREFIX}class_embedding" not in refs:  # only the official layout has two encoders
        folded = _has_diffusers_names(refs) and "quant_conv.weight" not in refs
        return "lacks the quant_conv behind its encoder, and is taken to need none" if folded else None
    first, copy = _select(refs, FIRST_STAGE_PREFIX, _ENCODER_HEADS), _select(refs, ENCODER_PREFIX, _ENCODER_HEADS)
    if not first or _is_usable(copy):
        return None
    lack = f"has only {len(copy)} tensors of" if copy else "lacks"
    return (
        f"{lack} the second encoder ({ENCODER_PREFIX[:-1]}), so that of {FIRST_STAGE_PREFIX[:-1]} encodes the picture"
    )


def _has_diffusers_names(names: Collection[str]) -> bool:
    return any(name.startswith(("encoder.mid_block.", "decoder.mid_block.")) for name in names)


def _take_conditioning_encoder(first_stage: dict[str, TensorRef], refs: Refs) -> dict[str, TensorRef]:
    """Replace the first stage's encoder and quant_conv by those that the conditioning was trained with."""
    copy = _select(refs, ENCODER_PREFIX, _ENCODER_HEADS)
    if not _is_usable(copy):
        return first_stage
    return copy | {name: ref for name, ref in first_stage.items() if name.startswith(("decoder.", "post_quant_conv."))}


def _is_usable(copy: dict[str, TensorRef]) -> bool:
    """True for a copy with an encoder and the quant_conv behind it, without which its moments are others.

    A tensor that the encoder itself lacks is told by `infer.py`.
    """
    return any(name.startswith("encoder.") for name in copy) and "quant_conv.weight" in copy


def _keep_conv(name: str, ref: TensorRef) -> Entry:
    """diffusers stores the attention's 1x1 convolutions as linears."""
    return linear_to_conv(ref) if name.endswith(_VAE_LINEARS) and len(ref.shape) == 2 else keep(ref)


# --- image encoder -----------------------------------------------------------------------------------------------

_CLIP_PREFIXES = (CLIP_PREFIX, "image_encoder.", "clip_vision.", "visual.", "")
_CLIP_HEADS = ("vision_model", "visual_projection")
_OPEN_CLIP_HEADS = ("class_embedding", "conv1", "positional_embedding", "ln_pre", "ln_post", "proj", "transformer")
_JOINT_PROJECTION = ".attn.in_proj_"


def find_clip(refs: Refs) -> Entries | None:
    """The image encoder under transformers or open_clip names; the text encoder beside it is ignored."""
    for prefix in _CLIP_PREFIXES:
        if f"{prefix}vision_model.embeddings.class_embedding" in refs:
            found = _select(refs, prefix, _CLIP_HEADS)
            return {name: keep(ref) for name, ref in found.items() if not name.endswith(".position_ids")}
        if f"{prefix}class_embedding" in refs and f"{prefix}conv1.weight" in refs:
            return _rename_open_clip(_select(refs, prefix, _OPEN_CLIP_HEADS))
    return None


def _rename_open_clip(found: dict[str, TensorRef]) -> Entries:
    names = clip_map_for_names(found)
    entries: Entries = {}
    for name, ref in found.items():
        if _JOINT_PROJECTION in name and ref.shape and ref.shape[0] % 3 == 0:
            entries |= _split_projection(name, ref)
        elif name == "proj":
            entries["visual_projection.weight"] = transpose(keep(ref))
        else:
            entries[names.to_other(name) or name] = keep(ref)
    return entries


def _split_projection(name: str, ref: TensorRef) -> Entries:
    """in_proj holds the query, key and value projections one below the other."""
    block, _, leaf = name.partition(_JOINT_PROJECTION)
    layer = f"vision_model.encoder.layers.{block.rpartition('.')[2]}.self_attn"
    parts = split_rows(ref, 3)
    return {f"{layer}.{projection}.{leaf}": parts[index] for index, projection in enumerate(PROJECTIONS)}


PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def _select(refs: Refs, prefix: str, heads: tuple[str, ...]) -> dict[str, TensorRef]:
    """Tensors below the prefix that begin with one of the heads, without the prefix."""
    found = {name[len(prefix) :]: ref for name, ref in refs.items() if name.startswith(prefix)}
    return {name: ref for name, ref in found.items() if name.partition(".")[0] in heads}
