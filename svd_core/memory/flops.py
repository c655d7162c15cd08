"""How many floating-point operations each network takes, from shapes alone; a multiplication and an addition are two.

A matrix or a convolution takes twice its size at every position it is applied to; attention adds its scores and the sum
of the values. Left out are norms, embeddings, and what is constant over positions, as the attention over one token is.
"""

from __future__ import annotations

import math
import re

from ..checkpoints.inventory import clip_shapes, unet_shapes, vae_shapes
from ..config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from ..diffusion.step_cache import OUTER_BLOCKS
from ..models.layers import WORTH_FOUR_PHASES

_CONSTANT = re.compile(r"(^|\.)(time_embed|label_emb|emb_layers|time_pos_embed|attn2|time_positions\.table)\.")
_NUMBERED = re.compile(r"(input|output)_blocks\.(\d+)\.")
_UPSAMPLE = re.compile(r"output_blocks\.\d+\.\d\.conv\.weight")


def unet_flops(config: UNetConfig, height: int, width: int, num_frames: int, outer_only: bool = False) -> int:
    """One evaluation for one guidance branch. height, width: of the latent. outer_only: with recalled deep features."""
    total = 0
    for name, shape in unet_shapes(config).items():
        if len(shape) < 2 or _CONSTANT.search(name) or (outer_only and _is_deep(config, name)):
            continue
        level = _unet_level(config, name)
        area = -(-height // 2**level) * -(-width // 2**level)
        total += 2 * _weights(shape, _UPSAMPLE.fullmatch(name) is not None, num_frames * area) * num_frames * area
        if name.endswith(".attn1.to_q.weight"):
            tokens, sequences = (num_frames, area) if ".time_stack." in name else (area, num_frames)
            total += _scores(shape[0], tokens) * sequences
    return total


def decode_flops(config: AutoencoderConfig, height: int, width: int, num_frames: int) -> int:
    """The decode of a clip. height, width: of the latent."""
    coarsest, area = len(config.channel_mult) - 1, height * width
    total = num_frames * _scores(config.widths[-1], area)
    for name, shape in vae_shapes(config).items():
        if name.startswith(("decoder.", "post_quant_conv.")) and len(shape) > 1:
            doubles = name.endswith(".upsample.conv.weight")
            positions = num_frames * area * 4 ** (coarsest - _vae_level(name, coarsest) + doubles)
            total += 2 * _weights(shape, doubles, positions) * positions
    return total


def encode_flops(config: AutoencoderConfig, height: int, width: int) -> int:
    """The encode of one picture. height, width: of the latent."""
    coarsest, area = len(config.channel_mult) - 1, height * width
    total = _scores(config.widths[-1], area)
    for name, shape in vae_shapes(config).items():
        if name.startswith("encoder.") and len(shape) > 1:
            level = 0 if name == "encoder.conv_in.weight" else _vae_level(name, coarsest)
            level += name.endswith(".downsample.conv.weight")
            total += 2 * math.prod(shape) * area * 4 ** (coarsest - level)
    return total


def clip_flops(config: ClipVisionConfig) -> int:
    """One picture through the image tower."""
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    layers = [shape for name, shape in clip_shapes(config).items() if len(shape) > 1 and "position" not in name]
    return 2 * tokens * sum(map(math.prod, layers)) + config.num_layers * _scores(config.width, tokens)


def _weights(shape: tuple[int, ...], doubles: bool, positions: int) -> int:
    """Weights that are multiplied at every position; of a convolution behind a doubling, see `convolve_doubled`."""
    four_of_nine = doubles and positions // 4 >= WORTH_FOUR_PHASES
    return math.prod(shape) * 4 // 9 if four_of_nine else math.prod(shape)


def _scores(channels: int, tokens: int) -> int:
    """The products of queries and keys, and those with the values."""
    return 2 * 2 * tokens**2 * channels


def _is_deep(config: UNetConfig, name: str) -> bool:
    """Whether a layer stands in one of the blocks whose output a step cache keeps."""
    numbered = _NUMBERED.match(name)
    if numbered is None:
        return name.startswith("middle_block.")
    index, blocks = int(numbered[2]), len(config.channel_mult) * (config.num_res_blocks + 1)
    return index >= OUTER_BLOCKS if numbered[1] == "input" else index < blocks - OUTER_BLOCKS


def _unet_level(config: UNetConfig, name: str) -> int:
    """The level at which a layer's outputs are, 0 the finest."""
    coarsest, blocks = len(config.channel_mult) - 1, config.num_res_blocks + 1
    numbered = _NUMBERED.match(name)
    if numbered is None:
        return coarsest if name.startswith("middle_block.") else 0
    step = int(numbered[2]) // blocks
    return step if numbered[1] == "input" else coarsest - step - (_UPSAMPLE.fullmatch(name) is not None)


def _vae_level(name: str, coarsest: int) -> int:
    _, part, level, *_ = [*name.split("."), ""]
    if part in ("up", "down"):
        return int(level)
    at_the_pixels = name.startswith("decoder.conv_out.")
    return 0 if at_the_pixels else coarsest
