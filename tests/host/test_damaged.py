"""Damaged weights and overflows in the running host: a sentence from the node that meets them, never a black clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import SMALL
from graphs import Clip, Source, build, run_and_load
from safetensors.torch import load_file, save_file
from test_lora import CHANGED, SHAPES, chained, ours
from test_wrong_input import assert_one_sentence, failure

from svd_core.checkpoints import read_header
from tests.support.random_lora import random_factors, write_lora, write_other_kind
from tools.client import Client
from tools.host import Host

CLIP = Clip(steps=2, frames=2)
DAMAGE = {
    "unet": "model.diffusion_model.out.2.bias",
    "encoder": "conditioner.embedders.3.encoder.encoder.conv_in.bias",
    "decoder": "first_stage_model.decoder.conv_out.bias",
    "clip": "conditioner.embedders.0.open_clip.model.visual.ln_post.bias",
}


def write_damaged(host: Host, source: Source, part: str, value: float = float("nan")) -> Source:
    """A checkpoint with one number of a part replaced; a file of its own, as the host keeps loaded ones."""
    tensors, metadata = load_file(host.checkpoints / SMALL), read_header(host.checkpoints / SMALL).metadata
    tensors[DAMAGE[part]][0] = value
    name = f"damaged_{part}.safetensors"
    save_file(tensors, host.checkpoints / name, metadata)
    return Source(name, source.picture, {**source.native_loader, "checkpoint": name})


@pytest.mark.parametrize(
    ("part", "native", "node", "title"),
    [
        ("unet", (), "SVD_Sampler", "UNet do in out.2.bias"),
        ("unet", ("sampler",), "KSampler", "UNet do in out.2.bias"),
        ("unet", ("loader",), "SVD_Sampler", "UNet do in out.2.bias"),
        ("encoder", (), "SVD_VAEEncodeConditioning", "VAE do in conv_in.bias"),
        ("encoder", ("conditioning",), "SVD_img2vid_Conditioning", "VAE do in conv_in.bias"),
        ("clip", (), "SVD_CLIPImageEncode", "image encoder do in vision_model.post_layernorm.bias"),
        ("clip", ("clip",), "CLIPVisionEncode", "image encoder do in vision_model.post_layernorm.bias"),
        ("decoder", (), "SVD_TemporalVAEDecode", "VAE do in decoder.conv_out.bias"),
        ("decoder", ("decode",), "VAEDecode", "VAE do in decoder.conv_out.bias"),
        ("decoder", ("loader",), "SVD_TemporalVAEDecode", "VAE do in "),
    ],
)
def test_damaged_weights(
    client: Client, host: Host, source: Source, part: str, native: tuple[str, ...], node: str, title: str
) -> None:
    where, sentence = failure(client, build(write_damaged(host, source, part), CLIP, native, name="never"))
    assert where == node
    assert f"the weights of the {title}" in sentence
    assert sentence.endswith("so the file is damaged: download it again or pick another.")


def test_latents_of_a_damaged_model_of_the_host(client: Client, host: Host, source: Source) -> None:
    """Nobody judges what the host samples with its own MODEL before it is decoded."""
    damaged = write_damaged(host, source, "unet")
    where, sentence = failure(client, build(damaged, CLIP, ("loader", "sampler"), name="never"))
    assert where == "SVD_TemporalVAEDecode"
    assert sentence.startswith("The latents to decode hold NaN or infinity")
    assert_one_sentence(sentence)


def test_loras_that_are_not_finite(client: Client, host: Host, source: Source) -> None:
    folder = host.base / "models" / "loras"
    whole = build(source, CLIP, name="never")
    path = write_lora(folder / "nan.safetensors", random_factors(SHAPES, CHANGED), SHAPES, "kohya")
    damage(path)
    other = write_other_kind(folder / "nan_loha.safetensors", "loha", SHAPES, CHANGED, "kohya")
    damage(other)
    client.get("/object_info/SVD_LoRA")
    for file in (path, other):
        where, sentence = failure(client, chained(whole, ours(file.name)))
        assert where == "SVD_LoRA"
        assert file.name in sentence and "holds numbers that are not finite" in sentence


def damage(path: Path) -> None:
    tensors = load_file(path)
    next(iter(tensors.values())).flatten()[0] = float("inf")
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)


def test_a_lora_that_is_too_strong(client: Client, host: Host, source: Source) -> None:
    """Finite factors whose product is not, so it shows only in the sampling."""
    factors = {name: (1e30 * down, 1e30 * up) for name, (down, up) in random_factors(SHAPES, CHANGED).items()}
    write_lora(host.base / "models" / "loras" / "huge.safetensors", factors, SHAPES, "kohya")
    client.get("/object_info/SVD_LoRA")
    where, sentence = failure(client, chained(build(source, CLIP, name="never"), ours("huge.safetensors")))
    assert where == "SVD_Sampler"
    assert sentence.endswith(", or leave the LoRAs out.")


def test_bytes_after_the_last_tensor(client: Client, host: Host, source: Source) -> None:
    name = "longer.safetensors"
    (host.checkpoints / name).write_bytes((host.checkpoints / SMALL).read_bytes() + bytes(16))
    longer = Source(name, source.picture, source.native_loader)
    clips = [run_and_load(client, host.output, build(each, CLIP, name="longer")) for each in (source, longer)]
    assert torch.equal(clips[0]["image"], clips[1]["image"])


def test_a_name_that_is_no_line(client: Client, host: Host, source: Source) -> None:
    name = "\x1b[31mred\nline2.safetensors"
    (host.checkpoints / name).write_bytes(b"")
    client.get("/object_info/SVD_Loader")
    where, sentence = failure(client, build(Source(name, source.picture, source.native_loader), CLIP, name="never"))
    assert where == "SVD_Loader"
    assert sentence.isprintable() and "red\\nline2.safetensors is empty" in sentence
    (host.checkpoints / name).unlink()
