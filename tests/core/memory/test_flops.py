"""Operations counted without data: as many as with data, and as published for the released models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from svd_core.memory.flops import clip_flops, decode_flops, encode_flops, unet_flops
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import tiny_config

TERA = 1e12


def counted(run: Callable[[], Any]) -> int:
    """By torch, of tensors that exist, with the attention that a CPU has."""

    def attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
        return 2 * math.prod(q[:3]) * k[2] * (q[3] + v[3])

    of_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=of_cpu) as counter:
        run()
    return counter.get_total_flops()


EXTENDED = replace(tiny_config(), unet=replace(tiny_config().unet, num_positions=8))


@pytest.mark.parametrize("config", [tiny_config(), EXTENDED], ids=["tiny", "extended"])
def test_torch_counts_the_same_of_tensors_that_exist(config: ModelConfig) -> None:
    height, width, num_frames = 16, 24, 3
    unet, vae, tower = VideoUNet(config.unet), Autoencoder(config.vae), ClipVision(config.clip)
    x, context = torch.zeros(num_frames, 8, height, width), torch.zeros(num_frames, 1, config.unet.context_dim)
    run = counted(lambda: unet(x, torch.zeros(1), context, torch.zeros(1, 768), num_frames))
    assert unet_flops(config.unet, height, width, num_frames) == run
    scale = config.vae.downscale
    encode = counted(lambda: vae.encode(torch.zeros(1, 3, scale * height, scale * width)))
    assert encode_flops(config.vae, height, width) == encode
    decode = counted(lambda: vae.decode(torch.zeros(num_frames, 4, height, width)))
    assert decode_flops(config.vae, height, width, num_frames) == decode
    pixels = torch.zeros(1, 3, config.clip.image_size, config.clip.image_size)
    assert clip_flops(config.clip) == counted(lambda: tower(pixels))


def test_recalled_deep_features_take_the_work_of_the_outer_blocks() -> None:
    whole, outer = (unet_flops(UNetConfig(), 16, 24, 3, outer_only) for outer_only in (False, True))
    assert 0.05 * whole < outer < 0.12 * whole


def test_trained_positions_are_looked_up_and_not_multiplied() -> None:
    few, many = (replace(UNetConfig(), num_positions=count) for count in (8, 128))
    assert unet_flops(few, 8, 8, 3) == unet_flops(many, 8, 8, 3) > unet_flops(UNetConfig(), 8, 8, 3)


def test_released_models() -> None:
    """Measured with hooks on other implementations; cross-attention to one token is a constant here, and a convolution
    behind a doubling takes four of its nine taps."""
    unet, vae = UNetConfig(), AutoencoderConfig()
    assert unet_flops(unet, 72, 128, 25) / TERA == pytest.approx(79.948 - 2.991 - saved_in_unet(25), rel=1e-3)
    assert unet_flops(unet, 72, 128, 14) / TERA == pytest.approx(44.802 - 1.722 - saved_in_unet(14), rel=1e-3)
    assert decode_flops(vae, 72, 128, 25) / TERA == pytest.approx(173.57 - saved_in_decoder(25), rel=1e-3)
    image_decoder = AutoencoderConfig(temporal_decoder=False)
    assert decode_flops(image_decoder, 72, 128, 1) / TERA == pytest.approx(5.754 - saved_in_decoder(1), rel=1e-3)
    assert encode_flops(vae, 72, 128) / TERA == pytest.approx(2.609, rel=1e-3)
    assert clip_flops(ClipVisionConfig()) / TERA == pytest.approx(0.335, rel=0.02)


def saved_in_unet(num_frames: int) -> float:
    """The three convolutions behind a doubling have as many channels as the level they come from."""
    return num_frames * sum(saved_by(c, 72 // by, 128 // by) for c, by in ((640, 1), (1280, 2), (1280, 4))) / TERA


def saved_in_decoder(num_frames: int) -> float:
    return num_frames * sum(saved_by(c, 72 * by, 128 * by) for c, by in ((512, 2), (512, 4), (256, 8))) / TERA


def saved_by(channels: int, height: int, width: int) -> float:
    """Five of nine taps, two operations each."""
    return 2 * 5 * channels**2 * height * width
