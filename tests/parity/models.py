"""Small random models in every layout, and the reference classes that hold the same weights."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svd_core.checkpoints import load_weights, open_checkpoint
from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import tiny_config, write_checkpoint

# The released topology and ratios of widths at a tenth of the width. Reference implementations fix 32 norm groups.
UNET = UNetConfig(model_channels=32, context_dim=48, head_dim=16)
VAE = AutoencoderConfig(channels=32)
CLIP = ClipVisionConfig(width=64, num_layers=3, num_heads=4, mlp_width=160, projection_dim=48)

NETWORKS: dict[str, Any] = {"unet": VideoUNet, "vae": Autoencoder, "clip": ClipVision}


def load_ours(path: Path, part: str) -> Any:
    """Our network with the weights of a checkpoint, by way of the package's own reader and key maps."""
    checkpoint = open_checkpoint(path)
    module = NETWORKS[part](getattr(checkpoint.config, part), Layers(device="meta"))
    load_weights(module, checkpoint, part, dtype=torch.float32)
    return module.eval()


@dataclass(frozen=True)
class Models:
    """The same weights as files of every layout. `folder` is written by diffusers and transformers themselves."""

    root: Path
    config: ModelConfig
    image_decoder: bool

    def layout(self, name: str) -> Path:
        """name: "single", "comfy" or "folder"."""
        return self.folder if name == "folder" else self._written(name)

    def _written(self, layout: str) -> Path:
        path = self.root / (layout if layout == "diffusers" else f"{layout}.safetensors")
        if not path.exists():
            write_checkpoint(path, self.config, layout=layout, dtype=torch.float32)
        return path

    @cached_property
    def folder(self) -> Path:
        path = self.root / "saved"
        if self.image_decoder:
            self.image_vae.save_pretrained(path / "vae")
            shutil.copytree(self._written("diffusers") / "unet", path / "unet")
        else:
            self.pipeline.save_pretrained(path)
        return path

    @cached_property
    def pipeline(self) -> Any:
        """diffusers' pipeline in fp32, the eps of its UNet's residual blocks set to the trained value."""
        from diffusers import StableVideoDiffusionPipeline

        pipeline = StableVideoDiffusionPipeline.from_pretrained(self._written("diffusers"))
        align_resnet_eps(pipeline.unet)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def image_vae(self) -> Any:
        """diffusers' autoencoder with a plain image decoder."""
        from diffusers import AutoencoderKL

        return AutoencoderKL.from_pretrained(self._written("diffusers") / "vae").eval()


def video_models(root: Path) -> Models:
    return Models(root, ModelConfig(UNET, VAE, CLIP), image_decoder=False)


def image_decoder_models(root: Path) -> Models:
    vae = AutoencoderConfig(channels=VAE.channels, temporal_decoder=False)
    return Models(root, ModelConfig(tiny_config().unet, vae, tiny_config().clip), image_decoder=True)


def align_resnet_eps(unet: nn.Module, eps: float = 1e-5) -> None:
    """diffusers builds most residual blocks with 1e-6, where the weights were trained with 1e-5."""
    from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock

    for module in unet.modules():
        if isinstance(module, (ResnetBlock2D, TemporalResnetBlock)):
            module.norm1.eps = module.norm2.eps = eps
