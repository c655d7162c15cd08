"""Writes a checkpoint of random weights in one of the layouts SVD checkpoints come in.

    python tests/support/random_checkpoint.py OUT.safetensors [--full-size] [--image-decoder]
        [--layout single|comfy|diffusers]

Small by default, so that a whole run takes seconds on a CPU; --full-size has every tensor of the released files.
The weights mean nothing, but behave: every layer keeps the scale of its input, so fp16 stays finite. The same seed
gives the same model in every layout.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from svd_core.checkpoints.convert.diffusers_json import (
    MODEL_INDEX,
    SCHEDULER,
    clip_json,
    preprocessor_json,
    unet_json,
    vae_json,
)
from svd_core.checkpoints.extension import extension_names
from svd_core.checkpoints.inventory import (
    CLIP_PREFIX,
    ENCODER_PREFIX,
    FIRST_STAGE_PREFIX,
    UNET_PREFIX,
    Shape,
    clip_shapes,
    unet_shapes,
    vae_shapes,
)
from svd_core.checkpoints.names import clip_map, unet_map, vae_map
from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from tests.support.official_file import inventory
from tests.support.safetensors_files import Recipe, write_safetensors

LAYOUTS = ("single", "comfy", "diffusers")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SMALL_VOCABULARY = 64  # of the text leftovers, which nothing reads


def small_config(image_decoder: bool = False) -> ModelConfig:
    """The released topology at toy widths, all multiples of diffusers' fixed 32 norm groups."""
    return ModelConfig(
        UNetConfig(model_channels=32, channel_mult=(1, 2, 2, 2), num_res_blocks=2, context_dim=32, head_dim=16),
        AutoencoderConfig(channels=32, channel_mult=(1, 2, 2, 2), temporal_decoder=not image_decoder),
        ClipVisionConfig(width=64, num_layers=2, num_heads=4, mlp_width=128, projection_dim=32),
    )


def tiny_config(image_decoder: bool = False) -> ModelConfig:
    """Two levels, one UNet block each: the least that has every kind of layer. Takes pictures in multiples of 4.

    The autoencoder keeps two blocks per level, as diffusers ties the size of its middle block to that number.
    """
    return ModelConfig(
        UNetConfig(
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_levels=(True, False),
            context_dim=32,
            head_dim=16,
        ),
        AutoencoderConfig(channels=32, channel_mult=(1, 2), temporal_decoder=not image_decoder),
        ClipVisionConfig(width=32, num_layers=1, num_heads=2, mlp_width=64, image_size=56, projection_dim=32),
    )


def write_checkpoint(
    path: str | Path,
    config: ModelConfig | None = None,
    *,
    layout: str = "single",
    dtype: torch.dtype = torch.float16,
    seed: int = 0,
    vocabulary: int = SMALL_VOCABULARY,
    identity_quant_conv: bool = False,
) -> Path:
    """Writes one file (layouts single and comfy) or a folder (diffusers), and returns its path.

    identity_quant_conv: as in a file whose two encoder copies are equal tensor by tensor; otherwise they are equal
    only after quant_conv, which is what the loader has to find out.
    """
    path, config = Path(path), config or small_config()
    weights = _Weights(config, seed, dtype, identity_quant_conv)
    if layout == "diffusers":
        _write_folder(path, config, weights)
        return path
    recipes = weights.single(vocabulary) if layout == "single" else weights.comfy()
    write_safetensors(path, recipes, dtype, {"svd_config": json.dumps(hidden_settings(config))})
    return path


def write_extension(
    path: str | Path, config: UNetConfig, num_positions: int = 128, dtype: torch.dtype = torch.float16, seed: int = 1
) -> Path:
    """Writes a file that extends a UNet of this configuration as ExVideo does, and returns its path."""
    path, config = Path(path), replace(config, num_positions=num_positions)
    shapes = unet_shapes(config)
    recipes: dict[str, Recipe] = {
        theirs: (shapes[ours], lambda ours=ours: random_weight(ours, shapes[ours], seed))
        for theirs, ours in extension_names(config).items()
    }
    write_safetensors(path, recipes, dtype, {})
    return path


