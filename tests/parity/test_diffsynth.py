"""Side by side with DiffSynth-Studio 1.1.9, with its epsilons and its scale of encoded clips switched on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from svd_core import SVDPipeline
from svd_core.checkpoints import unet_shapes
from svd_core.checkpoints.extension import extension_names
from svd_core.diffusion.conditioning import MicroConditioning, vector
from svd_core.diffusion.edm import denoised, scalings
from svd_core.diffusion.guidance import guidance_scale, guide
from svd_core.diffusion.latents import correct_latents
from svd_core.diffusion.noise import draw_noise
from svd_core.diffusion.samplers import sample_euler
from svd_core.diffusion.schedules import sigmas
from svd_core.pipeline import diffsynth
from tests.support.random_checkpoint import write_extension

from . import diffsynth_peer as peer
from .figures import Figures, relative_error
from .models import UNET

LIMIT = 1e-4
WIDTH, HEIGHT, FRAMES, STEPS, SEED = 128, 64, 6, 4, 3
CLIP = {"embed_dim": 64, "num_encoder_layers": 3, "encoder_intermediate_size": 160, "projection_dim": 48}
NOISE_AUG = 0.02
PICTURE = peer.picture(0)
VIDEO = [peer.picture(seed) for seed in range(1, FRAMES + 1)]


@pytest.fixture(scope="module")
def checkpoint(models: Any) -> Path:
    return models.layout("single")


@pytest.fixture(scope="module")
def theirs(checkpoint: Path) -> peer.DiffSynth:
    return peer.load(checkpoint, {**CLIP, "num_heads": 4, "head_dim": 16})


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> SVDPipeline:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu")
    diffsynth.imitate(pipe)
    return pipe


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(checkpoint, device="cpu")


SHARED = {
    "num_frames": FRAMES,
    "width": WIDTH,
    "height": HEIGHT,
    "fps": 7,
    "motion_bucket_id": 100,
    "noise_aug_strength": NOISE_AUG,
    "num_inference_steps": STEPS,
    "min_cfg_scale": 1.0,
    "max_cfg_scale": 2.5,
    "seed": SEED,
    "post_normalize": False,
    "contrast_enhance_scale": 1.0,
}


def run_theirs(theirs: peer.DiffSynth, **changes: Any) -> tuple[Tensor, Tensor]:
    """Latents t 4 h w, and frames t h w 3 uint8."""
    frames = theirs(input_image=PICTURE, **{**SHARED, **changes})
    assert theirs.latents is not None
    return theirs.latents, torch.from_numpy(frames)


def run_ours(ours: SVDPipeline, **changes: Any) -> Tensor:
    """Latents t 4 h w, from the noise that the peer draws for the seed: both of its noises begin alike."""
    return ours(
        PICTURE,
        **{**SHARED, **changes},
        latent_noise=draw_noise((FRAMES, 4, HEIGHT // 8, WIDTH // 8), SEED),
        augmentation_noise=draw_noise((1, 3, HEIGHT, WIDTH), SEED),
        output="latent",
        progress=False,
    )


def unet_call(height: int = HEIGHT) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(FRAMES, 8, height // 8, WIDTH // 8, generator=generator)
    return x, torch.randn(1, 1, UNET.context_dim, generator=generator), torch.tensor([[6.0, 100.0, NOISE_AUG]])


def test_unet(theirs: peer.DiffSynth, ours: SVDPipeline, plain: SVDPipeline, figures: Figures) -> None:
    x, context, numbers = unet_call()
    c_noise = torch.tensor(0.3)
    v = theirs.pipeline.unet(x, c_noise, context[0], numbers)
    y = vector(MicroConditioning(7, 100, NOISE_AUG)).expand(FRAMES, -1)
    arguments = (x, c_noise.expand(FRAMES), context.expand(FRAMES, -1, -1), y, FRAMES)
    figures.within(LIMIT, "UNet, DiffSynth with its eps", ours.unet(*arguments), v)
    # The switch does something: without it the two are further apart.
    assert relative_error(plain.unet(*arguments), v) > 2 * relative_error(ours.unet(*arguments), v)


def test_vae(theirs: peer.DiffSynth, ours: SVDPipeline, plain: SVDPipeline, figures: Figures) -> None:
    pixels = torch.from_numpy(np.stack([np.asarray(frame) for frame in VIDEO])).movedim(-1, 1) / 127.5 - 1
    z = theirs.pipeline.vae_encoder(pixels) / diffsynth.FRAME_SCALE
    figures.within(LIMIT, "VAE encoder, DiffSynth", ours.vae.encode(pixels), z)
    frames = theirs.pipeline.vae_decoder.decode_video(z * 0.18215).movedim(0, 1)
    figures.within(LIMIT, "VAE decoder, DiffSynth with its eps", ours.vae.decode(z), frames)
    assert relative_error(plain.vae.decode(z), frames) > 2 * relative_error(ours.vae.decode(z), frames)


@pytest.mark.parametrize("strength", [1.0, 0.7, 0.5, 0.3])
def test_scheduler(theirs: peer.DiffSynth, figures: Figures, strength: float) -> None:
    """Its levels, its first sample and its steps, of a model that anyone can compute."""
    scheduler = theirs.scheduler()
    scheduler.set_timesteps(STEPS, denoising_strength=strength)
    levels = sigmas("karras", STEPS, strength, shortening="all steps")
    figures.within(LIMIT, f"levels at strength {strength:g}, DiffSynth", levels[:-1], scheduler.sigmas)
    figures.within(
        LIMIT, f"c_noise at strength {strength:g}, DiffSynth", scalings(levels[:-1]).c_noise, scheduler.timesteps
    )

    clip, noise = (torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    x = scheduler.add_noise(clip, noise, scheduler.timesteps[0])
    for timestep in scheduler.timesteps:
        x = scheduler.step(x.tanh(), timestep, x.clone())
    sample = sample_euler(
        lambda x, sigma: denoised((scalings(sigma).c_in * x).tanh(), x, sigma), clip + levels[0] * noise, levels
    )
    figures.within(LIMIT, f"steps at strength {strength:g}, DiffSynth", sample, x)


def test_guidance(theirs: peer.DiffSynth, figures: Figures) -> None:
    x, context, numbers = unet_call()
    latents, picture = x[:, :4], x[:, 4:]
    scales = torch.linspace(1.0, 3.0, FRAMES).reshape(FRAMES, 1, 1, 1)
    context = context[0]
    guided = theirs.pipeline.calculate_noise_pred(
        latents, torch.tensor(0.3), numbers, scales, picture, context, torch.zeros_like(picture), 0 * context
    )
    positive = theirs.pipeline.unet(x, torch.tensor(0.3), context, numbers)
    negative = theirs.pipeline.unet(torch.cat([latents, 0 * picture], 1), torch.tensor(0.3), 0 * context, numbers)
    mine = guide(negative, positive, guidance_scale("linear", 1.0, 3.0, FRAMES))
    figures.within(LIMIT, "guidance, DiffSynth", mine, guided)


def test_picture_to_video(theirs: peer.DiffSynth, ours: SVDPipeline, figures: Figures) -> None:
    latents, frames = run_theirs(theirs)
    mine = run_ours(ours)
    figures.within(LIMIT, "picture to video, DiffSynth", mine, latents)
    with torch.inference_mode():
        decoded = ours.decode(mine) * 255
    assert (decoded - frames.float()).abs().max() <= 1.01  # it truncates to 8 bits


@pytest.mark.parametrize("strength", [0.7, 0.3])
def test_video_to_video(
    theirs: peer.DiffSynth, ours: SVDPipeline, plain: SVDPipeline, figures: Figures, strength: float
) -> None:
    settings = {"input_video": VIDEO, "denoising_strength": strength}
    latents, _ = run_theirs(theirs, **settings)
    figures.within(LIMIT, f"video to video at {strength:g}, DiffSynth", run_ours(ours, **settings), latents)
    assert relative_error(run_ours(plain, **settings), latents) > 2 * LIMIT  # the right scale is another


def test_mask_frames(theirs: peer.DiffSynth, ours: SVDPipeline, figures: Figures) -> None:
    """All but the held frames are the same; those it leaves at the last noise level, 0.002."""
    held, free = [0, 4], [1, 2, 3, 5]
    settings = {"mask_frames": [VIDEO[0], VIDEO[1]], "mask_frame_ids": held}
    latents, _ = run_theirs(theirs, **settings)
    mine = run_ours(ours, **settings)
    figures.within(LIMIT, "mask frames, the others, DiffSynth", mine[free], latents[free])
    z = theirs.pipeline.encode_video_with_vae([VIDEO[0], VIDEO[1]])
    figures.within(LIMIT, "mask frames, the held, to the latent", mine[held], z)
    assert relative_error(latents[held], z) > relative_error(mine[held], z)


@pytest.mark.parametrize("settings", [(True, 1.2), (True, 1.0), (False, 1.2)])
def test_post_normalize(theirs: peer.DiffSynth, figures: Figures, settings: tuple[bool, float]) -> None:
    latents = torch.randn(FRAMES, 4, 8, 16, generator=torch.Generator().manual_seed(5)) * torch.rand(FRAMES, 1, 1, 1)
    names = ("post_normalize", "contrast_enhance_scale")
    arguments = dict(zip(names, settings, strict=True))
    corrected = theirs.pipeline.post_process_latents(latents.clone(), **arguments)
    figures.within(LIMIT, f"post-normalise {settings}, DiffSynth", correct_latents(latents, *settings), corrected)


def test_everything_at_once(theirs: peer.DiffSynth, ours: SVDPipeline, figures: Figures) -> None:
    settings = {
        "input_video": VIDEO,
        "denoising_strength": 0.6,
        "post_normalize": True,
        "contrast_enhance_scale": 1.2,
    }
    latents, _ = run_theirs(theirs, **settings)
    figures.within(LIMIT, "video to video, post-normalised, DiffSynth", run_ours(ours, **settings), latents)


# --- ExVideo's extension --------------------------------------------------------------------------------------------

POSITIONS = 8


def test_extended_unet(theirs: peer.DiffSynth, checkpoint: Path, tmp_path: Path, figures: Figures) -> None:
    """The same extension file in both, read by its names in the peer."""
    path = write_extension(tmp_path / "extension.safetensors", UNET, POSITIONS, torch.float32)
    unet = theirs.unet_class(add_positional_conv=POSITIONS)
    missing, unexpected = unet.load_state_dict({**theirs.pipeline.unet.state_dict(), **load_file(path)}, strict=False)
    assert not missing and not unexpected
    longer = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=path)
    diffsynth.imitate(longer)
    x, context, numbers = unet_call(2 * HEIGHT)  # the peer cannot mirror a lone row
    y = vector(MicroConditioning(7, 100, NOISE_AUG)).expand(FRAMES, -1)
    arguments = (x, torch.full((FRAMES,), 0.3), context.expand(FRAMES, -1, -1), y, FRAMES)
    v = unet.eval()(x, torch.tensor(0.3), context[0], numbers)
    figures.within(LIMIT, "extended UNet, DiffSynth", longer.unet(*arguments), v)
    assert relative_error(theirs.pipeline.unet(x, torch.tensor(0.3), context[0], numbers), v) > 0.01


def test_the_extension_has_every_name_the_peer_has(theirs: peer.DiffSynth) -> None:
    config = dataclasses.replace(UNET, num_positions=POSITIONS)
    unet = theirs.unet_class(add_positional_conv=POSITIONS)
    over_time = {
        f"blocks.{number}.{name}": tuple(value.shape)
        for number, block in enumerate(unet.blocks)
        if type(block).__name__ == "TemporalAttentionBlock"
        for name, value in block.state_dict().items()
    }
    shapes = unet_shapes(config)
    assert over_time == {theirs: shapes[ours] for theirs, ours in extension_names(config).items()}
