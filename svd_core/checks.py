"""What a clip must be before any work is done."""

from __future__ import annotations

from torch import Tensor

from .errors import SVDError


def check_num_frames(num_frames: int) -> None:
    """Raises SVDError for a clip that cannot move."""
    if num_frames < 2:
        raise SVDError(f"A video needs at least 2 frames and {num_frames} were asked for; 14 or 25 suit the models.")


def check_positions(num_frames: int, num_positions: int) -> None:
    """Raises SVDError for a clip longer than the model has positions for; 0 of them is as many as one likes."""
    if 0 < num_positions < num_frames:
        raise SVDError(
            f"This model was extended to {num_positions} frames and {num_frames} were asked for; make a shorter clip."
        )


def check_latents(latents: Tensor, channels: int = 4) -> None:
    """Raises SVDError for anything but frames of latents, t 4 h w: other model families have other shapes."""
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise SVDError(
            f"These latents have the shape {tuple(latents.shape)} and belong to another model family; "
            f"SVD needs frames x {channels} x height x width, as VAE Encode Conditioning makes them."
        )
