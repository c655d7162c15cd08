"""The networks' identities: each rewrite equals what it replaces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from svd_core.config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.temporal import AlphaBlender
from svd_core.models.unet.hooks import UNetHooks
from svd_core.models.unet.unet import VideoUNet

SMALL_UNET = UNetConfig(
    model_channels=32, channel_mult=(1, 2), attention_levels=(True, False), context_dim=24, head_dim=16
)
SMALL_VAE = AutoencoderConfig(channels=32, channel_mult=(1, 2), num_res_blocks=1)
DOUBLE = Layers(dtype=torch.float64)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Default initialisation leaves norms and blends where mistakes in them cannot show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1:
                noise = torch.randn(parameter.shape, generator=generator)
                offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                parameter.copy_(offset + 0.3 * noise)
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    torch.manual_seed(0)
    return randomised(VideoUNet(SMALL_UNET, DOUBLE))


@pytest.fixture(scope="module")
def vae() -> Autoencoder:
    torch.manual_seed(0)
    return randomised(Autoencoder(SMALL_VAE, DOUBLE))


def unet_inputs(clips: int = 1, frames: int = 3, tokens: int = 1, size: tuple[int, int] = (8, 8)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    context = draw(clips, tokens, SMALL_UNET.context_dim).repeat_interleave(frames, dim=0)
    y = draw(clips, SMALL_UNET.adm_in_channels).repeat_interleave(frames, dim=0)
    rows = clips * frames
    return {"x": draw(rows, 8, *size), "c_noise": torch.full((rows,), 0.3), "context": context, "y": y}


def test_released_unet_has_its_published_size() -> None:
    unet = VideoUNet(UNetConfig(), Layers(device="meta"))
    assert sum(p.numel() for p in unet.parameters()) == 1_524_623_082


def test_one_token_of_context_equals_the_same_token_twice(unet: VideoUNet) -> None:
    inputs = unet_inputs()
    shortcut = unet(**inputs, num_frames=3)
    inputs["context"] = inputs["context"].repeat(1, 2, 1)
    assert relative(shortcut, unet(**inputs, num_frames=3)) < 1e-12


def test_hooks_that_watch_cross_attention_see_every_call(unet: VideoUNet) -> None:
    class Watching(UNetHooks):
        calls = 0

        def watches_cross_attention(self) -> bool:
            return True

        def cross_attention(self, attn, x, context):
            self.calls += 1
            return super().cross_attention(attn, x, context)

    hooks = Watching()
    inputs = unet_inputs()
    watched = unet(**inputs, num_frames=3, hooks=hooks)
    transformers = sum(1 for m in unet.modules() if type(m).__name__ == "SpatialVideoTransformer")
    assert hooks.calls == 2 * transformers
    assert relative(watched, unet(**inputs, num_frames=3)) < 1e-12


def test_clips_of_a_batch_do_not_mix(unet: VideoUNet) -> None:
    inputs = unet_inputs(clips=2)
    both = unet(**inputs, num_frames=3)
    second = unet(**{name: value[3:] for name, value in inputs.items()}, num_frames=3)
    assert relative(both[3:], second) < 1e-12


@pytest.mark.parametrize("pieces", [ALL, Pieces(2, 5, 17)], ids=["whole", "split"])
def test_one_row_of_noise_level_and_numbers_serves_all_frames(unet: VideoUNet, pieces: Pieces) -> None:
    inputs = unet_inputs(clips=2)
    alike = {"c_noise": inputs["c_noise"], "y": inputs["y"][:1].expand(6, -1)}
    first_rows = {name: rows[:1] for name, rows in alike.items()}
    with torch.no_grad():
        every_row = unet(**inputs | alike, num_frames=3)
        assert relative(unet(**inputs | first_rows, num_frames=3, pieces=pieces), every_row) < 1e-12
        assert relative(unet(**inputs, num_frames=3), every_row) > 1e-6, "the clips' own numbers tell"


def test_frames_of_a_clip_do_mix(unet: VideoUNet) -> None:
    inputs = unet_inputs()
    before = unet(**inputs, num_frames=3)
    inputs["x"] = inputs["x"].clone()
    inputs["x"][2] += 1
    assert relative(unet(**inputs, num_frames=3)[0], before[0]) > 1e-6


def test_frames_marked_as_images_drop_the_temporal_path(unet: VideoUNet) -> None:
    inputs = unet_inputs()
    together = unet(**inputs, num_frames=3, image_only=torch.ones(3))
    alone = [
        unet(**{k: v[i : i + 1] for k, v in inputs.items()}, num_frames=1, image_only=torch.ones(1)) for i in range(3)
    ]
    assert relative(together, torch.cat(alone)) < 1e-12


def test_odd_sizes_come_back_as_they_went(unet: VideoUNet) -> None:
    assert unet(**unet_inputs(size=(7, 9)), num_frames=3).shape == (3, 4, 7, 9)


def test_temporal_convolution_equals_conv3d() -> None:
    conv = Layers(dtype=torch.float64).temporal_conv(6, 5)
    x = torch.randn(2, 6, 4, 12, dtype=torch.float64)
    plain = nn.functional.conv3d(x[..., None], conv.weight, conv.bias, padding=(1, 0, 0))[..., 0]
    assert relative(conv(x), plain) < 1e-14


def test_blend_weighs_the_spatial_path_by_alpha() -> None:
    blend = AlphaBlender()
    nn.init.constant_(blend.mix_factor, 1.5)
    alpha = torch.sigmoid(torch.tensor(1.5))
    spatial, temporal = torch.randn(2, 4, 3)
    blended = torch.lerp(spatial, temporal, blend.temporal_weight(spatial, num_frames=1))
    assert torch.allclose(blended, alpha * spatial + (1 - alpha) * temporal)


@pytest.mark.parametrize("frames_at_once", [1, 2, 3, 4])
@pytest.mark.parametrize("clips", [1, 2])
def test_decode_a_few_frames_at_once_equals_the_whole_clip(vae: Autoencoder, frames_at_once: int, clips: int) -> None:
    z = torch.randn(clips * 5, 4, 6, 4, dtype=torch.float64)
    whole = vae.decode(z, num_frames=5)
    assert relative(decode_clip(vae, z, DecodePlan(frames_at_once), num_frames=5), whole) < 1e-12


def test_decoding_frames_apart_is_another_picture(vae: Autoencoder) -> None:
    """The whole-clip comparison above means something: independent pieces do differ."""
    z = torch.randn(4, 4, 6, 4, dtype=torch.float64)
    apart = torch.cat([vae.decode(z[:2]), vae.decode(z[2:])])
    assert relative(apart, vae.decode(z)) > 1e-3


def test_more_frames_at_once_than_there_are(vae: Autoencoder) -> None:
    z = torch.randn(2, 4, 6, 4, dtype=torch.float64)
    assert relative(decode_clip(vae, z, DecodePlan(9)), vae.decode(z)) < 1e-12


def test_a_clip_of_one_frame_decodes(vae: Autoencoder) -> None:
    assert vae.decode(torch.randn(1, 4, 6, 4, dtype=torch.float64)).shape == (1, 3, 12, 8)


def test_fp16_framewise_decode_stays_close_to_fp32() -> None:
    torch.manual_seed(0)
    vae = randomised(Autoencoder(SMALL_VAE))
    z = torch.randn(4, 4, 6, 4)
    exact = vae.decode(z)
    halved = vae.half()
    whole = relative(halved.decode(z.half()).float(), exact)
    split = [relative(decode_clip(halved, z.half(), DecodePlan(n)).float(), exact) for n in (1, 3)]
    assert max(whole, *split) < 5e-3
    assert max(split) < 1.5 * whole


def test_image_decoder_treats_frames_alone() -> None:
    config = AutoencoderConfig(channels=32, channel_mult=(1, 2), num_res_blocks=1, temporal_decoder=False)
    torch.manual_seed(0)
    vae = randomised(Autoencoder(config, DOUBLE))
    z = torch.randn(3, 4, 6, 4, dtype=torch.float64)
    alone = torch.cat([vae.decode(frame) for frame in z.split(1)])
    assert relative(vae.decode(z), alone) < 1e-12


def test_clip_output_shapes() -> None:
    config = ClipVisionConfig(
        width=32, num_layers=2, num_heads=4, mlp_width=64, patch_size=8, image_size=32, projection_dim=12
    )
    output = ClipVision(config)(torch.randn(2, 3, 32, 32))
    assert output.last_hidden_state.shape == output.penultimate_hidden_state.shape == (2, 17, 32)
    assert output.image_embeds.shape == (2, 12)
