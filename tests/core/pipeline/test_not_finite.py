"""A clip that would be black without a word: every stage that gives NaN or infinity says so, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from svd_core import SVDError, SVDPipeline
from svd_core.models.finite import is_finite
from tests.support.random_checkpoint import tiny_config, write_checkpoint

QUICK = {"width": 32, "height": 16, "num_frames": 2, "num_inference_steps": 3}
PICTURE = torch.linspace(0, 1, 16 * 32 * 3).reshape(1, 16, 32, 3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("finite") / "tiny.safetensors", tiny_config())


def load(checkpoint: Path, dtype: torch.dtype = torch.float32) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=dtype)


def sentence(pipe: SVDPipeline, **arguments) -> str:
    with pytest.raises(SVDError) as caught:
        pipe(PICTURE, **{**QUICK, **arguments})
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "name", "title", "what"),
    [
        ("unet", "input_blocks.1.0.in_layers.2.weight", "UNet", "latents of the clip"),
        ("unet", "out.2.bias", "UNet", "latents of the clip"),
        ("vae", "encoder.conv_in.weight", "VAE", "latents of a picture"),
        ("vae", "decoder.conv_in.weight", "VAE", "decoded frames"),
        ("image_encoder", "visual_projection.weight", "image encoder", "image encoder's numbers"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_named(checkpoint, network, name, title, what, value):
    pipe = load(checkpoint)
    pipe_network = getattr(pipe, network)
    pipe_network.get_parameter(name).data.flatten()[0] = value
    text = sentence(pipe)
    leaf = name.removeprefix("encoder.") if what == "latents of a picture" else name
    assert what in text and f"the weights of the {title} do in {leaf}, so the file is damaged" in text


def test_damage_ends_the_run_after_its_first_step(checkpoint):
    pipe, steps = load(checkpoint), []
    pipe.unet.get_parameter("out.2.weight").data[:] = float("nan")
    sentence(pipe, callback=lambda step: steps.append(step.index))
    assert steps == []


def overflow(latents, *_):
    return latents * float("inf")


def test_what_overflows_later_ends_after_the_last_step(checkpoint, monkeypatch):
    pipe = load(checkpoint)
    monkeypatch.setattr("svd_core.pipeline.pipeline.correct_latents", overflow)
    text = sentence(pipe)
    assert text == (
        "The latents of the clip hold NaN or infinity, though the weights of the UNet are finite: "
        "use settings and inputs in their usual range."
    )


def test_fp16_that_overflows(checkpoint):
    pipe = load(checkpoint, torch.float16)
    pipe.unet.get_parameter("out.2.weight").data[:] = 6e4
    pipe.unet.get_parameter("out.2.bias").data[:] = 6e4
    assert "as this UNet gives numbers too large for fp16: choose bf16 or fp32." in sentence(pipe)
    pipe.unet.get_parameter("out.2.bias").data[:] = float("inf")
    assert "do in out.2.bias, for which fp16 may be too small: choose bf16 or fp32." in sentence(pipe)


def test_latents_given_to_the_decode(checkpoint):
    pipe = load(checkpoint)
    latents = torch.zeros(2, 4, 4, 8)
    latents[1, 2, 3, 4] = float("nan")
    with pytest.raises(SVDError, match="latents to decode hold NaN or infinity, so the sampling overflowed"):
        pipe.decode(latents)


def test_the_decode_in_fp32_is_judged_too(checkpoint, caplog):
    pipe = load(checkpoint, torch.float16)
    pipe.vae.get_parameter("decoder.conv_out.bias").data[:] = float("inf")
    with pytest.raises(SVDError, match=r"decoded frames hold NaN .* weights of the VAE do in decoder\.conv_out\.bias"):
        pipe.decode(torch.zeros(2, 4, 4, 8))
    assert "decoding again in fp32" in caplog.text


def test_a_lora_is_suspected_where_there_is_one(checkpoint, monkeypatch):
    pipe = load(checkpoint)
    monkeypatch.setattr("svd_core.pipeline.pipeline.correct_latents", overflow)
    pipe._loras._loras.append(("a LoRA", 1.0))
    assert sentence(pipe).endswith("range, or leave the LoRAs out.")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn])
def test_finite(dtype):
    values = torch.full((3, 5), -1e2).to(dtype)
    assert is_finite(values) and is_finite(values[:0])
    values[2, 4] = float("nan")
    assert not is_finite(values)
    if dtype != torch.float8_e4m3fn:  # which has no infinity
        values[2, 4] = -float("inf")
        assert not is_finite(values)
