"""The names and shapes a configuration asks for.

Written down apart from the modules, so that a file can be checked from its header before anything is built, and
so that a checkpoint of any size can be made. `tests/data/svd_single_keys.json` is the released model's list.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

UNET_PREFIX = "model.diffusion_model."
FIRST_STAGE_PREFIX = "first_stage_model."
ENCODER_PREFIX = "conditioner.embedders.3.encoder."  # a complete image autoencoder; its encoder is the one to use
OPEN_CLIP_PREFIX = "conditioner.embedders.0.open_clip.model."
CLIP_PREFIX = OPEN_CLIP_PREFIX + "visual."


# --- modules: names as `state_dict()` of our networks has them ---------------------------------------------------


def unet_shapes(config: UNetConfig) -> dict[str, Shape]:
    """The UNet's parameters (official names, after `model.diffusion_model.`)."""
    return dict(_unet(config))


def vae_shapes(config: AutoencoderConfig) -> dict[str, Shape]:
    """The autoencoder's parameters. The encoder yields the moments directly, so there is no quant_conv."""
    latent = config.latent_channels
    shapes = dict(_encoder(config))
    if not config.temporal_decoder:
        shapes |= dict(_conv("post_quant_conv", latent, latent, 1))
    return shapes | dict(_decoder(config))


def clip_shapes(config: ClipVisionConfig) -> dict[str, Shape]:
    """The image tower's parameters (transformers names)."""
    return dict(_clip(config))


# --- files: names as the official single files have them ---------------------------------------------------------


def inventory(config: ModelConfig, vocabulary: int = 49408) -> dict[str, Shape]:
    """Names and shapes of an official single file with this configuration.

    The text leftovers beside the image tower (`vocabulary` tokens) and the second autoencoder are part of it.
    """
    shapes: dict[str, Shape] = {}
    if config.unet:
        shapes |= _prefixed(UNET_PREFIX, _unet(config.unet))
    if config.vae:
        first_stage = _with_quant(config.vae) if not config.vae.temporal_decoder else vae_shapes(config.vae).items()
        shapes |= _prefixed(FIRST_STAGE_PREFIX, iter(first_stage))
        shapes |= _prefixed(ENCODER_PREFIX, _with_quant(config.vae))
    if config.clip:
        shapes |= _prefixed(CLIP_PREFIX, _open_clip(config.clip))
        shapes |= _prefixed(OPEN_CLIP_PREFIX, _text_leftovers(config.clip.projection_dim, vocabulary))
    return shapes


def _prefixed(prefix: str, named: Named) -> dict[str, Shape]:
    return {prefix + name: shape for name, shape in named}


def _with_quant(config: AutoencoderConfig) -> Named:
    """The plain image autoencoder as it was published, 1x1 convolutions around the latent included."""
    latent = config.latent_channels
    yield from _encoder(config)
    yield from _conv("quant_conv", 2 * latent, 2 * latent, 1)
    yield from _conv("post_quant_conv", latent, latent, 1)
    yield from _decoder(config, temporal=False)


# --- layers ------------------------------------------------------------------------------------------------------


def _affine(name: str, weight: Shape, bias: bool = True) -> Named:
    yield f"{name}.weight", weight
    if bias:
        yield f"{name}.bias", weight[:1]


def _norm(name: str, channels: int) -> Named:
    return _affine(name, (channels,))


def _linear(name: str, c_in: int, c_out: int, bias: bool = True) -> Named:
    return _affine(name, (c_out, c_in), bias)


def _conv(name: str, c_in: int, c_out: int, kernel: int = 3) -> Named:
    return _affine(name, (c_out, c_in, kernel, kernel))


def _temporal_conv(name: str, c_in: int, c_out: int) -> Named:
    return _affine(name, (c_out, c_in, 3, 1, 1))


# --- UNet --------------------------------------------------------------------------------------------------------


def _unet(c: UNetConfig) -> Named:
    emb = c.time_embed_dim
    for name, width in (("time_embed", c.model_channels), ("label_emb.0", c.adm_in_channels)):
        yield from _linear(f"{name}.0", width, emb)
        yield from _linear(f"{name}.2", emb, emb)
    yield from _conv("input_blocks.0.0", c.in_channels, c.model_channels)
    yield from _unet_down(c)
    width = c.widths[-1]
    yield from _unet_resnet("middle_block.0", width, width, emb)
    yield from _unet_transformer("middle_block.1", width, c)
    yield from _unet_resnet("middle_block.2", width, width, emb)
    yield from _unet_up(c)
    yield from _norm("out.0", c.model_channels)
    yield from _conv("out.2", c.model_channels, c.out_channels)


