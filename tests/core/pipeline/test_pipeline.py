"""The pipeline from a file to frames: reproducible, and plain about what it cannot do."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core import SVDError, SVDPipeline
from svd_core.memory.activations import UNetCall, unet_bytes
from svd_core.memory.decode.estimate import buffer_bytes
from svd_core.memory.decode.plan import DecodeCall
from svd_core.memory.device import MemoryChoice
from svd_core.pipeline.denoise import GuidedDenoiser
from tests.core.models.test_networks import relative
from tests.support.random_checkpoint import tiny_config, write_checkpoint

SETTINGS = {"width": 32, "height": 16, "num_frames": 3, "num_inference_steps": 2, "progress": False}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8))

AFTER_SAMPLING = 5e-5  # what the steps make of 5e-6 in every evaluation


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("pipeline") / "tiny.safetensors", tiny_config())


@pytest.fixture(scope="module")
def pipe(checkpoint: Path) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(checkpoint, device="cpu")


def test_frames_in_every_form(pipe: SVDPipeline) -> None:
    pictures = pipe(PICTURE, **SETTINGS)
    array = pipe(PICTURE, **SETTINGS, output="array")
    tensor = pipe(PICTURE, **SETTINGS, output="tensor")
    assert [picture.size for picture in pictures] == [(32, 16)] * 3
    assert array.shape == (3, 16, 32, 3) and array.dtype == np.uint8
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), array)
    assert np.array_equal((tensor * 255).round().to(torch.uint8).numpy(), array)


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "heun", "dpmpp_2m"])
def test_same_seed_same_clip_and_another_seed_another(pipe: SVDPipeline, sampler: str) -> None:
    clips = [pipe(PICTURE, **SETTINGS, sampler=sampler, seed=seed, output="tensor") for seed in (5, 5, 6)]
    assert torch.equal(clips[0], clips[1])
    assert not torch.allclose(clips[0], clips[2], atol=1e-2)


def test_a_generator_draws_the_seed(pipe: SVDPipeline) -> None:
    def clips() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(5)
        return [pipe(PICTURE, **SETTINGS, generator=generator, output="latent") for _ in range(2)]

    first, second = clips()
    assert torch.equal(first, clips()[0])
    assert not torch.allclose(first, second, atol=1e-2)
    assert torch.equal(second, clips()[1])


def test_frames_at_once_leaves_the_clip_as_it_is(pipe: SVDPipeline) -> None:
    whole = pipe(PICTURE, **SETTINGS, output="tensor", frames_at_once=3)
    apart = pipe(PICTURE, **SETTINGS, output="tensor", frames_at_once=1)
    assert torch.allclose(whole, apart, atol=1e-5)


@pytest.mark.parametrize("choice", ["automatic", "smallest"])
def test_memory_choice_leaves_the_clip_as_it_is(pipe: SVDPipeline, choice: MemoryChoice) -> None:
    fastest = pipe(PICTURE, **SETTINGS, output="latent", memory="fastest")
    assert relative(pipe(PICTURE, **SETTINGS, output="latent", memory=choice), fastest) < AFTER_SAMPLING


def test_unknown_memory_choice_is_refused(pipe: SVDPipeline) -> None:
    with pytest.raises(SVDError, match="'tiny'"):
        pipe(PICTURE, **SETTINGS, memory="tiny")


def test_clip_that_fits_nowhere_is_refused_before_any_work(pipe: SVDPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svd_core.pipeline.pipeline.free_memory", lambda _: 1000)
    monkeypatch.setattr("svd_core.images.pictures.fit", lambda *_: pytest.fail("work was done"))
    with pytest.raises(SVDError, match="Sampling 3 frames"):
        pipe(PICTURE, **SETTINGS)


def test_clip_that_could_not_be_decoded_is_refused_before_it_is_sampled(
    pipe: SVDPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers = buffer_bytes(DecodeCall(pipe.vae.config, 64, 64, 200, torch.float32), recompute=True)
    monkeypatch.setattr("svd_core.pipeline.pipeline.free_memory", lambda _: buffers)
    monkeypatch.setattr("svd_core.images.pictures.fit", lambda *_: pytest.fail("work was done"))
    with pytest.raises(SVDError, match="The decode of 200 frames"):
        pipe(PICTURE, **{**SETTINGS, "num_frames": 200, "width": 128, "height": 128}, memory="smallest")


def test_running_out_of_memory_repeats_one_evaluation_and_gives_the_same_clip(
    pipe: SVDPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = pipe(PICTURE, **SETTINGS, output="latent", memory="fastest")
    calls: list[int] = []

    def fail_in_the_second_evaluation(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError("no memory")

    handle = pipe.unet.out[0].register_forward_pre_hook(fail_in_the_second_evaluation)
    disturbed = pipe(PICTURE, **SETTINGS, output="latent", memory="fastest", max_cfg_scale=3.0)
    handle.remove()
    assert relative(disturbed, undisturbed) < AFTER_SAMPLING
    assert len(calls) >= 3  # both branches at once in each of two steps, and one step again, in pieces
    assert sum("Memory ran out" in line for line in caplog.messages) == 1


def test_guidance_of_one_everywhere_skips_the_unconditional_branch(pipe: SVDPipeline) -> None:
    frames: list[int] = []
    handle = pipe.unet.register_forward_hook(lambda _, __, v: frames.append(len(v)))
    pipe(PICTURE, **SETTINGS, min_cfg_scale=1.0, max_cfg_scale=1.0)
    pipe(PICTURE, **SETTINGS, min_cfg_scale=2.0, max_cfg_scale=1.0)
    handle.remove()
    assert frames == [3, 3, 6, 6]


def test_guidance_branches_run_apart_where_both_do_not_fit(pipe: SVDPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    together = pipe(PICTURE, **SETTINGS, output="latent")
    config, call = pipe.unet.config, UNetCall(8, 16, 3, torch.float32)
    room = unet_bytes(config, replace(call, clips=2)) - 1  # of which a plan uses a part, which one clip fits into
    monkeypatch.setattr("svd_core.pipeline.pipeline.free_memory", lambda _: room)
    frames: list[int] = []
    handle = pipe.unet.register_forward_hook(lambda _, __, v: frames.append(len(v)))
    apart = pipe(PICTURE, **SETTINGS, output="latent")
    handle.remove()
    assert frames == [3, 3, 3, 3]
    assert relative(apart, together) < AFTER_SAMPLING


@pytest.mark.parametrize(("name", "shape"), [("svd_demo", (14, 96, 96, 3)), ("other", (25, 576, 1024, 3))])
def test_what_is_left_out_is_what_the_checkpoint_was_made_for(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, ...]
) -> None:
    named = tmp_path / f"{name}.safetensors"
    named.symlink_to(checkpoint)
    pipe = SVDPipeline.from_checkpoint(named, device="cpu")
    # The shapes are what is asked here; at full size the networks themselves would take minutes.
    monkeypatch.setattr(GuidedDenoiser, "denoise", lambda _, x, *__: x)
    monkeypatch.setattr(pipe, "encode_picture", lambda pixels, *_: pixels[:, :1].expand(-1, 4, -1, -1)[..., ::2, ::2])
    latents = pipe(PICTURE, num_inference_steps=1, progress=False, output="latent")
    frames, height, width, _ = shape
    assert latents.shape == (frames, 4, height // 2, width // 2)


def test_latents_decode_to_the_frames(pipe: SVDPipeline) -> None:
    latents = pipe(PICTURE, **SETTINGS, output="latent")
    with torch.inference_mode():
        assert torch.equal(pipe.decode(latents), pipe(PICTURE, **SETTINGS, output="tensor"))


def test_every_step_is_reported(pipe: SVDPipeline) -> None:
    steps = []
    pipe(PICTURE, **SETTINGS, callback=lambda step: steps.append((step.index, step.total)))
    assert steps == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_frames": 0}, "num_frames is 0 and must be 2 to 4096"),
        ({"num_frames": 1}, "num_frames is 1"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"sampler": "magic"}, "'magic'"),
        ({"schedule": "magic"}, "'magic'"),
        ({"guidance_kind": "magic"}, "'magic'"),
        ({"fit": "magic"}, "'magic'"),
        ({"fps": 0}, "fps"),
        ({"motion_bucket_id": -1}, "motion_bucket_id"),
        ({"noise_aug_strength": float("nan")}, "noise_aug_strength"),
        ({"width": 0}, "width is 0"),
    ],
    ids=str,
)
def test_settings_that_mean_nothing(pipe: SVDPipeline, change: dict, words: str) -> None:
    with pytest.raises(SVDError) as error:
        pipe(PICTURE, **{**SETTINGS, **change})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_several_pictures_at_once(pipe: SVDPipeline) -> None:
    with pytest.raises(SVDError, match="animate_all"):
        pipe(np.zeros((2, 16, 32, 3), np.uint8), **SETTINGS)


def test_each_picture_of_several_gives_the_clip_it_gives_alone(pipe: SVDPipeline) -> None:
    other = PICTURE.rotate(180).resize((50, 30))
    together = pipe.animate_all([PICTURE, other], seed=5, **SETTINGS, output="tensor")
    alone = [pipe(picture, seed=seed, **SETTINGS, output="tensor") for picture, seed in ((PICTURE, 5), (other, 6))]
    assert all(torch.equal(one, the_other) for one, the_other in zip(together, alone, strict=True))


def test_latents_of_another_family(pipe: SVDPipeline) -> None:
    with pytest.raises(SVDError, match="another model family"):
        pipe.decode(torch.zeros(3, 16, 8, 8))


def test_a_size_the_model_cannot_take_is_fitted_and_said(pipe: SVDPipeline, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        clip = pipe(PICTURE, **{**SETTINGS, "width": 33}, output="array")
    assert clip.shape[1:3] == (16, 32)
    assert "33x16" in caplog.text


def test_length_far_from_the_trained_one_is_said(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    named = checkpoint.with_name("svd_xt.safetensors")
    named.write_bytes(checkpoint.read_bytes())
    with caplog.at_level(logging.WARNING):
        SVDPipeline.from_checkpoint(named, device="cpu")(PICTURE, **SETTINGS)
    assert "trained on 25 frames" in caplog.text


def test_half_precision_decode_that_overflows_is_repeated_in_fp32(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=torch.float16)
    exact = SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=torch.float32)
    # Latents that a 16-bit decoder cannot hold, within the reach of an fp32 one.
    latents = 3e3 * torch.randn(3, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = exact.decode(latents)
        with caplog.at_level(logging.WARNING):
            frames = pipe.decode(latents)
    assert "decoding again in fp32" in caplog.text
    assert torch.allclose(frames, wanted, atol=1e-2)
    assert next(pipe.vae.decoder.parameters()).dtype == torch.float16


@torch.inference_mode()
def test_a_decode_after_an_fp32_retry_that_failed_works(checkpoint: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=torch.float16)
    latents = torch.randn(3, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    before = pipe.decode(latents)

    def fail_in_fp32(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].dtype == torch.float32:
            raise torch.OutOfMemoryError("no memory for fp32")

    hook = pipe.vae.decoder.conv_out.register_forward_pre_hook(fail_in_fp32)
    with pytest.raises(torch.OutOfMemoryError):
        pipe.decode(3e3 * latents)
    hook.remove()
    assert torch.equal(pipe.decode(latents), before)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)], ids=str)
def test_other_precisions_run_the_whole_way(checkpoint: Path, dtype: torch.dtype, tolerance: float) -> None:
    clips = [
        SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=each)(PICTURE, **SETTINGS, output="tensor")
        for each in (dtype, torch.float32)
    ]
    assert 0 < float((clips[0] - clips[1]).abs().mean()) < tolerance
