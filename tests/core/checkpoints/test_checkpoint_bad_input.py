"""Every bad file has its sentence: the file, what it is, what to do."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from svd_core.checkpoints import clip_shapes, open_checkpoint, unet_shapes, vae_shapes
from svd_core.checkpoints.infer import INFER
from svd_core.config import AutoencoderConfig, ModelConfig, UNetConfig
from svd_core.errors import SVDError
from tests.support.official_file import inventory
from tests.support.random_checkpoint import hidden_settings, tiny_config, write_checkpoint
from tests.support.safetensors_files import write_hollow

CONFIG = tiny_config()
METADATA = {"svd_config": json.dumps(hidden_settings(CONFIG))}
UNET = "model.diffusion_model."
NOT_SVD = "not a Stable Video Diffusion checkpoint"
PICK = "pick an SVD checkpoint such as svd.safetensors"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("good") / "good.safetensors", CONFIG)


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("good") / "model", CONFIG, layout="diffusers")


@pytest.fixture
def folder(good_folder, tmp_path) -> Path:
    return Path(shutil.copytree(good_folder, tmp_path / "model"))


def sentence(path: Path, companion: Path | None = None) -> str:
    with pytest.raises(SVDError) as caught:
        open_checkpoint(path, companion)
    text = str(caught.value)
    assert path.name in text
    assert text.endswith(".") and "\n" not in text and ". " not in text, "one sentence"
    return text


def hollow(tmp_path: Path, shapes: dict, name: str = "model.safetensors", metadata=None) -> Path:
    write_hollow(tmp_path / name, shapes, torch.float16, metadata)
    return tmp_path / name


# --- damaged files and other formats -----------------------------------------------------------------------------


def test_missing_file(tmp_path):
    assert "does not exist" in sentence(tmp_path / "nothing.safetensors")


def test_empty_file(tmp_path):
    (tmp_path / "a.safetensors").touch()
    assert "is empty: download the file again" in sentence(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kept", [0.999, 0.5])
def test_truncated_data(good, tmp_path, kept):
    path = tmp_path / "a.safetensors"
    path.write_bytes(good.read_bytes()[: int(good.stat().st_size * kept)])
    assert f"is cut off: it has {path.stat().st_size} of {good.stat().st_size} bytes" in sentence(path)


def test_truncated_header(good, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(good.read_bytes()[:500])
    assert "is cut off: its header alone needs" in sentence(path)


@pytest.mark.parametrize("size", [1, 8, 9])
def test_a_few_bytes(good, tmp_path, size):
    path = tmp_path / "a.safetensors"
    path.write_bytes(good.read_bytes()[:size])
    assert "damaged" in sentence(path)


@pytest.mark.parametrize("seed", range(5))
def test_noise(tmp_path, seed):
    path = tmp_path / "a.safetensors"
    generator = torch.Generator().manual_seed(seed)
    path.write_bytes(bytes(torch.randint(0, 256, (4096,), dtype=torch.uint8, generator=generator).tolist()))
    assert "is not a safetensors file, or its beginning is damaged" in sentence(path)


def with_header(path: Path, head: object, data: bytes = b"") -> Path:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'{"a": [', "unreadable"),
        (b'{"a": \xff\xfe}', "unreadable"),
        ({"a": 1}, "its entry for a is unreadable"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "its entry for a is unreadable"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "size of a does not fit"),
        ({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, "size of a does not fit"),
        ({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}, "stores a as F4, which is not supported"),
        ({"__metadata__": {}}, "holds no tensors"),
        ({"__metadata__": 3}, "metadata is not a table"),
    ],
)
def test_corrupt_header(tmp_path, head, expected):
    assert expected in sentence(with_header(tmp_path / "a.safetensors", head, b"0000"))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".PT"])
def test_pickles_are_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"svd{suffix}"
    path.write_bytes(b"anything")
    text = sentence(path)
    assert "is a pickle" in text and "can run any code" in text and "convert it to .safetensors" in text


def test_pickles_are_refused_by_content(tmp_path):
    path = tmp_path / "svd.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 100)
    assert "is a pickle" in sentence(path)
    path.write_bytes(b"\x80\x02}q\x00.")
    assert "is a pickle" in sentence(path)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"\n<!DOCTYPE html><html>login</html>", "is a web page, not a model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-lfs pointer"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "is a GGUF file"),
    ],
)
def test_other_formats(tmp_path, start, expected):
    (tmp_path / "svd.safetensors").write_bytes(start)
    assert expected in sentence(tmp_path / "svd.safetensors")


# --- other models ------------------------------------------------------------------------------------------------


def sd_unet(adm: int = 0, context: int = 768) -> dict[str, tuple[int, ...]]:
    """A few telling tensors of an image UNet under official names."""
    shapes = {
        f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, context),
        f"{UNET}out.2.weight": (4, 320, 3, 3),
    }
    return shapes | ({f"{UNET}label_emb.0.0.weight": (1280, adm)} if adm else {})


def svd_unet(**changes) -> dict[str, tuple[int, ...]]:
    return inventory(ModelConfig(UNetConfig(**changes), None, None))


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (sd_unet(), f"is a Stable Diffusion 1.x checkpoint, not a Stable Video Diffusion checkpoint: {PICK}"),
        (
            sd_unet(context=1024),
            f"is a Stable Diffusion 2.x checkpoint, not a Stable Video Diffusion checkpoint: {PICK}",
        ),
        (sd_unet(2816, 2048), "is a Stable Diffusion XL checkpoint"),
        (sd_unet(2560, 1280), "is a Stable Diffusion XL refiner"),
        (svd_unet(adm_in_channels=256), f"is an SV3D_u checkpoint, {NOT_SVD}: {PICK}"),
        (svd_unet(adm_in_channels=1280), "is an SV3D_p checkpoint"),
        (svd_unet() | {f"{UNET}input_blocks.1.1.time_mix_blocks.0.norm1.weight": (320,)}, "is an SV4D checkpoint"),
        (svd_unet(in_channels=12), "a variant of Stable Video Diffusion with 12 input channels instead of 8"),
        ({"lora_unet_down_blocks_0.lora_down.weight": (4, 320)}, "is a LoRA, not a Stable Video"),
        ({"unet.mid_block.attentions.0.to_q.lora_A.weight": (4, 8)}, "add the LoRA with a LoRA loader"),
        ({"controlnet_down_blocks.0.weight": (320, 320, 1, 1), "conv_in.weight": (320, 8, 3, 3)}, "is a ControlNet"),
        ({"blocks.7.positional_conv.weight": (320, 320, 3, 3, 3)}, "is an ExVideo patch"),
        (vae_shapes(AutoencoderConfig()), "is a VAE alone"),
        ({"vision_model.embeddings.class_embedding": (1280,)}, "is a CLIP image encoder alone"),
        (inventory(ModelConfig(unet=None), 8), "is a VAE and an image encoder without a UNet"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)}, "is a text encoder"),
        ({"double_blocks.0.img_attn.qkv.weight": (8, 8)}, "is a Flux-like image model"),
        ({"model.diffusion_model.joint_blocks.0.x": (8, 8)}, "is a Stable Diffusion 3 checkpoint"),
        ({"down_blocks.0.motion_modules.0.proj_in.weight": (8, 8)}, "is an AnimateDiff motion module"),
        ({"encoder.layer.0.weight": (8, 8)}, "an unknown kind of model (its first tensor is encoder.layer.0.weight)"),
        (svd_unet() | {f"{UNET}out.2.weight_scale": (1,)}, "is a quantised file, which SVD Nodes does not read"),
    ],
)
def test_other_models(tmp_path, shapes, expected):
    assert expected in sentence(hollow(tmp_path, shapes))


def test_diffusers_unet_of_stable_diffusion(tmp_path):
    names = {
        "conv_in.weight": (320, 4, 3, 3),
        "time_embedding.linear_1.weight": (1280, 320),
        "down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3),
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    }
    assert "is a Stable Diffusion 1.x checkpoint" in sentence(hollow(tmp_path, names))
    write_hollow(tmp_path / "sd15" / "unet" / "diffusion_pytorch_model.safetensors", names, torch.float16)
    assert "is a Stable Diffusion 1.x checkpoint" in sentence(tmp_path / "sd15")
    sdxl = names | {"add_embedding.linear_1.weight": (1280, 2816)}
    assert "is a Stable Diffusion XL checkpoint" in sentence(hollow(tmp_path, sdxl))


# --- SVD checkpoints that are not whole --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "tensor"),
    [
        ("UNet", "model.diffusion_model.output_blocks.1.0.out_layers.3.bias"),
        ("VAE", "first_stage_model.decoder.up.0.block.1.conv2.weight"),
        ("VAE", "conditioner.embedders.3.encoder.encoder.mid.attn_1.q.weight"),
        ("CLIP image encoder", "conditioner.embedders.0.open_clip.model.visual.ln_post.weight"),
    ],
)
def test_missing_tensor(tmp_path, part, tensor):
    shapes = inventory(CONFIG, 8)
    del shapes[tensor]
    assert f"The {part} of model.safetensors lacks 1 of its" in sentence(hollow(tmp_path, shapes, metadata=METADATA))


@pytest.mark.parametrize(
    "tensor", [f"{UNET}out.2.weight", f"{UNET}label_emb.0.0.weight", "first_stage_model.decoder.mid.block_1.mix_factor"]
)
def test_missing_tensor_that_tells_the_configuration(tmp_path, tensor):
    shapes = inventory(CONFIG, 8)
    del shapes[tensor]
    assert "another" in sentence(hollow(tmp_path, shapes, metadata=METADATA))


def test_tensors_of_another_model(tmp_path):
    shapes = inventory(CONFIG, 8) | {f"{UNET}input_blocks.1.1.camera.weight": (8, 8)}
    text = sentence(hollow(tmp_path, shapes, metadata=METADATA))
    assert "has 1 tensors unknown to Stable Video Diffusion (such as input_blocks.1.1.camera.weight)" in text


def test_wrong_shape(tmp_path):
    shapes = inventory(CONFIG, 8) | {f"{UNET}middle_block.0.in_layers.0.weight": (48,)}
    text = sentence(hollow(tmp_path, shapes, metadata=METADATA))
    assert "has middle_block.0.in_layers.0.weight of shape [48] where [64] is expected" in text


@pytest.mark.parametrize("shape", [(7, 3), (), (0, 0, 3, 3)])
def test_shapes_that_make_no_sense(tmp_path, shape):
    shapes = inventory(CONFIG, 8) | {f"{UNET}input_blocks.0.0.weight": shape, f"{UNET}out.2.weight": (4, 32, 3, 3)}
    sentence(hollow(tmp_path, shapes, metadata=METADATA))


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ("conditioner.embedders.3.encoder.quant_conv.weight", (4, 4, 1, 1)),
        ("conditioner.embedders.3.encoder.quant_conv.bias", (4,)),
        ("conditioner.embedders.3.encoder.quant_conv.bias", None),
        ("conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.0.attn.in_proj_bias", ()),
        ("conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.0.attn.in_proj_bias", (97,)),
        ("conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.0.attn.in_proj_weight", (93, 32)),
        ("conditioner.embedders.0.open_clip.model.visual.proj", (32, 32, 1)),
        ("conditioner.embedders.0.open_clip.model.visual.proj", ()),
    ],
)
def test_tensors_that_cannot_be_combined(tmp_path, tensor, shape):
    shapes = inventory(CONFIG, 8) | {tensor: shape}
    sentence(hollow(tmp_path, {name: s for name, s in shapes.items() if s is not None}, metadata=METADATA))


@pytest.mark.parametrize("part", ["unet", "vae", "clip"])
def test_any_wrong_shape_is_one_sentence(part):
    shapes = {"unet": unet_shapes, "vae": vae_shapes, "clip": clip_shapes}[part](getattr(CONFIG, part))
    settings = hidden_settings(CONFIG)[part]
    choice = random.Random(0)
    for name in [*choice.sample(sorted(shapes), 15), *list(shapes)[:10], *list(shapes)[-10:]]:
        for shape in [(), (0,), shapes[name] + (1,), shapes[name][:-1], tuple(3 * n for n in shapes[name])]:
            with pytest.raises(SVDError, match=r"^[^.\n]*model\.safetensors.*\.$"):
                INFER[part]("model.safetensors", shapes | {name: shape}, settings)


def test_small_model_without_metadata(tmp_path):
    text = sentence(hollow(tmp_path, inventory(CONFIG, 8)))
    assert "head_dim = 64 does not divide: a model of this size must state head_dim in its svd_config metadata" in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("{", "unreadable svd_config settings"),
        ("[]", "unreadable svd_config settings"),
        ('{"unet": 3}', "unreadable svd_config settings"),
        ('{"unet": {"colour": 3}}', "setting unet.colour, which this version does not know: update"),
        ('{"unet": {"head_dim": "wide"}}', "says unet.head_dim is wide, which does not fit"),
        ('{"unet": {"head_dim": 0}}', "says unet.head_dim is 0, which does not fit"),
        ('{"unet": {"head_dim": 16, "model_channels": 320}}', "says unet.model_channels is 320, which does not fit"),
    ],
)
def test_bad_metadata(tmp_path, settings, expected):
    assert expected in sentence(hollow(tmp_path, inventory(CONFIG, 8), metadata={"svd_config": settings}))


def test_parts_that_do_not_fit_together(tmp_path):
    wrong_vae = ModelConfig(CONFIG.unet, AutoencoderConfig(latent_channels=16), None)
    text = sentence(hollow(tmp_path, inventory(wrong_vae), metadata=METADATA))
    assert "a VAE of 16 latent channels cannot serve the 4 of its UNet" in text
    shapes = inventory(ModelConfig(UNetConfig(context_dim=768)), 8)
    assert "an image embedding of 1024 cannot serve the 768" in sentence(hollow(tmp_path, shapes))


def test_companion_without_the_missing_parts(tmp_path):
    unet = hollow(tmp_path, svd_unet(), "unet.safetensors")
    lora = hollow(tmp_path, {"a.lora_down.weight": (4, 4)}, "lora.safetensors")
    assert "lora.safetensors holds no VAE or CLIP image encoder, which unet.safetensors lacks" in sentence(unet, lora)


# --- folders -----------------------------------------------------------------------------------------------------


def test_folder_without_unet(tmp_path):
    assert "is a folder without unet/, so not a model" in sentence(tmp_path)
    (tmp_path / "svd.safetensors").touch()
    assert "is a folder without unet/: pick a file in it, such as svd.safetensors" in sentence(tmp_path)


def test_folder_of_one_part(folder):
    assert "is one part of a diffusers model: pick the folder above it" in sentence(folder / "vae")


def test_folder_with_pickles_only(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(SVDError, match=r"diffusion_pytorch_model\.bin is a pickle"):
        open_checkpoint(folder)


def test_folder_without_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "model/unet holds no .safetensors weights" in sentence(folder)


def test_folder_with_a_missing_shard(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    file.unlink()
    save_file(tensors, folder / "unet" / "one.safetensors")
    weight_map = dict.fromkeys(tensors, "one.safetensors") | {"conv_in.weight": "two.safetensors"}
    index = file.with_name(file.name + ".index.json")
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(SVDError, match=r"unet/two\.safetensors is missing, one of 2 files"):
        open_checkpoint(folder)
    for broken in ({"weight_map": {"a": "../../etc/passwd"}}, {"weight_map": {"a": 3}}, {}):
        index.write_text(json.dumps(broken))
        with pytest.raises(SVDError, match=r"index\.json is corrupt"):
            open_checkpoint(folder)


def test_folder_with_a_broken_config(folder):
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(SVDError, match=r"unet/config\.json is unreadable"):
        open_checkpoint(folder)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_folder_with_settings_of_another_model(folder):
    edit(folder / "image_encoder" / "config.json", hidden_act="quick_gelu")
    assert "model/image_encoder uses the activation quick_gelu" in sentence(folder)
    edit(folder / "image_encoder" / "config.json", hidden_act="gelu")
    edit(folder / "unet" / "config.json", num_attention_heads=[1, 1])
    assert "attention heads of different widths" in sentence(folder)
    edit(folder / "unet" / "config.json", num_attention_heads=["a", "b"])
    assert "model/unet/config.json has unusable num_attention_heads" in sentence(folder)
