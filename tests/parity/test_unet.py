"""The UNet against diffusers' UNetSpatioTemporalConditionModel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
from torch import Tensor, nn

from svd_core.models.unet.unet import VideoUNet

from .figures import Figures, relative_error
from .models import Models, align_resnet_eps, load_ours
from .unet_cases import UNET_CASES, UNetCase, UNetInputs, unet_inputs

LIMIT = 1e-5
DOUBLE_LIMIT = 2e-7


@pytest.fixture(scope="module")
def ours(models: Models) -> VideoUNet:
    return load_ours(models.layout("single"), "unet")


@pytest.fixture(scope="module")
def theirs(models: Models) -> Any:
    return models.pipeline.unet


def run_ours(unet: VideoUNet, inputs: UNetInputs) -> Tensor:
    rows = inputs.per_frame()
    if not rows["image_only"].any():
        del rows["image_only"]  # the way the pipeline calls it
    return unet(**rows, num_frames=inputs.num_frames).reshape(*inputs.x.shape[:2], -1, *inputs.x.shape[-2:])


def run_theirs(unet: Any, inputs: UNetInputs) -> Tensor:
    with marking_images(unet, inputs.image_only):
        return unet(inputs.x, inputs.c_noise, inputs.context, inputs.numbers).sample  # b t 4 h w


@contextmanager
def marking_images(unet: Any, image_only: Tensor) -> Iterator[None]:
    """diffusers' UNet always says that there are no lone images; its blocks take the marks from elsewhere too."""

    def mark(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        assert "image_only_indicator" in kwargs
        return args, kwargs | {"image_only_indicator": image_only}

    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    handles = [block.register_forward_pre_hook(mark, with_kwargs=True) for block in blocks]
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("case", UNET_CASES, ids=str)
def test_unet(ours: VideoUNet, theirs: Any, figures: Figures, case: UNetCase) -> None:
    inputs = unet_inputs(case)
    figures.within(LIMIT, f"UNet / diffusers, {case}", run_ours(ours, inputs), run_theirs(theirs, inputs))


def test_unet_in_double_precision(ours: VideoUNet, theirs: Any, figures: Figures) -> None:
    """Without the rounding of fp32 next to nothing is left: sinusoids and blend weights stay fp32 here."""
    inputs = unet_inputs(UNET_CASES[0]).double()
    pair = run_ours(deepcopy(ours).double(), inputs), run_theirs(deepcopy(theirs).double(), inputs)
    figures.within(DOUBLE_LIMIT, f"UNet / diffusers, {UNET_CASES[0]}, fp64", *pair)


@pytest.mark.parametrize("layout", ["comfy", "folder"])
def test_unet_of_every_layout(models: Models, theirs: Any, figures: Figures, layout: str) -> None:
    inputs = unet_inputs(UNET_CASES[0])
    ours = load_ours(models.layout(layout), "unet")
    figures.within(LIMIT, f"UNet / diffusers, {layout} file", run_ours(ours, inputs), run_theirs(theirs, inputs))


def test_eps_of_the_residual_blocks_shows(ours: VideoUNet, theirs: Any) -> None:
    """The limit is tight enough to tell 1e-6 from the 1e-5 of the trained model."""
    inputs = unet_inputs(UNET_CASES[0])
    align_resnet_eps(theirs, 1e-6)
    try:
        other = run_theirs(theirs, inputs)
    finally:
        align_resnet_eps(theirs)
    assert relative_error(run_ours(ours, inputs), other) > LIMIT
