"""Differences of DiffSynth-Studio 1.1.9, for clips with its numbers.

The rest are settings: `denoising_steps="all steps"`, `post_normalize=True`, `contrast_enhance_scale=1.2`, and as
`latent_noise` and `augmentation_noise` its noise. Two things stay different: held frames are exact after the last
step too, and a clip is decoded as a whole instead of in windows of eight frames.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..models.autoencoder import Autoencoder
from ..models.unet.unet import VideoUNet
from .pipeline import SVDPipeline

FRAME_SCALE = 0.13025  # of the latents of given frames; trained with 0.18215, the model shows them paler


def imitate(pipe: SVDPipeline) -> None:
    """Give a pipeline DiffSynth's scale of given frames and its epsilons. Load it again to undo this."""
    pipe.frame_scale = FRAME_SCALE
    for norm, eps in (*_list_unet_eps(pipe.unet), *_list_vae_eps(pipe.vae)):
        norm.eps = eps


def _list_unet_eps(unet: VideoUNet) -> Iterator[tuple[nn.GroupNorm, float]]:
    """The model was trained with 1e-5 in residual blocks, and 1e-6 where a transformer begins."""
    coarsest = unet.config.num_res_blocks
    for name, norm in _list_group_norms(unet):
        side, number, place = [*name.split("."), "", ""][:3]
        if place == "1" or name.startswith("middle_block.1."):
            yield norm, 1e-5
        elif side == "input_blocks":
            yield norm, 1e-5 if int(number) >= len(unet.input_blocks) - coarsest else 1e-6
        elif side == "output_blocks":
            yield norm, 1e-5 if int(number) <= coarsest and ".time_stack." in name else 1e-6


def _list_vae_eps(vae: Autoencoder) -> Iterator[tuple[nn.GroupNorm, float]]:
    """The model was trained with 1e-6, and 1e-5 in temporal layers."""
    for name, norm in _list_group_norms(vae.decoder):
        if ".time_stack." in name:
            yield norm, 1e-6
        elif name == "norm_out":
            yield norm, 1e-5


def _list_group_norms(network: nn.Module) -> Iterator[tuple[str, nn.GroupNorm]]:
    return ((name, each) for name, each in network.named_modules() if isinstance(each, nn.GroupNorm))
