"""A checkpoint's three networks, filled and on their device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..checkpoints import Checkpoint, load_weights
from ..models.autoencoder import Autoencoder
from ..models.image_encoder import ClipVision
from ..models.kernels import fp8
from ..models.layers import Layers
from ..models.unet.unet import VideoUNet


@dataclass(frozen=True)
class Networks:
    unet: VideoUNet
    vae: Autoencoder
    image_encoder: ClipVision


def load_networks(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype | None = None
) -> Networks:
    """Read all weights of a checkpoint.

    dtype: of the UNet, the image encoder and the decoder of the VAE; its encoder is always fp32. weight_dtype: of the
    UNet's stored matrices, by default `dtype`. Raises SVDError for a missing part, and for files that are damaged.
    """
    checkpoint.require("unet", "vae", "clip")
    # Built on "meta": no memory is taken, and no time to initialise, for weights that the file replaces.
    meta = Layers(device="meta", dtype=dtype)
    unet = VideoUNet(checkpoint.unet, Layers(fp8, dtype, "meta") if weight_dtype else meta)
    vae = Autoencoder(checkpoint.vae, Layers(device="meta"))
    image_encoder = ClipVision(checkpoint.clip, meta)
    load_weights(unet, checkpoint, "unet", dtype=dtype, device=device, matrix_dtype=weight_dtype)
    load_weights(vae, checkpoint, "vae", dtype=torch.float32, device=device)
    load_weights(image_encoder, checkpoint, "clip", dtype=dtype, device=device)
    vae.convert_decoder(dtype)
    return Networks(unet, vae, image_encoder)


def choose_device() -> str:
    """The first of "cuda", "mps" and "cpu" that works here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: str | torch.device) -> torch.dtype:
    """fp16 on CUDA, else fp32."""
    return torch.float16 if torch.device(device).type == "cuda" else torch.float32
