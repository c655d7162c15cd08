"""The networks against the native classes of a real ComfyUI."""

from __future__ import annotations

import pytest
from torch import Tensor

from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.models.unet.unet import VideoUNet

from .figures import Figures
from .host_inputs import DECODED_FRAMES, host_inputs
from .models import Models, load_ours
from .unet_cases import HOST_UNET_CASES, UNetCase, unet_inputs

LIMIT = 1e-5


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return host_inputs()


@pytest.fixture(scope="module")
def unet(models: Models) -> VideoUNet:
    return load_ours(models.layout("single"), "unet")


@pytest.mark.parametrize("case", HOST_UNET_CASES, ids=str)
def test_unet(host: dict[str, Tensor], unet: VideoUNet, figures: Figures, case: UNetCase) -> None:
    inputs = unet_inputs(case)
    ours = unet(**inputs.per_frame(), num_frames=inputs.num_frames)
    figures.within(LIMIT, f"UNet / ComfyUI, {case}", ours, host[f"unet/{case}"])


@pytest.mark.parametrize("frames", DECODED_FRAMES)
def test_temporal_decoder(
    host: dict[str, Tensor], inputs: dict[str, Tensor], models: Models, figures: Figures, frames: int
) -> None:
    vae = load_ours(models.layout("single"), "vae")
    z, theirs = inputs[f"temporal/{frames}/z"], host[f"temporal/{frames}"]
    for how, ours in {"whole": vae.decode(z), "2 at once": decode_clip(vae, z, DecodePlan(2))}.items():
        figures.within(LIMIT, f"temporal decode / ComfyUI, {frames} frames, {how}", ours, theirs)


def test_encoder(host: dict[str, Tensor], inputs: dict[str, Tensor], models: Models, figures: Figures) -> None:
    """The host reads the first stage's encoder, we the conditioner's copy and its quant_conv: one and the same."""
    vae = load_ours(models.layout("single"), "vae")
    figures.within(LIMIT, "VAE moments / ComfyUI", vae.encoder(inputs["pixels"]), host["moments"])


def test_image_decoder(
    host: dict[str, Tensor], inputs: dict[str, Tensor], image_models: Models, figures: Figures
) -> None:
    vae = load_ours(image_models.layout("single"), "vae")
    figures.within(LIMIT, "image decode / ComfyUI", vae.decode(inputs["z"]), host["image"])


def test_clip_vision(host: dict[str, Tensor], inputs: dict[str, Tensor], models: Models, figures: Figures) -> None:
    ours = load_ours(models.layout("single"), "clip")(inputs["clip_pixels"])
    for name, value in ours._asdict().items():
        figures.within(LIMIT, f"CLIP {name} / ComfyUI", value, host[f"clip/{name}"])
