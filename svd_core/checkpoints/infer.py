"""Infer the configuration of each network from the shapes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from ..errors import SVDError
from .inventory import Shape, clip_shapes, unet_shapes, vae_shapes
from .names import MAX_COUNT, count_numbered
from .settings import METADATA_KEY, Settings, apply_settings, count_heads

Shapes = Mapping[str, Shape]

TITLES = {"unet": "UNet", "vae": "VAE", "clip": "CLIP image encoder"}


def infer_unet(name: str, shapes: Shapes, settings: Settings) -> UNetConfig:
    """The UNet's configuration. Raises SVDError for the shapes of another network."""
    with _ShapeReader(name, "unet", shapes) as s:
        channels, in_channels = s["input_blocks.0.0.weight"][:2]
        levels = _read_levels(s)
        depth = s.count("middle_block.1.transformer_blocks.")
        if depth * sum(blocks for _, _, blocks in levels) > len(shapes):
            raise s.reject(f"it has {len(shapes)} tensors, too few for transformers of {depth} blocks")
        config = UNetConfig(
            in_channels=in_channels,
            out_channels=s["out.2.weight"][0],
            model_channels=channels,
            channel_mult=s.divide_widths([width for width, _, _ in levels], channels),
            num_res_blocks=s.single_count([blocks for _, _, blocks in levels]),
            attention_levels=tuple(attends for _, attends, _ in levels),
            transformer_depth=depth,
            context_dim=s["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
            adm_in_channels=s["label_emb.0.0.weight"][1],
            num_positions=s.shapes.get("middle_block.1.time_positions.table.weight", (0,))[0],
        )
    config = apply_settings(name, "unet", config, settings)
    attended = [width for width, attends in zip(config.widths, config.attention_levels, strict=True) if attends]
    _check_divides(name, "unet", "norm_groups", config.norm_groups, config.widths)
    _check_divides(name, "unet", "head_dim", config.head_dim, [*attended, config.widths[-1]])
    _check_complete(name, "unet", config, shapes)
    return config


def infer_vae(name: str, shapes: Shapes, settings: Settings) -> AutoencoderConfig:
    """The autoencoder's configuration. Raises SVDError for the shapes of another network."""
    with _ShapeReader(name, "vae", shapes) as s:
        channels, image_channels = s["encoder.conv_in.weight"][:2]
        levels = range(s.count("encoder.down."))
        widths = [s[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels]
        config = AutoencoderConfig(
            image_channels=image_channels,
            latent_channels=s["decoder.conv_in.weight"][1],
            channels=channels,
            channel_mult=s.divide_widths(widths, channels),
            num_res_blocks=s.single_count([s.count(f"encoder.down.{level}.block.") for level in levels]),
            temporal_decoder="decoder.mid.block_1.mix_factor" in shapes,
        )
    config = apply_settings(name, "vae", config, settings)
    _check_divides(name, "vae", "norm_groups", config.norm_groups, config.widths)
    _check_complete(name, "vae", config, shapes)
    return config


def infer_clip(name: str, shapes: Shapes, settings: Settings) -> ClipVisionConfig:
    """The image encoder's configuration. Raises SVDError for the shapes of another network."""
    with _ShapeReader(name, "clip", shapes) as s:
        width, _, patch, _ = s["vision_model.embeddings.patch_embedding.weight"]
        patches = s["vision_model.embeddings.position_embedding.weight"][0] - 1
        config = ClipVisionConfig(
            width=width,
            num_layers=s.count("vision_model.encoder.layers."),
            num_heads=count_heads(width),
            mlp_width=s["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
            patch_size=patch,
            image_size=math.isqrt(max(patches, 0)) * patch,
            projection_dim=s["visual_projection.weight"][0],
        )
    config = apply_settings(name, "clip", config, settings)
    _check_divides(name, "clip", "num_heads", config.num_heads, [config.width])
    _check_complete(name, "clip", config, shapes)
    return config


_SHAPES: dict[str, Callable[[Any], dict[str, Shape]]] = {"unet": unet_shapes, "vae": vae_shapes, "clip": clip_shapes}


def _check_complete(name: str, part: str, config: Any, shapes: Shapes) -> None:
    """`check_complete` for a configuration, which may be of a size that torch cannot count."""
    try:
        wanted = _SHAPES[part](config)
    except (RuntimeError, OverflowError):
        raise _ShapeReader(name, part, shapes).reject("its sizes are out of bounds") from None
    check_complete(name, part, wanted, shapes)


INFER: dict[str, Callable[[str, Shapes, Settings], Any]] = {"unet": infer_unet, "vae": infer_vae, "clip": infer_clip}


def check_complete(name: str, part: str, wanted: Shapes, found: Shapes) -> None:
    """Raises SVDError unless both hold the same names and shapes."""
    title = TITLES[part]
    missing = [key for key in wanted if key not in found]
    if missing:
        count = f"{len(missing)} of its {len(wanted)} tensors"
        raise SVDError(
            f"The {title} of {name} lacks {count} (such as {missing[0]}): download the file again or pick another."
        )
    extra = [key for key in found if key not in wanted]
    if extra:
        count = f"{len(extra)} tensors unknown to Stable Video Diffusion"
        raise SVDError(
            f"The {title} of {name} has {count} (such as {extra[0]}), so it is another model: pick an SVD checkpoint."
        )
    for key, shape in wanted.items():
        if tuple(found[key]) != tuple(shape):
            shapes = f"shape {list(found[key])} where {list(shape)} is expected"
            raise SVDError(f"The {title} of {name} has {key} of {shapes}: pick another file.")


def _check_divides(name: str, part: str, key: str, value: int, widths: Collection[int]) -> None:
    for width in widths:
        if width % value:
            raise SVDError(
                f"The {TITLES[part]} of {name} has {width} channels, which {key} = {value} does not divide: "
                f"a model of this size must state {key} in its {METADATA_KEY} metadata."
            )


# --- reading shapes ----------------------------------------------------------------------------------------------


class _ShapeReader:
    """Shapes by name; inside its `with` block a missing name or an odd shape raises one SVDError sentence."""

    def __init__(self, name: str, part: str, shapes: Shapes) -> None:
        self.name, self.part, self.shapes = name, part, shapes

    def __enter__(self) -> _ShapeReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (IndexError, ValueError, ZeroDivisionError)) and not isinstance(error, SVDError):
            raise self.reject(f"its shapes do not fit ({error})") from None

    def __getitem__(self, key: str) -> Shape:
        if key not in self.shapes:
            raise self.reject(f"{key} is missing")
        if 0 in self.shapes[key]:
            raise self.reject(f"{key} is empty")
        return self.shapes[key]

    def count(self, prefix: str) -> int:
        """The parts numbered after a prefix. The whole network is built to compare it, so absurd numbers end here."""
        count = count_numbered(self.shapes, prefix)
        if count > MAX_COUNT:
            raise self.reject(f"it has more than {MAX_COUNT} parts called {prefix}N")
        return count

    def divide_widths(self, widths: list[int], channels: int) -> tuple[int, ...]:
        if any(width % channels for width in widths):
            raise self.reject(f"its widths {widths} are not multiples of {channels}")
        return tuple(width // channels for width in widths)

    def single_count(self, counts: list[int]) -> int:
        if len(set(counts)) != 1 or counts[0] < 1:
            raise self.reject(f"its levels have {counts} blocks, not the same number each")
        return counts[0]

    def reject(self, why: str) -> SVDError:
        return SVDError(
            f"The {TITLES[self.part]} of {self.name} is incomplete or belongs to another model ({why}): "
            f"download the file again or pick another."
        )


def _read_levels(s: _ShapeReader) -> list[tuple[int, bool, int]]:
    """(width, attends, number of blocks) of each level, finest first."""
    levels: list[tuple[int, bool, int]] = []
    width, attends, blocks = 0, False, 0
    for index in range(1, s.count("input_blocks.")):
        if f"input_blocks.{index}.0.op.weight" in s.shapes:
            levels.append((width, attends, blocks))
            blocks = 0
            continue
        width = s[f"input_blocks.{index}.0.in_layers.2.weight"][0]
        attends = f"input_blocks.{index}.1.norm.weight" in s.shapes
        blocks += 1
    return [*levels, (width, attends, blocks)]
