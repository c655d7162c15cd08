"""CLIP_VISION: our image tower as the host's own object."""

from __future__ import annotations

from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor

from ...svd_core.checkpoints import Checkpoint, settings_tensor
from ...svd_core.images.encoder_pixels import CLIP_MEAN, CLIP_STD
from ...svd_core.models.finite import check_finite
from ...svd_core.models.image_encoder import ClipVision, ClipVisionOutput
from ...svd_core.models.layers import Layers
from .folders import model_management
from .weights import load_part


class SVDClipVision(comfy.clip_vision.ClipVisionModel):
    """Computes in fp32, as the host does, whatever the weights are stored in."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> None:
        """dtype: type of the stored weights, by default the host's choice on a GPU and the file's on a CPU."""
        config = checkpoint.clip
        self.image_size = config.image_size
        self.image_mean, self.image_std = list(CLIP_MEAN), list(CLIP_STD)
        self.model_type = "clip_vision_model"
        self.return_all_hidden_states = False
        self.naf = None  # newer hosts' nodes for another family ask for it
        self.config = {"image_size": config.image_size, "model_type": self.model_type}
        self.load_device = model_management.text_encoder_device()
        if dtype is None and not model_management.is_device_cpu(self.load_device):
            dtype = model_management.text_encoder_dtype(self.load_device)
        self.dtype = dtype or checkpoint.dtype("clip")
        self.model = ClipVision(config, Layers(comfy.ops.manual_cast, self.dtype)).eval().requires_grad_(False)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.model,
            load_device=self.load_device,
            offload_device=model_management.text_encoder_offload_device(),
        )
        load_part(self.model, checkpoint, "clip", self.dtype, dynamic=self.patcher.is_dynamic())

    def get_sd(self) -> dict[str, Tensor]:
        """The weights to save."""
        return self.model.state_dict() | settings_tensor("clip", self.model.config)

    def encode_image(self, image: Tensor, crop: bool = True, **_: Any) -> Any:
        """Called by the host's own node: its preprocessing, our network. image: b h w 3 in [0, 1]."""
        pixels = comfy.clip_model.clip_preprocess(
            image.to(self.load_device), size=self.image_size, mean=self.image_mean, std=self.image_std, crop=crop
        )
        return encode_pixels(self, pixels)


def encode_pixels(clip_vision: Any, pixels: Tensor) -> Any:
    """CLIP_VISION_OUTPUT of normalised pictures, b 3 s s, through our tower or one of the host's."""
    model_management.load_model_gpu(clip_vision.patcher)
    pixels = pixels.to(clip_vision.load_device, torch.float32)
    if isinstance(clip_vision, SVDClipVision):
        states: ClipVisionOutput = clip_vision.model(pixels)
        last, penultimate, embeds = states
        projected = None
    else:
        last, penultimate, embeds, projected = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
    check_finite(embeds, "The image encoder's numbers", clip_vision.model, "image encoder", torch.float32)
    device = model_management.intermediate_device()
    output = comfy.clip_vision.Output()
    output["last_hidden_state"] = last.to(device)
    output["penultimate_hidden_states"] = penultimate.to(device)
    output["image_embeds"] = embeds.to(device)
    output["image_sizes"] = [pixels.shape[1:]] * len(pixels)
    output["mm_projected"] = projected
    return output
