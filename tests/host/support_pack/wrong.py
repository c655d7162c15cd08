"""Things that no other node gives our sockets, on a link that the host lets through."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_patcher
import torch

CPU = torch.device("cpu")


def empty_vae():
    """What the host's loaders make of a checkpoint without a VAE."""
    import comfy.sd

    vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    vae.first_stage_model = None
    return vae


THINGS = {
    # These two every node takes.
    "grey pictures": lambda: torch.rand(2, 64, 64, 1, generator=torch.Generator().manual_seed(0)),
    "pictures with alpha": lambda: torch.rand(2, 64, 64, 4, generator=torch.Generator().manual_seed(0)),
    "nothing": lambda: None,
    "another model": lambda: comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), CPU, CPU),
    "an empty VAE": empty_vae,
    "a LATENT without samples": lambda: {"type": "audio"},
    "latents of another family": lambda: {"samples": torch.zeros(4, 16, 8, 8)},
    "latents of another kind of video": lambda: {"samples": torch.zeros(1, 4, 4, 8, 8)},
    "one picture without a batch": lambda: torch.zeros(64, 64, 3),
    "an empty batch": lambda: torch.zeros(0, 64, 64, 3),
    "pictures with channels first": lambda: torch.zeros(2, 3, 64, 64),
    "an embedding of nothing": comfy.clip_vision.Output,
    "a list of tensors": lambda: [torch.zeros(1, 1, 32)],
    "nan": lambda: float("nan"),
    "half a frame": lambda: 2.5,
}


class TestWrongThing:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": (list(THINGS),)}}

    RETURN_TYPES = ("*",)
    FUNCTION = "make"
    CATEGORY = "SVD tests"

    def make(self, what):
        return (THINGS[what](),)
