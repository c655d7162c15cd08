"""Nodes around a MODEL that only the tests use."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
import torch._dynamo
import torch._dynamo.utils
from comfy.ldm.modules.attention import attention_pytorch


class TestCountFrames:
    """Tells the model that the rows it gets are one clip, whatever the conditioning says of its length."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "SVD tests"

    def patch(self, model):
        def count(apply_model, args):
            num_frames = len(args["input"]) // len(args["cond_or_uncond"])
            return apply_model(args["input"], args["timestep"], **{**args["c"], "num_video_frames": num_frames})

        model = model.clone()
        model.set_model_unet_function_wrapper(count)
        return (model,)


class TestTorchAttention:
    """Attention as it is on a GPU. That of a CPU asks for the free memory, where a compiled graph ends."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "SVD tests"

    def patch(self, model):
        def attend(usual, *args, **kwargs):
            return attention_pytorch(*args, **kwargs)

        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = attend
        return (model,)


class TestCompiled:
    """Writes what torch.compile has counted to output/<name>.json, and has it forget what it compiled."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {}), "latent": ("LATENT",)}}

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "save"
    CATEGORY = "SVD tests"

    def save(self, name, latent):
        counters = torch._dynamo.utils.counters
        counted = {group: dict(counts) for group, counts in counters.items()}
        counters.clear()
        torch._dynamo.reset()
        path = Path(folder_paths.get_output_directory()) / f"{name}.json"
        path.write_text(json.dumps(counted))
        return {"ui": {"tensors": [path.name]}}
