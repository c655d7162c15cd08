"""What the tests with other people's packs need: their loader at any size, and a control network."""

from __future__ import annotations

import json

import comfy.controlnet
import folder_paths
import torch
from comfy.t2i_adapter.adapter import Adapter

import nodes

from .loader import autoencoder_size, clip_size, unet_size


class TestEasyLoader:
    """Easy-Use's loader of SVD, which takes the host's own way, at the size of a small checkpoint."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"checkpoint": ("STRING", {}), "config": ("STRING", {}), "image": ("IMAGE",)}}

    RETURN_TYPES = ("PIPE_LINE", "MODEL", "VAE")
    FUNCTION = "load"
    CATEGORY = "SVD tests"

    def load(self, checkpoint, config, image):
        config, easy = json.loads(config), nodes.NODE_CLASS_MAPPINGS["easy svdLoader"]()
        path = folder_paths.get_full_path_or_raise("checkpoints", checkpoint)
        with unet_size(path, config["unet"]), autoencoder_size(config["vae"]), clip_size(config["clip"]):
            return easy.adv_pipeloader(
                checkpoint, "Baked VAE", "None", image, "64 x 64", 64, 64, 4, 100, 7, 0.0, prompt={}
            )


class TestControl:
    """A T2I adapter with random weights: residuals for the UNet's input blocks, one for each level."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"channels": ("STRING", {})}}

    RETURN_TYPES = ("CONTROL_NET",)
    FUNCTION = "make"
    CATEGORY = "SVD tests"

    def make(self, channels):
        with torch.inference_mode(False), torch.random.fork_rng():
            torch.manual_seed(0)
            adapter = Adapter(json.loads(channels), nums_rb=2, cin=3 * 64, sk=True, use_conv=False, xl=False, ksize=1)
        return (comfy.controlnet.T2IAdapter(adapter.eval().requires_grad_(False), 3, 8, "nearest-exact"),)
