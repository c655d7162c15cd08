"""Diffusers reads our converted checkpoints, and we convert those it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from svd_core.checkpoints import open_checkpoint
from svd_core.checkpoints.convert import convert_checkpoint

from .models import Models

NETWORKS = ("unet", "vae", "image_encoder")


@pytest.mark.parametrize("layout", ["single", "folder"])
def test_diffusers_reads_the_folder(models: Models, layout: str, tmp_path: Path) -> None:
    """From a single file; or from a folder of diffusers by way of a single file."""
    from diffusers import StableVideoDiffusionPipeline

    source = models.layout(layout)
    if layout == "folder":
        source = convert_checkpoint(source, tmp_path / "single.safetensors")
    pipeline = StableVideoDiffusionPipeline.from_pretrained(convert_checkpoint(source, tmp_path / "converted"))
    for name in NETWORKS:
        found, wanted = (getattr(each, name).state_dict() for each in (pipeline, models.pipeline))
        assert set(found) == set(wanted) and found
        assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())
    for name in ("scheduler", "unet", "vae"):
        settings = [dict(getattr(each, name).config) for each in (pipeline, models.pipeline)]
        assert _without_names(settings[0]) == _without_names(settings[1])


def test_a_folder_that_diffusers_wrote_is_converted(models: Models, tmp_path: Path) -> None:
    single = convert_checkpoint(models.folder, tmp_path / "single.safetensors")
    for part in ("unet", "vae", "clip"):
        found, wanted = (dict(open_checkpoint(path).read(part)) for path in (single, models.folder))
        assert set(found) == set(wanted)
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def _without_names(config: dict[str, object]) -> dict[str, object]:
    """Settings beside those that say where they came from."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
