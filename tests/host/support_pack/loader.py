"""The host's native SVD classes at any size.

The native loader knows only the released dimensions. This node builds the same classes from the dimensions given, and
loads the same file into them, so that a small checkpoint can run through native code.
"""

from __future__ import annotations

import json
from contextlib import contextmanager

import comfy.clip_vision
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.utils
import folder_paths

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."


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
        weights = comfy.utils.load_torch_file(path)
        vae = native_vae(weights, config["vae"])
        clip = native_clip(weights, config["clip"])
        return (native_model(weights, config["unet"]), clip, vae)


def native_model(weights, config):
    """A ModelPatcher around comfy.model_base.SVD_img2vid."""
    load_device = comfy.model_management.get_torch_device()
    unet_config = comfy.model_detection.detect_unet_config(weights, UNET_PREFIX)
    model_config = comfy.supported_models.SVD_img2vid(unet_config)
    model_config.unet_config["num_head_channels"] = config["head_dim"]
    dtype = comfy.model_management.unet_dtype(supported_dtypes=model_config.supported_inference_dtypes)
    manual_cast = comfy.model_management.unet_manual_cast(dtype, load_device, model_config.supported_inference_dtypes)
    model_config.set_inference_dtype(dtype, manual_cast)
    model = model_config.get_model(weights, UNET_PREFIX)
    patcher = comfy.model_patcher.CoreModelPatcher(
        model, load_device=load_device, offload_device=comfy.model_management.unet_offload_device()
    )
    model.load_model_weights(weights, UNET_PREFIX, assign=patcher.is_dynamic())
    return patcher


def native_vae(weights, config):
    """A comfy.sd.VAE with the temporal decoder."""
    weights = comfy.utils.state_dict_prefix_replace(dict(weights), {VAE_PREFIX: ""}, filter_keys=True)
    size = {
        "ch": config["channels"],
        "ch_mult": list(config["channel_mult"]),
        "num_res_blocks": config["num_res_blocks"],
    }
    with autoencoder_size(size):
        return comfy.sd.VAE(sd=weights)


@contextmanager
def autoencoder_size(size):
    """comfy.sd.VAE has the released dimensions built in; replace them on their way to the class it calls."""
    engine = comfy.sd.AutoencodingEngine

    def resized(*, encoder_config, decoder_config, **rest):
        for part in (encoder_config, decoder_config):
            part["params"].update(size)
        return engine(encoder_config=encoder_config, decoder_config=decoder_config, **rest)

    comfy.sd.AutoencodingEngine = resized
    try:
        yield
    finally:
        comfy.sd.AutoencodingEngine = engine


def native_clip(weights, config):
    """A comfy.clip_vision.ClipVisionModel."""
    prefix = comfy.supported_models.SVD_img2vid.clip_vision_prefix
    own = {name: weight for name, weight in weights.items() if name.startswith(prefix)}
    own = comfy.clip_vision.convert_to_transformers(own, prefix)
    clip = comfy.clip_vision.ClipVisionModel(
        {
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
    )
    missing, _ = clip.load_sd(own)
    if missing:
        raise ValueError(f"The CLIP weights of the checkpoint lack {missing}.")
    return clip