def hidden_settings(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Settings that shapes cannot show, for the file's metadata."""
    settings: dict[str, dict[str, Any]] = {}
    if config.unet:
        settings["unet"] = {"head_dim": config.unet.head_dim, "norm_groups": config.unet.norm_groups}
    if config.vae:
        settings["vae"] = {"norm_groups": config.vae.norm_groups}
    if config.clip:
        settings["clip"] = {"num_heads": config.clip.num_heads}
    return settings


# --- weights -----------------------------------------------------------------------------------------------------


def random_weight(name: str, shape: Shape, seed: int) -> Tensor:
    """A float32 tensor that depends on its name, shape and the seed only."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))
    noise = torch.randn(shape, generator=generator)
    if name.endswith(("mix_factor", "class_embedding", "position_embedding.weight")):
        return 0.5 * noise
    if name.endswith("bias"):
        return 0.05 * noise
    if len(shape) < 2:
        return 1 + 0.05 * noise
    return noise / math.sqrt(math.prod(shape[1:]))


class _Weights:
    """Recipes for the tensors of each layout: shapes now, weights when they are written."""

    def __init__(self, config: ModelConfig, seed: int, dtype: torch.dtype, identity_quant_conv: bool) -> None:
        self.config, self.seed, self.dtype, self.identity = config, seed, dtype, identity_quant_conv
        self.clip_names = clip_map(config.clip.num_layers if config.clip else 0)

    def single(self, vocabulary: int) -> dict[str, Recipe]:
        """The official single file, text leftovers and second autoencoder included."""
        shapes = inventory(self.config, vocabulary)
        return {
            name: (shape, lambda name=name, shape=shape: self._official(name, shape)) for name, shape in shapes.items()
        }

    def comfy(self) -> dict[str, Recipe]:
        """The layout the host saves: one encoder, the image tower under transformers names."""
        recipes = self._prefixed(UNET_PREFIX, self.unet()) | self._prefixed(CLIP_PREFIX, self.clip())
        official = self.single(SMALL_VOCABULARY)
        return recipes | {name: recipe for name, recipe in official.items() if name.startswith(FIRST_STAGE_PREFIX)}

    def unet(self) -> dict[str, Recipe]:
        return self._own(unet_shapes(self.config.unet)) if self.config.unet else {}

    def clip(self) -> dict[str, Recipe]:
        return self._own(clip_shapes(self.config.clip)) if self.config.clip else {}

    def vae(self) -> dict[str, Recipe]:
        """The autoencoder with its quant_conv apart."""
        if not self.config.vae:
            return {}
        n = 2 * self.config.vae.latent_channels
        quant: dict[str, Recipe] = {
            "quant_conv.weight": ((n, n, 1, 1), lambda: self._quant_conv(n)[0]),
            "quant_conv.bias": ((n,), lambda: self._quant_conv(n)[1]),
        }
        return self._own(vae_shapes(self.config.vae)) | quant

    def _own(self, shapes: Mapping[str, Shape]) -> dict[str, Recipe]:
        return {
            name: (shape, lambda name=name, shape=shape: self._random(name, shape)) for name, shape in shapes.items()
        }

    def _prefixed(self, prefix: str, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
        return {prefix + name: recipe for name, recipe in recipes.items()}

    def _random(self, name: str, shape: Shape) -> Tensor:
        return random_weight(name, shape, self.seed)

    def _official(self, name: str, shape: Shape) -> Tensor:
        """One tensor of the single file, equal to what the other layouts make of the same model."""
        if name.startswith(UNET_PREFIX):
            return self._random(name.removeprefix(UNET_PREFIX), shape)
        if name.startswith(CLIP_PREFIX):
            return self._open_clip(name.removeprefix(CLIP_PREFIX), shape)
        if name.startswith(FIRST_STAGE_PREFIX):
            return self._first_stage(name.removeprefix(FIRST_STAGE_PREFIX), shape)
        inner = name.removeprefix(ENCODER_PREFIX)
        if inner.startswith("quant_conv."):
            return self._quant_conv(shape[0])[inner.endswith("bias")]
        return self._random(inner if inner.startswith("encoder.") else name, shape)

    def _first_stage(self, name: str, shape: Shape) -> Tensor:
        if name.startswith("quant_conv."):
            return self._quant_conv(shape[0])[name.endswith("bias")]
        tensor = self._random(name, shape)
        if not name.startswith("encoder.conv_out.") or not (self.config.vae and self.config.vae.temporal_decoder):
            return tensor
        # a temporal file's first stage has no quant_conv: it is merged into the encoder's last convolution
        weight, bias = (part.to(self.dtype).double() for part in self._quant_conv(shape[0]))
        mixed = torch.tensordot(weight[:, :, 0, 0], tensor.to(self.dtype).double(), dims=1)
        return mixed + bias if name.endswith("bias") else mixed

    def _open_clip(self, name: str, shape: Shape) -> Tensor:
        if ".attn.in_proj_" in name:
            block, leaf = name.split(".attn.in_proj_")
            layer = f"vision_model.encoder.layers.{block.rpartition('.')[2]}.self_attn"
            third = (shape[0] // 3, *shape[1:])
            return torch.cat([self._random(f"{layer}.{p}_proj.{leaf}", third) for p in "qkv"])
        other = self.clip_names.to_other(name) or name
        return self._random(other, shape[::-1]).t() if name == "proj" else self._random(other, shape)

    def _quant_conv(self, channels: int) -> tuple[Tensor, Tensor]:
        """A 1x1 convolution that reorders, flips and scales by powers of two, which rounds nothing."""
        if self.identity:
            return torch.eye(channels)[:, :, None, None], torch.zeros(channels)
        signs = torch.tensor([1.0, -1.0, 0.5, -2.0]).repeat(channels)[:channels]
        weight = torch.diag(signs).roll(1, dims=1)
        return weight[:, :, None, None], self._random("quant_conv.bias", (channels,))


# --- diffusers layout --------------------------------------------------------------------------------------------


def _write_folder(path: Path, config: ModelConfig, weights: _Weights) -> None:
    path.mkdir(parents=True, exist_ok=True)
    stem = "diffusion_pytorch_model.safetensors"
    if config.unet:
        names = unet_map(config.unet.attention_levels, config.unet.num_res_blocks)
        recipes = {names.to_other(name) or name: recipe for name, recipe in weights.unet().items()}
        _write_part(path / "unet", stem, recipes, weights.dtype, unet_json(config.unet))
    if config.vae:
        vae = config.vae
        table = vae_map(len(vae.channel_mult), vae.num_res_blocks, vae.temporal_decoder)
        recipes = {table.to_other(name) or name: _as_linear(name, recipe) for name, recipe in weights.vae().items()}
        _write_part(path / "vae", stem, recipes, weights.dtype, vae_json(vae))
    if config.clip:
        _write_part(path / "image_encoder", "model.safetensors", weights.clip(), weights.dtype, clip_json(config.clip))
    _write_json(path / "scheduler" / "scheduler_config.json", SCHEDULER)
    _write_json(path / "feature_extractor" / "preprocessor_config.json", preprocessor_json(config))
    _write_json(path / "model_index.json", MODEL_INDEX)


def _as_linear(name: str, recipe: Recipe) -> Recipe:
    """diffusers keeps the attention's 1x1 convolutions as linears."""
    shape, make = recipe
    if ".attn_1." not in name or len(shape) != 4:
        return recipe
    return shape[:2], lambda: make()[:, :, 0, 0]


def _write_part(folder: Path, file: str, recipes: Mapping[str, Recipe], dtype: torch.dtype, config: Any) -> None:
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / file, recipes, dtype, {"format": "pt"})
    _write_json(folder / "config.json", config)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# --- command line ------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint of random weights.")
    parser.add_argument("out", type=Path, help="the .safetensors file to write; a folder with --layout diffusers")
    parser.add_argument("--full-size", action="store_true", help="the released size: 4.8 GB in fp16")
    parser.add_argument(
        "--image-decoder", action="store_true", help="a plain image decoder instead of the temporal one"
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="single")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp16")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.full_size:
        config = ModelConfig(vae=AutoencoderConfig(temporal_decoder=not options.image_decoder))
    else:
        config = small_config(options.image_decoder)
    write_checkpoint(
        options.out,
        config,
        layout=options.layout,
        dtype=DTYPES[options.dtype],
        seed=options.seed,
        vocabulary=49408 if options.full_size else SMALL_VOCABULARY,
        identity_quant_conv=options.full_size,
    )
    print(options.out)


if __name__ == "__main__":
    main()
