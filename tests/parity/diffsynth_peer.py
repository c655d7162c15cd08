"""DiffSynth-Studio 1.1.9 at toy widths: its own code from its own wheel, with the weights of one of our checkpoints.

The wheel is fetched once, without what it depends on, and imported from where it lies. Only the modules named here are
imported; what the package's own start would import stays away.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tools.comfyui import REPOSITORY

VERSION = "1.1.9"
CACHE = REPOSITORY / ".cache" / f"diffsynth-{VERSION}"

# Its constructors hold the released sizes as numbers. These are the ones of `models.py`.
UNET_SIZES = {320: 32, 640: 64, 1280: 128, 2560: 256, 1920: 192, 960: 96, 5: 2, 10: 4, 20: 8, 64: 16, 1024: 48}
VAE_SIZES = {128: 32, 256: 64, 512: 128}


def wheel() -> Path:
    """The cached wheel; skips the test where it cannot be had."""
    if not list(CACHE.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", f"diffsynth=={VERSION}", "-d", str(CACHE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the wheel of DiffSynth {VERSION} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    (found,) = CACHE.glob("*.whl")
    return found


@dataclass
class DiffSynth:
    """The peer's pipeline with its networks, in fp32 on the CPU; `latents` are those of its last run."""

    pipeline: Any
    scheduler: type
    unet_class: type
    latents: Tensor | None = None

    def __call__(self, **arguments: Any) -> np.ndarray:
        """The frames, t h w 3 uint8."""
        frames = self.pipeline(progress_bar_cmd=lambda steps: steps, **arguments)
        return np.stack([np.asarray(frame) for frame in frames])


def load(checkpoint: Path, clip: dict[str, int]) -> DiffSynth:
    """checkpoint: a single file, in the sizes of `models.py`. clip: arguments of its image encoder."""
    package(wheel())
    weights = load_file(checkpoint)
    unet = smaller("models.svd_unet", "SVDUNet", UNET_SIZES)
    smaller("models.sd_vae_encoder", "SDVAEEncoder", VAE_SIZES)
    decoder = smaller("models.svd_vae_decoder", "SVDVAEDecoder", VAE_SIZES)
    encoder = module("models.svd_vae_encoder").SVDVAEEncoder
    image_encoder = module("models.svd_image_encoder").SVDImageEncoder
    scheduler = module("schedulers.continuous_ode").ContinuousODEScheduler
    for name, value in {
        "models": {
            "ModelManager": object,
            "SVDImageEncoder": image_encoder,
            "SVDUNet": unet,
            "SVDVAEEncoder": encoder,
            "SVDVAEDecoder": decoder,
        },
        "schedulers": {"ContinuousODEScheduler": scheduler},
    }.items():
        vars(module(name)).update(value)
    pipeline = module("pipelines.svd_video").SVDVideoPipeline(device="cpu", torch_dtype=torch.float32)
    pipeline.unet, pipeline.vae_encoder = filled(unet(), weights), filled(encoder(), weights)
    pipeline.vae_decoder, pipeline.image_encoder = filled(decoder(), weights), filled(image_encoder(**clip), weights)
    peer = DiffSynth(pipeline, scheduler, unet)
    correct = pipeline.post_process_latents

    def remember(latents: Tensor, **settings: Any) -> Tensor:
        peer.latents = correct(latents, **settings)
        return peer.latents.clone()

    pipeline.post_process_latents = remember
    return peer


def filled(network: torch.nn.Module, weights: dict[str, Tensor]) -> torch.nn.Module:
    """With weights under official names, by way of the peer's own key maps."""
    converted = type(network).state_dict_converter().from_civitai(weights)
    network.load_state_dict(converted[0] if isinstance(converted, tuple) else converted)
    return network.eval()


def package(wheel: Path) -> None:
    """`diffsynth` and its folders as empty packages whose modules come from the wheel."""
    for name in ("", ".models", ".schedulers", ".pipelines"):
        empty = types.ModuleType(f"diffsynth{name}")
        empty.__path__ = [str(wheel / f"diffsynth{name}".replace(".", "/"))]
        sys.modules[empty.__name__] = empty


def module(name: str) -> types.ModuleType:
    return importlib.import_module(f"diffsynth.{name}")


def smaller(name: str, class_name: str, sizes: dict[int, int]) -> type:
    """A class of the peer, put in its module's place, with the sizes in its constructor replaced."""
    home = module(name)
    tree = ast.parse(inspect.getsource(home))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    (constructor,) = (n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    for node in ast.walk(constructor):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            node.value = sizes.get(node.value, node.value)
    changed = compile(ast.Module([found], []), f"<{class_name} made smaller>", "exec")
    exec(changed, vars(home))  # noqa: S102  the class that was just imported, but for those numbers
    return vars(home)[class_name]


def picture(seed: int, width: int = 128, height: int = 64) -> Image.Image:
    """A smooth picture: blurred noise."""
    levels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)
