"""Progress on the page with a picture of all frames, which the host's own previews do not show."""

from __future__ import annotations

import logging
from typing import Any

import comfy.utils
import folder_paths
import latent_preview
from torch import Tensor

from ...svd_core.images.preview import decode_preview, draw_preview, guess_colours
from ...svd_core.models.tiny_decoder import TinyVideoDecoder, load_tiny_decoder
from .folders import ProgressBar

logger = logging.getLogger(__name__)

TINY_DECODERS = ("taesdv.safetensors", "taesdv.pth", "taesdv_decoder.safetensors", "taesdv_decoder.pth")


class Preview:
    """Progress and previews of a run of one or several clips.

    A previewer that the user has chosen comes first, then TAESDV from models/vae_approx, else a linear guess.
    """

    def __init__(self, model: Any, total: int) -> None:
        """total: number of steps, all clips together."""
        self.bar, self.total = ProgressBar(total), total
        self.latent_format = model.model.latent_format
        self.chosen = choose_previewer(model)
        # TAESDV knows the latents that the host's decoders of this format know.
        known = self.chosen is None and self.latent_format.taesd_decoder_name is not None
        self.decoder = load_taesdv(model.load_device) if known else None

    def show(self, step: int, x0: Tensor, x: Tensor, total_steps: int, done: int = 0) -> None:
        """Callback of the host after each step. done: number of steps of the clips before."""
        self.bar.update_absolute(done + step + 1, self.total, self.picture(x0))

    def picture(self, x0: Tensor) -> Any:
        """The picture in the form that the host sends to the page. x0: t 4 h w."""
        size = latent_preview.MAX_PREVIEW_RESOLUTION
        if self.chosen is not None:
            return self.chosen.decode_latent_to_preview_image("JPEG", x0)
        if self.decoder is not None:
            return "JPEG", draw_preview(decode_preview(self.decoder, x0, size)), size
        colours = guess_colours(x0, self.latent_format.latent_rgb_factors, self.latent_format.latent_rgb_factors_bias)
        return "JPEG", draw_preview(colours), size


def choose_previewer(model: Any) -> Any:
    """The host's previewer, or another pack's in its place; None where the user is content with a linear guess."""
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    return None if type(previewer) is latent_preview.Latent2RGBPreviewer else previewer


def load_taesdv(device: Any) -> TinyVideoDecoder | None:
    """TAESDV from models/vae_approx, or None. A file that cannot be read is named in the log."""
    offered = folder_paths.get_filename_list("vae_approx")
    name = next((name for name in TINY_DECODERS if name in offered), None)
    if name is None:
        return None
    try:
        # safe_load reads only tensors from a .pth, and never runs code in it.
        tensors = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("vae_approx", name), safe_load=True)
        return load_tiny_decoder(tensors).to(device)
    except Exception as error:  # noqa: BLE001 - whatever is in the file, a preview must not end a run
        logger.warning("The preview does without models/vae_approx/%s: %s", name, error)
        return None
