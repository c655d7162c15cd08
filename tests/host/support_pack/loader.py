"""The host's native checkpoint loader at any size.

It knows only the released dimensions. This node exchanges those, and nothing else of it, so that a small checkpoint
goes through the host's own detection, key conversion and classes.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from functools import partial
from unittest import mock

import comfy.clip_vision
import comfy.model_detection
import comfy.sd
import comfy.utils
import folder_paths
from comfy.supported_models import SVD_img2vid
from comfy_extras.nodes_video_model import ImageOnlyCheckpointLoader

UNET_PREFIX = "model.diffusion_model."


class TestNativeLoader:
    """`config` is JSON: {"unet": {...}, "vae": {...}, "clip": {...}} with the pack's own field names."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"checkpoint": (folder_paths.get_filename_list("checkpoints"),), "config": ("STRING", {})}}

    RETURN_TYPES = ("MODEL", "CLIP_VISION", "VAE")
    FUNCTION = "load"
    CATEGORY = "SVD tests"

    def load(self, checkpoint, config):
        config = json.loads(config)
        path = folder_paths.get_full_path_or_raise("checkpoints", checkpoint)
        with unet_size(path, config["unet"]), autoencoder_size(config["vae"]), clip_size(config["clip"]):
            return ImageOnlyCheckpointLoader().load_checkpoint(checkpoint)


@contextmanager
def unet_size(path, config):
    """What the host recognises SVD by, and the size of a head, which it does not read from the file."""
    detected = comfy.model_detection.detect_unet_config(comfy.utils.load_torch_file(path), UNET_PREFIX)
    known = {name: detected[name] for name in SVD_img2vid.unet_config}
    extra = {**SVD_img2vid.unet_extra_config, "num_head_channels": config["head_dim"]}
    with mock.patch.multiple(SVD_img2vid, unet_config=known, unet_extra_config=extra):
        yield


@contextmanager
def autoencoder_size(config):
    """comfy.sd.VAE has the dimensions built in; replace them on their way to the class it calls."""
    engine = comfy.sd.AutoencodingEngine
    size = {
        "ch": config["channels"],
        "ch_mult": list(config["channel_mult"]),
        "num_res_blocks": config["num_res_blocks"],
    }

    def resized(*, encoder_config, decoder_config, **rest):
        for part in (encoder_config, decoder_config):
            part["params"].update(size)
        return engine(encoder_config=encoder_config, decoder_config=decoder_config, **rest)

    with mock.patch.object(comfy.sd, "AutoencodingEngine", resized):
        yield


def clip_size(config):
    """The host chooses among the dimensions it knows by the number of layers."""
    return mock.patch.object(comfy.clip_vision, "load_clipvision_from_sd", partial(native_clip, config))


def native_clip(config, weights, prefix, convert_keys):
    """A comfy.clip_vision.ClipVisionModel."""
    own = comfy.clip_vision.convert_to_transformers(weights, prefix) if convert_keys else weights
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:  # older hosts take no dict
        json.dump(clip_settings(config), file)
    clip = comfy.clip_vision.ClipVisionModel(file.name)
    os.unlink(file.name)
    missing, _ = clip.load_sd(own)
    if missing:
        raise ValueError(f"The CLIP weights of the checkpoint lack {missing}.")
    return clip


def clip_settings(config):
    return {
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": config["width"],
        "intermediate_size": config["mlp_width"],
        "num_attention_heads": config["num_heads"],
        "num_hidden_layers": config["num_layers"],
        "projection_dim": config["projection_dim"],
        "patch_size": config["patch_size"],
        "image_size": config["image_size"],
        "num_channels": 3,
        "layer_norm_eps": config["norm_eps"],
    }
