"""Names of parameters in other layouts: one table per network, read in either direction.

A table pairs the official module paths with those of diffusers or transformers; what follows a path (`weight`, `bias`,
the inside of a transformer block) is the same on both sides. Tables are built for any number of levels and blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..config import UNetConfig

Pairs = Iterator[tuple[str, str]]

MAX_COUNT = 100  # levels, layers and blocks; the released networks have 32 at most, and tables grow with the product


@dataclass(frozen=True)
class NameMap:
    """Pairs of (official path, other path); the longest path that matches a name decides."""

    pairs: tuple[tuple[str, str], ...]

    def to_other(self, name: str) -> str | None:
        """The diffusers or transformers name of an official one; None if the table has none."""
        return _rename(name, self._to_other)

    def to_official(self, name: str) -> str | None:
        """The official name of a diffusers or transformers one; None if the table has none."""
        return _rename(name, self._to_official)

    @cached_property
    def _to_other(self) -> dict[str, str]:
        return dict(self.pairs)

    @cached_property
    def _to_official(self) -> dict[str, str]:
        return {other: official for official, other in self.pairs}


def _rename(name: str, table: dict[str, str]) -> str | None:
    path = name
    while path:
        if path in table:
            return table[path] + name[len(path) :]
        path = path.rpartition(".")[0]
    return None


# --- UNet --------------------------------------------------------------------------------------------------------

_UNET_ENDS = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
_RESNET_LAYERS = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
)
_UNET_RESNET = (
    *((official, f"spatial_res_block.{other}") for official, other in _RESNET_LAYERS),
    *((f"time_stack.{official}", f"temporal_res_block.{other}") for official, other in _RESNET_LAYERS),
    ("time_mixer", "time_mixer"),
)
_UNET_TRANSFORMER = (
    *((name, name) for name in ("norm", "proj_in", "proj_out", "transformer_blocks", "time_mixer")),
    ("time_stack", "temporal_transformer_blocks"),
    ("time_pos_embed.0", "time_pos_embed.linear_1"),
    ("time_pos_embed.2", "time_pos_embed.linear_2"),
)


def unet_map(attention_levels: tuple[bool, ...], num_res_blocks: int) -> NameMap:
    """Official <-> diffusers names of the UNet, without prefixes."""
    levels = range(len(attention_levels))
    pairs = [*_UNET_ENDS, *_pair_layers("middle_block.0", "mid_block.resnets.0", _UNET_RESNET)]
    pairs += _pair_layers("middle_block.1", "mid_block.attentions.0", _UNET_TRANSFORMER)
    pairs += _pair_layers("middle_block.2", "mid_block.resnets.1", _UNET_RESNET)
    for level in levels:
        pairs += _unet_down(level, num_res_blocks)
        pairs += _unet_up(level, num_res_blocks, attention_levels[levels[-1] - level])
    return NameMap(tuple(pairs))


def unet_map_of(config: UNetConfig) -> NameMap:
    return unet_map(config.attention_levels, config.num_res_blocks)


def unet_map_for_names(names: Collection[str]) -> NameMap:
    """The map for a set of diffusers UNet names."""
    attending = {name.split(".")[1] for name in names if name.startswith("down_blocks.") and ".attentions." in name}
    attends = tuple(str(level) in attending for level in range(count_numbered(names, "down_blocks.")))
    return unet_map(attends, count_numbered(names, "down_blocks.0.resnets."))


def unet_map_for_official_names(names: Collection[str]) -> NameMap:
    """The map for a set of official UNet names."""
    count = count_numbered(
        names, "input_blocks."
    )  # the first convolution, the blocks, a downsampler between two levels
    levels = 1 + sum(f"input_blocks.{index}.0.op.weight" in names for index in range(count))
    blocks = count // levels - 1
    attends = tuple(f"input_blocks.{1 + level * (blocks + 1)}.1.norm.weight" in names for level in range(levels))
    return unet_map(attends, blocks)


def _unet_down(level: int, blocks: int) -> Pairs:
    first = 1 + level * (blocks + 1)
    for block in range(blocks):
        official = f"input_blocks.{first + block}"
        yield from _pair_layers(f"{official}.0", f"down_blocks.{level}.resnets.{block}", _UNET_RESNET)
        yield from _pair_layers(f"{official}.1", f"down_blocks.{level}.attentions.{block}", _UNET_TRANSFORMER)
    yield f"input_blocks.{first + blocks}.0.op", f"down_blocks.{level}.downsamplers.0.conv"


def _unet_up(position: int, blocks: int, attends: bool) -> Pairs:
    """`position` counts upwards from the coarsest level, as both layouts do."""
    first = position * (blocks + 1)
    for block in range(blocks + 1):
        official = f"output_blocks.{first + block}"
        yield from _pair_layers(f"{official}.0", f"up_blocks.{position}.resnets.{block}", _UNET_RESNET)
        if attends:
            yield from _pair_layers(f"{official}.1", f"up_blocks.{position}.attentions.{block}", _UNET_TRANSFORMER)
    upsample = f"output_blocks.{first + blocks}.{2 if attends else 1}.conv"
    yield upsample, f"up_blocks.{position}.upsamplers.0.conv"


# --- autoencoder -------------------------------------------------------------------------------------------------

_VAE_PLAIN_RESNET = (
    *((name, name) for name in ("norm1", "conv1", "norm2", "conv2")),
    ("nin_shortcut", "conv_shortcut"),
)
_VAE_TEMPORAL_RESNET = (
    *((official, f"spatial_res_block.{other}") for official, other in _VAE_PLAIN_RESNET),
    *((f"time_stack.{official}", f"temporal_res_block.{other}") for official, other in _RESNET_LAYERS),
    ("mix_factor", "time_mixer.mix_factor"),
)
_VAE_ATTENTION = (
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)
_VAE_ENDS = (
    *((name, name) for name in ("encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out")),
    ("encoder.norm_out", "encoder.conv_norm_out"),
    ("decoder.norm_out", "decoder.conv_norm_out"),
    ("decoder.conv_out.time_mix_conv", "decoder.time_conv_out"),
    ("quant_conv", "quant_conv"),
    ("post_quant_conv", "post_quant_conv"),
)


def vae_map(num_levels: int, num_res_blocks: int, temporal: bool) -> NameMap:
    """Official <-> diffusers names of the autoencoder, without prefixes, quant_conv included."""
    decoder_resnet = _VAE_TEMPORAL_RESNET if temporal else _VAE_PLAIN_RESNET
    pairs = [*_VAE_ENDS]
    pairs += _vae_half("encoder", "down", "downsample", range(num_levels), num_res_blocks, _VAE_PLAIN_RESNET)
    pairs += _vae_half("decoder", "up", "upsample", range(num_levels)[::-1], num_res_blocks + 1, decoder_resnet)
    return NameMap(tuple(pairs))


def vae_map_for_names(names: Collection[str]) -> NameMap:
    """The map for a set of diffusers autoencoder names."""
    temporal = any(".temporal_res_block." in name for name in names)
    return vae_map(
        count_numbered(names, "encoder.down_blocks."), count_numbered(names, "encoder.down_blocks.0.resnets."), temporal
    )


def _vae_half(
    half: str, way: str, resample: str, levels: range, blocks: int, resnet: Collection[tuple[str, str]]
) -> Pairs:
    """`levels`: the official level number of each diffusers block; diffusers counts in the order of computation."""
    for block in (1, 2):
        yield from _pair_layers(f"{half}.mid.block_{block}", f"{half}.mid_block.resnets.{block - 1}", resnet)
    yield from _pair_layers(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", _VAE_ATTENTION)
    for position, level in enumerate(levels):
        official, other = f"{half}.{way}.{level}", f"{half}.{way}_blocks.{position}"
        for block in range(blocks):
            yield from _pair_layers(f"{official}.block.{block}", f"{other}.resnets.{block}", resnet)
        yield f"{official}.{resample}", f"{other}.{resample}rs.0"


# --- image encoder -----------------------------------------------------------------------------------------------

_CLIP_ENDS = (
    ("class_embedding", "vision_model.embeddings.class_embedding"),
    ("conv1", "vision_model.embeddings.patch_embedding"),
    ("positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("ln_pre", "vision_model.pre_layrnorm"),
    ("ln_post", "vision_model.post_layernorm"),
    ("proj", "visual_projection.weight"),
)
_CLIP_LAYER = (
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
    ("attn.out_proj", "self_attn.out_proj"),
)


def clip_map(num_layers: int) -> NameMap:
    """open_clip <-> transformers names of the image encoder; the joint `attn.in_proj` has no single counterpart."""
    pairs = [*_CLIP_ENDS]
    for layer in range(num_layers):
        pairs += _pair_layers(f"transformer.resblocks.{layer}", f"vision_model.encoder.layers.{layer}", _CLIP_LAYER)
    return NameMap(tuple(pairs))


def clip_map_for_names(names: Collection[str]) -> NameMap:
    """The map for a set of open_clip names."""
    return clip_map(count_numbered(names, "transformer.resblocks."))


# --- helpers -----------------------------------------------------------------------------------------------------


def _pair_layers(official: str, other: str, layers: Collection[tuple[str, str]]) -> Pairs:
    for a, b in layers:
        yield f"{official}.{a}", f"{other}.{b}"


def count_numbered(names: Collection[str], prefix: str) -> int:
    """Number of children that are numbered after the prefix, MAX_COUNT + 1 for any more."""
    found = {name[len(prefix) :].partition(".")[0] for name in names if name.startswith(prefix)}
    return min(len(found), MAX_COUNT + 1)
