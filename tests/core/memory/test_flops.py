"""The count of operations, against what torch counts and what is published for the released models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from svd_core.config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from svd_core.diffusion.speed import MODES
from svd_core.diffusion.step_cache import Features, StepCache
from svd_core.memory.flops import clip_flops, decode_flops, encode_flops, unet_flops
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import small_config, tiny_config

TERA = 1e12
META = Layers(device="meta")


EXTENDED = replace(small_config(), unet=replace(small_config().unet, num_positions=128))


@pytest.mark.parametrize("config", [tiny_config(), small_config(), EXTENDED], ids=["tiny", "small", "extended"])
def test_torch_counts_the_same(config) -> None:
    height, width, num_frames = 16, 24, 3
    x = torch.empty(num_frames, 8, height, width, device="meta")
    t = torch.empty(num_frames, device="meta")
    context = torch.empty(num_frames, 1, config.unet.context_dim, device="meta")
    y = torch.empty(num_frames, 768, device="meta")
    unet, vae = VideoUNet(config.unet, META), Autoencoder(config.vae, META)
    with torch.inference_mode(), FlopCounterMode(display=False) as count:
        unet(x, t, context, y, num_frames)
    # The embeddings, left out in the estimate, matter only at toy sizes.
    assert unet_flops(config.unet, height, width, num_frames) == pytest.approx(count.get_total_flops(), rel=0.03)
    scale = config.vae.downscale
    with torch.inference_mode(), FlopCounterMode(display=False) as count:
        vae.encode(torch.empty(1, 3, scale * height, scale * width, device="meta"))
    assert encode_flops(config.vae, height, width) == count.get_total_flops()


def test_recalled_deep_features_take_the_work_of_the_outer_blocks() -> None:
    class Recalled(Features):
        def recall(self, noisy: Tensor) -> Tensor:
            return noisy.new_empty(3, 320, 16, 24)

    unet, features = VideoUNet(UNetConfig(), META), Recalled(StepCache(MODES["fastest"]), "cond")
    given = [torch.empty(shape, device="meta") for shape in ((3, 8, 16, 24), (3,), (3, 1, 1024), (3, 768))]
    with torch.inference_mode(), FlopCounterMode(display=False) as count:
        unet(*given, 3, features=features)
    outer = unet_flops(UNetConfig(), 16, 24, 3, outer_only=True)
    assert outer == pytest.approx(count.get_total_flops(), rel=0.03)
    assert outer < 0.12 * unet_flops(UNetConfig(), 16, 24, 3)


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
