"""Names: the inventory is the released one, and every layout maps onto the modules, at full size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from svd_core.checkpoints import clip_shapes, open_checkpoint, unet_shapes, vae_shapes
from svd_core.checkpoints.convert.diffusers_json import clip_json, unet_json, vae_json
from svd_core.checkpoints.names import (
    clip_map,
    unet_map_for_names,
    unet_map_for_official_names,
    unet_map_of,
    vae_map,
    vae_map_for_names,
)
from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.official_file import inventory
from tests.support.random_checkpoint import hidden_settings, small_config, tiny_config
from tests.support.safetensors_files import write_hollow

RELEASED = json.loads((Path(__file__).parents[2] / "data" / "svd_single_keys.json").read_text())
FULL = ModelConfig()
IMAGE_DECODER = AutoencoderConfig(temporal_decoder=False)
META = Layers(device="meta")
CONFIGS = [FULL, small_config(), tiny_config()]


def shapes(module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_inventory_is_the_released_one():
    assert inventory(FULL) == {name: tuple(shape) for name, shape in RELEASED.items()}


def test_image_decoder_file_has_2322_tensors():
    names = inventory(ModelConfig(vae=IMAGE_DECODER))
    assert len(names) == 2322
    assert names["first_stage_model.post_quant_conv.weight"] == (4, 4, 1, 1)


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "small", "tiny"])
def test_unet_names_are_those_of_diffusers(config):
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        peer = diffusers.UNetSpatioTemporalConditionModel.from_config(unet_json(config.unet))
    names = unet_map_of(config.unet)
    assert {names.to_other(name): shape for name, shape in unet_shapes(config.unet).items()} == shapes(peer)
    back = unet_map_for_names(shapes(peer))
    assert {back.to_official(name) for name in shapes(peer)} == set(unet_shapes(config.unet))


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "small", "tiny"])
def test_unet_map_follows_from_the_official_names(config):
    assert unet_map_for_official_names(unet_shapes(config.unet)) == unet_map_of(config.unet)


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "small", "tiny"])
@pytest.mark.parametrize("temporal", [True, False])
def test_vae_names_are_those_of_diffusers(config, temporal):
    diffusers = pytest.importorskip("diffusers")
    vae = AutoencoderConfig(
        channels=config.vae.channels,
        channel_mult=config.vae.channel_mult,
        num_res_blocks=config.vae.num_res_blocks,
        temporal_decoder=temporal,
    )
    kind = diffusers.AutoencoderKLTemporalDecoder if temporal else diffusers.AutoencoderKL
    with torch.device("meta"):
        peer = shapes(kind.from_config(vae_json(vae)))
    ours = {*vae_shapes(vae), "quant_conv.weight", "quant_conv.bias"}
    names = vae_map(len(vae.channel_mult), vae.num_res_blocks, temporal)
    assert {names.to_other(name) for name in ours} == set(peer)
    back = vae_map_for_names(peer)
    assert {back.to_official(name) for name in peer} == ours


def test_clip_names_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        config = transformers.CLIPVisionConfig(**clip_json(FULL.clip))
        peer = transformers.CLIPVisionModelWithProjection(config)
    assert {name: s for name, s in shapes(peer).items() if "position_ids" not in name} == clip_shapes(FULL.clip)


def test_clip_names_survive_a_round_trip():
    names = clip_map(2)
    for name in ("proj", "class_embedding", "transformer.resblocks.1.mlp.c_fc.bias"):
        assert names.to_official(names.to_other(name)) == name


def diffusers_shapes(part: str) -> dict[str, tuple[int, ...]]:
    if part == "unet":
        names = unet_map_of(FULL.unet)
        return {names.to_other(name): shape for name, shape in unet_shapes(FULL.unet).items()}
    if part == "image_encoder":
        return clip_shapes(FULL.clip)
    names = vae_map(4, 2, temporal=True)
    official = vae_shapes(FULL.vae) | {"quant_conv.weight": (8, 8, 1, 1), "quant_conv.bias": (8,)}
    return {names.to_other(n): s[:2] if ".attn_1." in n and len(s) == 4 else s for n, s in official.items()}


def single_file(folder: Path) -> Path:
    path = folder / "svd_xt.safetensors"
    write_hollow(path, {name: tuple(shape) for name, shape in RELEASED.items()}, torch.float16)
    return path


def diffusers_folder(folder: Path) -> Path:
    files = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "image_encoder": "model"}
    for part, stem in files.items():
        write_hollow(folder / part / f"{stem}.safetensors", diffusers_shapes(part), torch.float16)
    for part, config in (("unet", unet_json(FULL.unet)), ("image_encoder", clip_json(FULL.clip))):
        (folder / part / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("layout", [single_file, diffusers_folder])
def test_full_size_layouts_map_with_nothing_missing_or_left_over(layout, tmp_path):
    checkpoint = open_checkpoint(layout(tmp_path))
    assert checkpoint.config == FULL
    assert checkpoint.release.name == "svd_xt"
    modules = {
        "unet": VideoUNet(checkpoint.config.unet, META),
        "vae": Autoencoder(checkpoint.config.vae, META),
        "clip": ClipVision(checkpoint.config.clip, META),
    }
    for part, module in modules.items():
        assert {name: entry.shape for name, entry in checkpoint.parameters_of(part).items()} == shapes(module)


def test_every_tensor_of_the_single_file_is_used_or_known_to_be_spare(tmp_path):
    checkpoint = open_checkpoint(single_file(tmp_path))
    used = {
        ref.name
        for part in ("unet", "vae", "clip")
        for e in checkpoint.parameters_of(part).values()
        for ref in e.sources
    }
    spare = set(RELEASED) - used
    assert len(spare) == 106 + 138 + 2 + 6  # first-stage encoder; second decoder; its post_quant_conv; text leftovers
    second = "conditioner.embedders.3.encoder."
    text = {name for name in spare if name.startswith("conditioner.embedders.0.") and ".visual." not in name}
    assert len(text) == 6
    assert all(
        name.startswith(("first_stage_model.encoder.", second + "decoder.", second + "post_")) for name in spare - text
    )


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "small", "tiny"])
def test_configuration_is_inferred_from_shapes(config, tmp_path):
    path = tmp_path / "model.safetensors"
    write_hollow(path, inventory(config, 8), torch.float32, {"svd_config": json.dumps(hidden_settings(config))})
    assert open_checkpoint(path).config == config


@pytest.mark.parametrize(
    "unet",
    [
        UNetConfig(model_channels=64, channel_mult=(1, 1, 3), attention_levels=(False, True, False), num_res_blocks=3),
        UNetConfig(model_channels=64, channel_mult=(2,), attention_levels=(True,), transformer_depth=2, context_dim=8),
    ],
)
def test_configuration_of_other_topologies_is_inferred(unet, tmp_path):
    vae = AutoencoderConfig(channels=64, channel_mult=(1, 2, 3), num_res_blocks=1, temporal_decoder=False)
    clip = ClipVisionConfig(160, 3, 2, 200, 16, 64, projection_dim=unet.context_dim)
    config = ModelConfig(unet, vae, clip)
    path = tmp_path / "model.safetensors"
    write_hollow(path, inventory(config, 8), torch.bfloat16)
    assert open_checkpoint(path).config == config
