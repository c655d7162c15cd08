"""The autoencoder against diffusers' AutoencoderKLTemporalDecoder and AutoencoderKL."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.models.autoencoder import Autoencoder

from .figures import Figures, relative_error
from .models import Models, load_ours

LIMIT = 1e-5
DOUBLE_LIMIT = 2e-7
FRAMES = 5


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def temporal(models: Models) -> Autoencoder:
    return load_ours(models.layout("single"), "vae")


@pytest.fixture(scope="module")
def decoded(models: Models) -> Tensor:
    with torch.no_grad():
        return models.pipeline.vae.decode(latents(), num_frames=FRAMES).sample


def latents() -> Tensor:
    return draw(FRAMES, 4, 16, 24)


@pytest.mark.parametrize("layout", ["single", "comfy", "folder"])
def test_encode(models: Models, figures: Figures, layout: str) -> None:
    """Their quant_conv is in our last convolution, however the file has it."""
    pixels = draw(2, 3, 128, 192).clamp(-1, 1)
    ours = load_ours(models.layout(layout), "vae")
    theirs = models.pipeline.vae.encode(pixels).latent_dist
    figures.within(LIMIT, f"VAE encode / diffusers, {layout} file", ours.encode(pixels), theirs.mode())
    figures.within(LIMIT, f"VAE moments / diffusers, {layout} file", ours.encoder(pixels), theirs.parameters)


@pytest.mark.parametrize("layout", ["single", "comfy", "folder"])
def test_temporal_decode(models: Models, decoded: Tensor, figures: Figures, layout: str) -> None:
    ours = load_ours(models.layout(layout), "vae")
    figures.within(LIMIT, f"temporal decode / diffusers, {layout} file", ours.decode(latents()), decoded)


@pytest.mark.parametrize("frames_at_once", [1, 2, 3, FRAMES])
def test_temporal_decode_a_few_frames_at_once(
    temporal: Autoencoder, decoded: Tensor, figures: Figures, frames_at_once: int
) -> None:
    ours = decode_clip(temporal, latents(), DecodePlan(frames_at_once))
    figures.within(LIMIT, f"temporal decode / diffusers, {frames_at_once} frames at once", ours, decoded)


def test_temporal_decode_of_two_clips(models: Models, temporal: Autoencoder, figures: Figures) -> None:
    z = draw(2 * 3, 4, 16, 16)
    theirs = models.pipeline.vae.decode(z, num_frames=3).sample
    ours = {"whole": temporal.decode(z, 3), "2 at once": decode_clip(temporal, z, DecodePlan(2), num_frames=3)}
    for how, frames in ours.items():
        figures.within(LIMIT, f"temporal decode / diffusers, two clips, {how}", frames, theirs)


def test_autoencoder_in_double_precision(models: Models, temporal: Autoencoder, figures: Figures) -> None:
    """Without the rounding of fp32 next to nothing is left: the blend weights stay fp32 here."""
    ours, theirs = deepcopy(temporal).double(), deepcopy(models.pipeline.vae).double()
    z, pixels = draw(3, 4, 16, 16).double(), draw(2, 3, 128, 128).double()
    decoded = theirs.decode(z, num_frames=3).sample
    for how, frames in {"whole": ours.decode(z), "1 at once": decode_clip(ours, z, DecodePlan(1))}.items():
        figures.within(DOUBLE_LIMIT, f"temporal decode / diffusers, {how}, fp64", frames, decoded)
    encoded = theirs.encode(pixels).latent_dist.mode()
    figures.within(DOUBLE_LIMIT, "VAE encode / diffusers, fp64", ours.encode(pixels), encoded)


def test_temporal_decode_of_one_frame(models: Models, temporal: Autoencoder, figures: Figures) -> None:
    z = draw(1, 4, 16, 16)
    theirs = models.pipeline.vae.decode(z, num_frames=1).sample
    figures.within(LIMIT, "temporal decode / diffusers, one frame", temporal.decode(z), theirs)


def test_their_decode_in_pieces_is_another_clip(models: Models, decoded: Tensor) -> None:
    """Frames of a clip depend on each other, so that equality of ours in pieces means something."""
    pieces = [models.pipeline.vae.decode(z, num_frames=len(z)).sample for z in latents().split(2)]
    assert relative_error(torch.cat(pieces), decoded) > 1e-2


@pytest.mark.parametrize("layout", ["single", "comfy", "folder"])
def test_image_decoder(image_models: Models, figures: Figures, layout: str) -> None:
    ours = load_ours(image_models.layout(layout), "vae")
    theirs = image_models.image_vae
    z, pixels = draw(3, 4, 16, 16), draw(2, 3, 128, 128)
    expected = theirs.decode(z).sample
    for how, frames in {"whole": ours.decode(z), "2 at once": decode_clip(ours, z, DecodePlan(2))}.items():
        figures.within(LIMIT, f"image decode / diffusers, {layout} file, {how}", frames, expected)
    what = f"VAE encode / diffusers AutoencoderKL, {layout} file"
    figures.within(LIMIT, what, ours.encode(pixels), theirs.encode(pixels).latent_dist.mode())
