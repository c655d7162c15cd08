"""Nodes that write what flows through the graph to a file, and that make a wrong input."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import torch
from safetensors.torch import save_file


class TestSaveTensors:
    """Writes its inputs to output/<name>.safetensors."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"name": ("STRING", {})},
            "optional": {
                "latent": ("LATENT",),
                "image": ("IMAGE",),
                "conditioning": ("CONDITIONING",),
                "clip_vision_output": ("CLIP_VISION_OUTPUT",),
            },
        }

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "save"
    CATEGORY = "SVD tests"

    def save(self, name, latent=None, image=None, conditioning=None, clip_vision_output=None):
        tensors = {}
        if latent is not None:
            tensors["latent"] = latent["samples"]
        if image is not None:
            tensors["image"] = image
        if conditioning is not None:
            ((embedding, options),) = conditioning
            tensors["embedding"] = embedding
            tensors["concat_latent_image"] = options["concat_latent_image"]
            for key in ("fps", "motion_bucket_id", "augmentation_level"):
                tensors[key] = torch.tensor(float(options[key]))
        if clip_vision_output is not None:
            tensors["image_embeds"] = clip_vision_output["image_embeds"]
            tensors["last_hidden_state"] = clip_vision_output["last_hidden_state"]
        path = Path(folder_paths.get_output_directory()) / f"{name}.safetensors"
        save_file({key: value.detach().cpu().float().contiguous() for key, value in tensors.items()}, path)
        return {"ui": {"tensors": [path.name]}}


class TestPlainConditioning:
    """Conditioning as a text encoder makes it: no picture in it, unless `picture` is set."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"picture": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "SVD tests"

    def make(self, picture=False):
        options = {"concat_latent_image": torch.zeros(1, 4, 8, 8)} if picture else {}
        return ([[torch.zeros(1, 77, 768), {"pooled_output": torch.zeros(1, 768), **options}]],)