def _unet_down(c: UNetConfig) -> Named:
    channels, index = c.model_channels, 1
    for level, (width, attends) in enumerate(zip(c.widths, c.attention_levels, strict=True)):
        for _ in range(c.num_res_blocks):
            yield from _unet_resnet(f"input_blocks.{index}.0", channels, width, c.time_embed_dim)
            if attends:
                yield from _unet_transformer(f"input_blocks.{index}.1", width, c)
            channels, index = width, index + 1
        if level < len(c.widths) - 1:
            yield from _conv(f"input_blocks.{index}.0.op", width, width)
            index += 1


def _unet_up(c: UNetConfig) -> Named:
    skips, channels, index = _skip_widths(c), c.widths[-1], 0
    for level in reversed(range(len(c.widths))):
        width, attends = c.widths[level], c.attention_levels[level]
        for position in range(c.num_res_blocks + 1):
            yield from _unet_resnet(f"output_blocks.{index}.0", channels + skips.pop(), width, c.time_embed_dim)
            if attends:
                yield from _unet_transformer(f"output_blocks.{index}.1", width, c)
            if level > 0 and position == c.num_res_blocks:
                yield from _conv(f"output_blocks.{index}.{2 if attends else 1}.conv", width, width)
            channels, index = width, index + 1


def _skip_widths(c: UNetConfig) -> list[int]:
    """Channels each input block hands to its counterpart, in the order they are made."""
    skips = [c.model_channels]
    for level, width in enumerate(c.widths):
        downsample = level < len(c.widths) - 1
        skips += [width] * (c.num_res_blocks + downsample)
    return skips


def _unet_resnet(name: str, c_in: int, c_out: int, emb: int) -> Named:
    yield from _norm(f"{name}.in_layers.0", c_in)
    yield from _conv(f"{name}.in_layers.2", c_in, c_out)
    yield from _linear(f"{name}.emb_layers.1", emb, c_out)
    yield from _norm(f"{name}.out_layers.0", c_out)
    yield from _conv(f"{name}.out_layers.3", c_out, c_out)
    if c_in != c_out:
        yield from _conv(f"{name}.skip_connection", c_in, c_out, 1)
    yield from _temporal_resnet(f"{name}.time_stack", c_out)
    yield from _linear(f"{name}.time_stack.emb_layers.1", emb, c_out)
    yield f"{name}.time_mixer.mix_factor", (1,)


def _temporal_resnet(name: str, channels: int) -> Named:
    yield from _norm(f"{name}.in_layers.0", channels)
    yield from _temporal_conv(f"{name}.in_layers.2", channels, channels)
    yield from _norm(f"{name}.out_layers.0", channels)
    yield from _temporal_conv(f"{name}.out_layers.3", channels, channels)


def _unet_transformer(name: str, channels: int, c: UNetConfig) -> Named:
    yield from _norm(f"{name}.norm", channels)
    yield from _linear(f"{name}.proj_in", channels, channels)
    for depth in range(c.transformer_depth):
        yield from _transformer_block(f"{name}.transformer_blocks.{depth}", channels, c.context_dim)
        temporal = f"{name}.time_stack.{depth}"
        yield from _norm(f"{temporal}.norm_in", channels)
        yield from _feed_forward(f"{temporal}.ff_in", channels)
        yield from _transformer_block(temporal, channels, c.context_dim)
    yield from _linear(f"{name}.time_pos_embed.0", channels, 4 * channels)
    yield from _linear(f"{name}.time_pos_embed.2", 4 * channels, channels)
    if c.num_positions:
        yield f"{name}.time_positions.table.weight", (c.num_positions, channels)
        yield from _affine(f"{name}.time_positions.conv", (channels, channels, 3, 3, 3))
    yield f"{name}.time_mixer.mix_factor", (1,)
    yield from _linear(f"{name}.proj_out", channels, channels)


def _transformer_block(name: str, channels: int, context_dim: int) -> Named:
    for norm in ("norm1", "norm2", "norm3"):
        yield from _norm(f"{name}.{norm}", channels)
    for attention, width in (("attn1", channels), ("attn2", context_dim)):
        yield from _linear(f"{name}.{attention}.to_q", channels, channels, bias=False)
        yield from _linear(f"{name}.{attention}.to_k", width, channels, bias=False)
        yield from _linear(f"{name}.{attention}.to_v", width, channels, bias=False)
        yield from _linear(f"{name}.{attention}.to_out.0", channels, channels)
    yield from _feed_forward(f"{name}.ff", channels)


def _feed_forward(name: str, channels: int) -> Named:
    yield from _linear(f"{name}.net.0.proj", channels, 8 * channels)  # value and gate
    yield from _linear(f"{name}.net.2", 4 * channels, channels)


# --- autoencoder -------------------------------------------------------------------------------------------------


