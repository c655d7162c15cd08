"""The same model in every layout gives the same parameters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from svd_core.checkpoints import load_weights, open_checkpoint, settings_tensor
from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from svd_core.errors import SVDError
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import LAYOUTS, hidden_settings, tiny_config, write_checkpoint

CONFIG = tiny_config()
METADATA = {"svd_config": json.dumps(hidden_settings(CONFIG))}
PARTS = ("unet", "vae", "clip")
SECOND_ENCODER = "conditioner.embedders.3."


def write(folder: Path, layout: str, **options) -> Path:
    name = "model" if layout == "diffusers" else f"{layout}.safetensors"
    return write_checkpoint(folder / name, options.pop("config", CONFIG), layout=layout, **options)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("layouts")
    return {layout: write(folder, layout, dtype=torch.float32) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def weights(paths) -> dict[str, dict[str, torch.Tensor]]:
    """The parameters of the official layout, to compare the others with."""
    checkpoint = open_checkpoint(paths["single"])
    return {part: dict(checkpoint.read(part)) for part in PARTS}


def assert_same(checkpoint, weights, parts=PARTS, exact=True):
    for part in parts:
        found = dict(checkpoint.read(part))
        assert set(found) == set(weights[part])
        for name, tensor in found.items():
            if exact:
                assert torch.equal(tensor, weights[part][name]), name
            else:
                torch.testing.assert_close(tensor, weights[part][name])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(layout, paths, weights):
    checkpoint = open_checkpoint(paths[layout])
    assert checkpoint.config == CONFIG
    assert checkpoint.missing_parts == ()
    assert_same(checkpoint, weights)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dtypes(layout, dtype, tmp_path, weights):
    checkpoint = open_checkpoint(write(tmp_path, layout, dtype=dtype))
    for part in PARTS:
        assert checkpoint.dtype(part) == dtype
        for name, tensor in checkpoint.read(part):
            assert tensor.dtype == dtype
            torch.testing.assert_close(tensor.float(), weights[part][name], rtol=1e-2, atol=1e-2)
        assert all(tensor.dtype == torch.float32 for _, tensor in checkpoint.read(part, torch.float32))


def test_image_decoder_keeps_post_quant_conv_and_folds_quant_conv(tmp_path):
    config = tiny_config(image_decoder=True)
    single, folder = (write(tmp_path, k, config=config, dtype=torch.float32) for k in ("single", "diffusers"))
    checkpoint = open_checkpoint(single)
    assert checkpoint.config == config
    found = dict(checkpoint.read("vae"))
    assert "post_quant_conv.weight" in found
    assert not any(name.startswith("quant_conv") for name in found)
    assert_same(open_checkpoint(folder), {"vae": found}, ["vae"])


def test_encoder_with_folded_quant_conv_gives_the_same_moments(tmp_path):
    path = write(tmp_path, "single", dtype=torch.float32)
    stored = load_file(path)
    quant = torch.randn(8, 8, 1, 1)  # mixes every channel, unlike the one in the file
    stored["conditioner.embedders.3.encoder.quant_conv.weight"] = quant
    save_file(stored, path, METADATA)
    conv = {leaf: stored[f"conditioner.embedders.3.encoder.encoder.conv_out.{leaf}"] for leaf in ("weight", "bias")}
    bias = stored["conditioner.embedders.3.encoder.quant_conv.bias"]
    x = torch.randn(1, conv["weight"].shape[1], 5, 5)
    expected = torch.conv2d(torch.conv2d(x, conv["weight"], conv["bias"]), quant, bias)
    found = dict(open_checkpoint(path).read("vae"))
    moments = torch.conv2d(x, found["encoder.conv_out.weight"], found["encoder.conv_out.bias"])
    torch.testing.assert_close(moments, expected, rtol=1e-5, atol=1e-5)


def test_repack_without_the_second_encoder(paths, weights, tmp_path):
    kept = {name: t for name, t in load_file(paths["single"]).items() if not name.startswith(SECOND_ENCODER)}
    save_file(kept, tmp_path / "repack.safetensors", METADATA)
    assert_same(open_checkpoint(tmp_path / "repack.safetensors"), weights, exact=False)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
@pytest.mark.parametrize("names", ["official", "diffusers"])
def test_unet_alone_with_a_companion(paths, weights, prefix, names, tmp_path):
    if names == "official":
        stored = load_file(paths["single"])
        found = {n.removeprefix("model.diffusion_model."): t for n, t in stored.items() if "diffusion_model" in n}
    else:
        found = load_file(paths["diffusers"] / "unet" / "diffusion_pytorch_model.safetensors")
    path = tmp_path / "unet.safetensors"
    save_file({prefix + name: tensor for name, tensor in found.items()}, path, METADATA)

    alone = open_checkpoint(path)
    assert alone.missing_parts == ("vae", "clip")
    assert alone.config.vae is None
    with pytest.raises(SVDError, match=r"unet\.safetensors lacks the VAE and the CLIP image encoder: pick"):
        alone.require("unet", "vae", "clip")
    for companion in paths.values():
        both = open_checkpoint(path, companion)
        assert both.missing_parts == ()
        assert both.config == CONFIG
        assert_same(both, weights)


def test_companion_is_not_opened_when_nothing_is_missing(paths):
    assert open_checkpoint(paths["single"], "does-not-exist.safetensors").missing_parts == ()


def test_single_component_files_serve_as_companion(paths, weights, tmp_path):
    unet = paths["diffusers"] / "unet" / "diffusion_pytorch_model.safetensors"
    vae = open_checkpoint(unet, paths["diffusers"] / "vae" / "diffusion_pytorch_model.safetensors")
    assert vae.missing_parts == ("clip",)
    assert_same(vae, weights, ["unet", "vae"])


def test_diffusers_file_takes_settings_from_the_config_beside_it(paths):
    checkpoint = open_checkpoint(paths["diffusers"] / "unet" / "diffusion_pytorch_model.safetensors")
    assert checkpoint.config.unet == CONFIG.unet
    assert checkpoint.num_frames == 25


@pytest.fixture
def folder(paths, tmp_path) -> Path:
    return Path(shutil.copytree(paths["diffusers"], tmp_path / "folder"))


def test_fp16_variant_is_used_when_it_is_all_there_is(folder, weights):
    for part in ("unet", "vae", "image_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    assert_same(open_checkpoint(folder), weights)


def test_full_precision_is_preferred_to_a_variant(folder, weights):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    halves = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(halves, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert_same(open_checkpoint(folder), weights)


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_sharded_folder(folder, weights, variant):
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("image_encoder", "model"),
    ):
        shard(folder / part, stem, variant)
    assert_same(open_checkpoint(folder), weights)


def shard(folder: Path, stem: str, variant: str = "", count: int = 3) -> None:
    """Splits the weights round-robin, so that tensors combined into one parameter lie in different files."""
    tensors = load_file(folder / f"{stem}.safetensors")
    (folder / f"{stem}.safetensors").unlink()
    files = [f"{stem}{variant}-{index + 1:05}-of-{count:05}.safetensors" for index in range(count)]
    weight_map = {name: files[index % count] for index, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name] for name, place in weight_map.items() if place == file}, folder / file)
    (folder / f"{stem}.safetensors.index{variant}.json").write_text(json.dumps({"weight_map": weight_map}))


def test_folder_without_image_encoder_names_what_is_missing(folder):
    shutil.rmtree(folder / "image_encoder")
    checkpoint = open_checkpoint(folder)
    with pytest.raises(SVDError, match="folder lacks the CLIP image encoder"):
        checkpoint.parameters_of("clip")


def test_old_position_ids_are_ignored(folder, weights):
    file = folder / "image_encoder" / "model.safetensors"
    extra = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file(load_file(file) | extra, file)
    assert_same(open_checkpoint(folder), weights)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_load_weights_fills_modules(device, paths, weights):
    checkpoint = open_checkpoint(paths["single"])
    layers = Layers(device=device)
    config = checkpoint.config
    modules = {
        "unet": VideoUNet(config.unet, layers),
        "vae": Autoencoder(config.vae, layers),
        "clip": ClipVision(config.clip, layers),
    }
    for part, module in modules.items():
        load_weights(module, checkpoint, part)
        state = module.state_dict()
        assert all(torch.equal(tensor, weights[part][name]) for name, tensor in state.items())
        load_weights(module, checkpoint, part, torch.float16)
        assert all(parameter.dtype == torch.float16 for parameter in module.parameters())


def test_load_weights_refuses_another_module(paths):
    module = VideoUNet(tiny_config().unet, Layers(device="meta"))
    module.extra = torch.nn.Linear(2, 2, device="meta")
    with pytest.raises(SVDError, match="lacks 2 of its"):
        load_weights(module, open_checkpoint(paths["single"]), "unet")


def test_random_weights_stay_finite_in_fp16(tmp_path):
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "small.safetensors", CONFIG))
    module = VideoUNet(checkpoint.config.unet, Layers(device="meta"))
    load_weights(module, checkpoint, "unet", torch.float32)
    x, y = torch.randn(2, 8, 8, 8), torch.randn(2, 768)
    peaks = []
    for layer in module.modules():
        layer.register_forward_hook(lambda _module, _args, out: peaks.append(float(torch.as_tensor(out).abs().max())))
    with torch.no_grad():
        out = module(x, torch.zeros(2), torch.randn(2, 1, 32), y, 2)
    assert 0.1 < out.std() < 10
    assert max(peaks) < 1000  # fp16 ends at 65504


PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "clip": "conditioner.embedders.0.open_clip.model.visual.",
}


def saved_without_metadata(path: Path, settings: dict[str, torch.Tensor]) -> Path:
    """As the host saves a checkpoint."""
    tensors = load_file(write(path.parent, "comfy"))
    save_file(tensors | settings, path)
    return path


def test_settings_travel_as_tensors(tmp_path):
    settings = {
        PREFIXES[part] + name: tensor
        for part in PARTS
        for name, tensor in settings_tensor(part, getattr(CONFIG, part)).items()
    }
    checkpoint = open_checkpoint(saved_without_metadata(tmp_path / "saved.safetensors", settings))
    assert checkpoint.config == CONFIG
    assert len(settings) == 2  # this VAE's are the released ones
    with pytest.raises(SVDError, match="head_dim"):
        open_checkpoint(saved_without_metadata(tmp_path / "unstated.safetensors", {}))


def test_released_models_need_no_settings():
    for config in (ModelConfig(), ModelConfig(vae=AutoencoderConfig(temporal_decoder=False))):
        assert not [part for part in PARTS if settings_tensor(part, getattr(config, part))]
    assert settings_tensor("unet", UNetConfig(head_dim=32)) and settings_tensor("clip", ClipVisionConfig(num_heads=8))


@pytest.mark.parametrize("text", ["{", "[]", '{"head_dim": "wide"}', " " * 5000])
def test_unreadable_settings(tmp_path, text):
    tensor = torch.tensor(list(text.encode()), dtype=torch.uint8)
    with pytest.raises(SVDError, match=r"^[^\n]*save the checkpoint again\.$"):
        open_checkpoint(saved_without_metadata(tmp_path / "bad.safetensors", {"svd_config.unet": tensor}))
