"""What MODEL and VAE of SVD Loader tell of themselves."""

from __future__ import annotations

from typing import Any

from ...svd_core.checkpoints import Checkpoint
from ...svd_core.checkpoints.releases import Release
from ...svd_core.config import ModelConfig, UNetConfig

# Attachments of the MODEL. The host copies them when it clones the model for LoRA and patches.
_RELEASE = "svd_release"
_PIXEL_MULTIPLE = "svd_pixel_multiple"


def attach_checkpoint(model: Any, checkpoint: Checkpoint) -> None:
    """Let a MODEL tell what it was trained for."""
    model.set_attachments(_RELEASE, checkpoint.release)
    model.set_attachments(_PIXEL_MULTIPLE, checkpoint.config.pixel_multiple)


def release_of(model: Any) -> Release | None:
    """The released model behind a MODEL; None for none, or one that SVD Loader has not loaded."""
    return model.get_attachment(_RELEASE) if model is not None else None


def pixel_multiple_of_model(model: Any) -> int:
    """Widths and heights that a MODEL takes; those of the released models where it does not tell, or is None."""
    multiple = model.get_attachment(_PIXEL_MULTIPLE) if model is not None else None
    return multiple or ModelConfig().pixel_multiple


def pixel_multiple_of_vae(vae: Any) -> int:
    """Widths and heights that fit the checkpoint a VAE is from; those of the released models for other VAEs."""
    return getattr(vae, "pixel_multiple", ModelConfig().pixel_multiple)


def num_positions(model: Any) -> int:
    """Number of frames that a MODEL has trained positions for; 0 for any number."""
    config = getattr(model.model.diffusion_model, "config", None)
    return config.num_positions if isinstance(config, UNetConfig) else 0