def _encoder(c: AutoencoderConfig) -> Named:
    yield from _conv("encoder.conv_in", c.image_channels, c.channels)
    channels = c.channels
    for level, width in enumerate(c.widths):
        for block in range(c.num_res_blocks):
            yield from _vae_resnet(f"encoder.down.{level}.block.{block}", channels, width, temporal=False)
            channels = width
        if level < len(c.widths) - 1:
            yield from _conv(f"encoder.down.{level}.downsample.conv", width, width)
    yield from _vae_middle("encoder.mid", channels, temporal=False)
    yield from _norm("encoder.norm_out", channels)
    yield from _conv("encoder.conv_out", channels, 2 * c.latent_channels)


def _decoder(c: AutoencoderConfig, temporal: bool | None = None) -> Named:
    temporal = c.temporal_decoder if temporal is None else temporal
    channels = c.widths[-1]
    yield from _conv("decoder.conv_in", c.latent_channels, channels)
    yield from _vae_middle("decoder.mid", channels, temporal)
    for level in reversed(range(len(c.widths))):
        for block in range(c.num_res_blocks + 1):
            yield from _vae_resnet(f"decoder.up.{level}.block.{block}", channels, c.widths[level], temporal)
            channels = c.widths[level]
        if level > 0:
            yield from _conv(f"decoder.up.{level}.upsample.conv", channels, channels)
    yield from _norm("decoder.norm_out", channels)
    yield from _conv("decoder.conv_out", channels, c.image_channels)
    if temporal:
        yield from _temporal_conv("decoder.conv_out.time_mix_conv", c.image_channels, c.image_channels)


def _vae_middle(name: str, channels: int, temporal: bool) -> Named:
    yield from _vae_resnet(f"{name}.block_1", channels, channels, temporal)
    yield from _norm(f"{name}.attn_1.norm", channels)
    for projection in ("q", "k", "v", "proj_out"):
        yield from _conv(f"{name}.attn_1.{projection}", channels, channels, 1)
    yield from _vae_resnet(f"{name}.block_2", channels, channels, temporal)


def _vae_resnet(name: str, c_in: int, c_out: int, temporal: bool) -> Named:
    yield from _norm(f"{name}.norm1", c_in)
    yield from _conv(f"{name}.conv1", c_in, c_out)
    yield from _norm(f"{name}.norm2", c_out)
    yield from _conv(f"{name}.conv2", c_out, c_out)
    if c_in != c_out:
        yield from _conv(f"{name}.nin_shortcut", c_in, c_out, 1)
    if temporal:
        yield from _temporal_resnet(f"{name}.time_stack", c_out)
        yield f"{name}.mix_factor", (1,)


# --- image tower -------------------------------------------------------------------------------------------------


def _num_tokens(c: ClipVisionConfig) -> int:
    return (c.image_size // c.patch_size) ** 2 + 1


def _clip(c: ClipVisionConfig) -> Named:
    embeddings = "vision_model.embeddings"
    yield f"{embeddings}.class_embedding", (c.width,)
    yield f"{embeddings}.patch_embedding.weight", (c.width, 3, c.patch_size, c.patch_size)
    yield f"{embeddings}.position_embedding.weight", (_num_tokens(c), c.width)
    yield from _norm("vision_model.pre_layrnorm", c.width)
    for index in range(c.num_layers):
        layer = f"vision_model.encoder.layers.{index}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{projection}", c.width, c.width)
        yield from _norm(f"{layer}.layer_norm1", c.width)
        yield from _norm(f"{layer}.layer_norm2", c.width)
        yield from _linear(f"{layer}.mlp.fc1", c.width, c.mlp_width)
        yield from _linear(f"{layer}.mlp.fc2", c.mlp_width, c.width)
    yield from _norm("vision_model.post_layernorm", c.width)
    yield "visual_projection.weight", (c.projection_dim, c.width)


def _open_clip(c: ClipVisionConfig) -> Named:
    yield "class_embedding", (c.width,)
    yield "conv1.weight", (c.width, 3, c.patch_size, c.patch_size)
    yield "positional_embedding", (_num_tokens(c), c.width)
    yield from _norm("ln_pre", c.width)
    for index in range(c.num_layers):
        block = f"transformer.resblocks.{index}"
        yield f"{block}.attn.in_proj_weight", (3 * c.width, c.width)
        yield f"{block}.attn.in_proj_bias", (3 * c.width,)
        yield from _linear(f"{block}.attn.out_proj", c.width, c.width)
        yield from _norm(f"{block}.ln_1", c.width)
        yield from _norm(f"{block}.ln_2", c.width)
        yield from _linear(f"{block}.mlp.c_fc", c.width, c.mlp_width)
        yield from _linear(f"{block}.mlp.c_proj", c.mlp_width, c.width)
    yield from _norm("ln_post", c.width)
    yield "proj", (c.width, c.projection_dim)


def _text_leftovers(width: int, vocabulary: int) -> Named:
    """What remained of the text tower in the released files; nothing uses it."""
    yield "token_embedding.weight", (vocabulary, width)
    yield "positional_embedding", (77, width)
    yield "text_projection", (width, width)
    yield "logit_scale", ()
    yield from _norm("ln_final", width)
