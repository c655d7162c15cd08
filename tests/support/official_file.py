"""Names and shapes of the official single files, for any configuration. `svd_single_keys.json` is the released list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from svd_core.checkpoints import clip_shapes, unet_shapes, vae_shapes
from svd_core.checkpoints.inventory import (
    CLIP_PREFIX,
    ENCODER_PREFIX,
    FIRST_STAGE_PREFIX,
    OPEN_CLIP_PREFIX,
    UNET_PREFIX,
    Shape,
)
from svd_core.checkpoints.names import clip_map
from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig


def inventory(config: ModelConfig, vocabulary: int = 49408) -> dict[str, Shape]:
    """Names and shapes of an official single file with this configuration.

    The text leftovers beside the image tower (`vocabulary` tokens) and the second autoencoder are part of it.
    """
    shapes: dict[str, Shape] = {}
    if config.unet:
        shapes |= _prefixed(UNET_PREFIX, unet_shapes(config.unet))
    if config.vae:
        plain = _with_quant(config.vae)
        shapes |= _prefixed(FIRST_STAGE_PREFIX, vae_shapes(config.vae) if config.vae.temporal_decoder else plain)
        shapes |= _prefixed(ENCODER_PREFIX, plain)
    if config.clip:
        shapes |= _prefixed(CLIP_PREFIX, _open_clip(config.clip))
        shapes |= _prefixed(OPEN_CLIP_PREFIX, _text_leftovers(config.clip.projection_dim, vocabulary))
    return shapes


def _prefixed(prefix: str, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {prefix + name: shape for name, shape in shapes.items()}


def _with_quant(config: AutoencoderConfig) -> dict[str, Shape]:
    """The plain image autoencoder as it was published, 1x1 convolutions around the latent included."""
    moments = 2 * config.latent_channels
    quant = {"quant_conv.weight": (moments, moments, 1, 1), "quant_conv.bias": (moments,)}
    return vae_shapes(replace(config, temporal_decoder=False)) | quant


def _open_clip(config: ClipVisionConfig) -> dict[str, Shape]:
    """Queries, keys and values of a layer are one matrix, and the last projection is transposed."""
    names, shapes = clip_map(config.num_layers), clip_shapes(config)
    official = {names.to_official(name): shape for name, shape in shapes.items() if names.to_official(name)}
    for layer in range(config.num_layers):
        joint = f"transformer.resblocks.{layer}.attn.in_proj"
        official |= {f"{joint}_weight": (3 * config.width, config.width), f"{joint}_bias": (3 * config.width,)}
    return {str(name): shape for name, shape in official.items()} | {"proj": (config.width, config.projection_dim)}


def _text_leftovers(width: int, vocabulary: int) -> dict[str, Shape]:
    """What remained of the text tower in the released files; nothing uses it."""
    return {
        "token_embedding.weight": (vocabulary, width),
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
