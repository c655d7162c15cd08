"""Every layout a checkpoint comes in, through SVD Loader in the running host: the same weights, the same clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from graphs import Clip, Source, build, relative_error, run_and_load, succeeded
from safetensors.torch import load_file, save_file
from test_wrong_input import assert_one_sentence, failure

from tests.support.random_checkpoint import small_config, write_checkpoint
from tools.client import Client, HostError, Prompt
from tools.host import Host
from tools.workflow import node_of, with_inputs

CLIP = Clip(steps=2)
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def single(client: Client, host: Host, source: Source) -> dict[str, torch.Tensor]:
    return run_and_load(client, host.output, build(source, CLIP, name="single"))


@pytest.fixture(scope="module")
def lone_unet(host: Host) -> str:
    path = host.checkpoints / "lone_unet.safetensors"
    tensors = {name: tensor for name, tensor in load_file(host.checkpoints / SMALL).items() if name.startswith(UNET)}
    save_file(tensors, path, {"svd_config": '{"unet": {"head_dim": 16}}'})
    return path.name


def from_layout(source: Source, checkpoint: str, name: str, **changes: str) -> Prompt:
    prompt = build(replace(source, checkpoint=checkpoint), CLIP, name=name)
    return with_inputs(prompt, SVD_Loader=changes) if changes else prompt


def test_diffusers_folder(client: Client, host: Host, source: Source, single: dict[str, torch.Tensor]) -> None:
    write_checkpoint(host.base / "models" / "diffusers" / "small", small_config(), layout="diffusers")
    listed = client.get("/object_info/SVD_Loader")["SVD_Loader"]["input"]["required"]["checkpoint"][1]["options"]
    assert "diffusers/small" in listed
    clip = run_and_load(client, host.output, from_layout(source, "diffusers/small", "diffusers"))
    assert relative_error(clip["image"], single["image"]) <= 1e-4


def test_file_saved_again_by_the_host(
    client: Client, host: Host, source: Source, single: dict[str, torch.Tensor]
) -> None:
    write_checkpoint(host.checkpoints / "saved_again.safetensors", small_config(), layout="comfy")
    clip = run_and_load(client, host.output, from_layout(source, "saved_again.safetensors", "comfy"))
    assert relative_error(clip["image"], single["image"]) <= 1e-4


def test_unet_alone_completed_by_a_companion(
    client: Client, host: Host, source: Source, single: dict[str, torch.Tensor], lone_unet: str
) -> None:
    prompt = from_layout(source, lone_unet, "completed", companion=SMALL)
    clip = run_and_load(client, host.output, prompt)
    assert torch.equal(clip["image"], single["image"])


def test_unet_alone_without_a_companion(client: Client, source: Source, lone_unet: str) -> None:
    node, sentence = failure(client, from_layout(source, lone_unet, "never"))
    assert node == "SVD_Loader"
    assert "VAE" in sentence and "image encoder" in sentence
    assert_one_sentence(sentence.replace(lone_unet, "file"))


def test_image_decoder_file_decodes_frames_alone(client: Client, host: Host, source: Source) -> None:
    name = "small_image_decoder.safetensors"
    write_checkpoint(host.checkpoints / name, small_config(image_decoder=True))
    ours = run_and_load(client, host.output, from_layout(source, name, "image_decoder"))
    native = build(replace(source, checkpoint=name), CLIP, ("decode",), name="image_decoder_native")
    swapped = run_and_load(client, host.output, native)
    assert ours["image"].std() > 0.01
    assert relative_error(ours["image"], swapped["image"]) <= 1e-4


def test_pickle_is_refused(client: Client, host: Host, source: Source) -> None:
    (host.checkpoints / "old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    prompt = from_layout(source, "old.ckpt", "never")
    assert prompt[node_of(prompt, "SVD_Loader")]["inputs"]["checkpoint"] == "old.ckpt"
    node, sentence = failure(client, prompt)
    assert node == "SVD_Loader"
    assert "pickle" in sentence
    assert_one_sentence(sentence.replace("old.ckpt", "file").replace(".safetensors", ""))


def test_names_outside_the_list_are_refused(client: Client, host: Host, source: Source) -> None:
    """A workflow cannot name a file that the host does not list."""
    outside = Path(host.base) / "outside.safetensors"
    outside.write_bytes((host.checkpoints / SMALL).read_bytes())
    with pytest.raises(HostError) as refused:
        client.queue(from_layout(source, "../../outside.safetensors", "never"))
    errors = [error["type"] for node in refused.value.body["node_errors"].values() for error in node["errors"]]
    assert "value_not_in_list" in errors


def test_a_guessed_length_stands_below_the_loader(client: Client, host: Host, source: Source) -> None:
    """And not below that of a file whose name tells its release."""
    (host.checkpoints / "svd_xt (1).safetensors").write_bytes((host.checkpoints / SMALL).read_bytes())
    (host.checkpoints / "dance.safetensors").write_bytes((host.checkpoints / SMALL).read_bytes())
    for name, guessed in (("dance.safetensors", True), ("svd_xt (1).safetensors", False)):
        before = len(host.log_text())
        run = succeeded(client.run(from_layout(source, name, "guessed")))
        assert any(b"25, as SVD XT, is a guess" in event.raw for event in run.events) == guessed
        assert ("25, as SVD XT, is a guess" in host.log_text()[before:]) == guessed


def test_what_is_unusual_for_a_checkpoint_is_logged(client: Client, host: Host, source: Source) -> None:
    """4 frames from a model of 25, and a width it cannot take."""
    (host.checkpoints / "svd_xt.safetensors").write_bytes((host.checkpoints / SMALL).read_bytes())
    prompt = from_layout(source, "svd_xt.safetensors", "unusual")
    clip = run_and_load(client, host.output, with_inputs(prompt, SVD_VAEEncodeConditioning={"width": 100}))
    assert clip["latent"].shape[-1] == 128 // 8
    assert "was trained on 25 frames; 4 may" in host.log_text()
    assert "The size 100x64 is not a multiple of 64" in host.log_text()
