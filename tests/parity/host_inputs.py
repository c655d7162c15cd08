"""The inputs that both the host's classes and ours get, and the run of the host on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from svd_core.checkpoints.convert.diffusers_json import clip_json
from svd_core.diffusion.schedules import karras_sigmas
from tests.support.native_vae import vae_arguments
from tools.comfyui import find_comfyui

from . import host_process
from .models import CLIP, UNET, VAE, Models
from .unet_cases import HOST_UNET_CASES, unet_inputs

STEPS = (1, 4, 10, 25)
DECODED_FRAMES = (1, 2, 5, 8)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def host_inputs() -> dict[str, Tensor]:
    inputs = {
        "pixels": draw(1, 2, 3, 128, 128).clamp(-1, 1),
        "z": draw(2, 3, 4, 16, 16),
        "clip_pixels": draw(3, 2, 3, CLIP.image_size, CLIP.image_size),
        "sampler_x": 700.0 * draw(4, 3, 4, 8, 8),
        "sampler_sigmas": karras_sigmas(12),
        "scaling_x": draw(5, 5, 4, 8, 8),
        "scaling_v": draw(6, 5, 4, 8, 8),
        "scaling_sigmas": torch.tensor([700.0, 54.5, 1.0, 0.1, 0.002]),
    }
    for frames in DECODED_FRAMES:
        inputs[f"temporal/{frames}/z"] = draw(7, frames, 4, 16, 16)
    for case in HOST_UNET_CASES:
        made = unet_inputs(case)
        rows = made.per_frame() | {"image_only": made.image_only}  # the host wants this one as b t
        inputs |= {f"unet/{case}/{name}": value.contiguous() for name, value in rows.items()}
    return inputs


def run_host(models: Models, image_models: Models, folder: Path) -> dict[str, Tensor]:
    """The host's answers; see host_process.py."""
    job = {
        "comfyui": str(find_comfyui()),
        "single": str(models.layout("single")),
        "comfy": str(models.layout("comfy")),
        "image_decoder": str(image_models.layout("single")),
        "head_dim": UNET.head_dim,
        "vae": vae_arguments(VAE),
        "clip": clip_json(CLIP) | {"num_channels": 3},
        "steps": STEPS,
    }
    (folder / "job.json").write_text(json.dumps(job))
    save_file(host_inputs(), folder / "inputs.safetensors")
    command = [sys.executable, host_process.__file__, str(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "outputs.safetensors")
