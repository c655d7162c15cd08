"""Measure what a decode in pieces does to the picture: ours, ComfyUI's own nodes and diffusers, in one run.

    python -m benchmarks.decode_peers [--frames 12] [--size 128] [--out benchmarks/results/decode_peers.json]

Random weights at the released widths, fp32, on the CPU. Each decoder is held against its own decode of the whole clip.
Peak is of the tensors alive, weights not counted; what a decode keeps in host memory is told apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from svd_core.checkpoints import load_weights, open_checkpoint
from svd_core.config import ModelConfig
from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.memory.rehearsal import HOST, AllocationCounter
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.layers import Layers
from tests.support.random_checkpoint import tiny_config, write_checkpoint
from tools.comfyui import find_comfyui

from .machine import machine
from .timing import relative_error

Decode = Callable[[Tensor], Tensor]
CHUNK = 4
VAE_PREFIX = "first_stage_model."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--out", type=Path, help="also keep the figures as JSON")
    options = parser.parse_args()
    z = torch.randn(options.frames, 4, options.size // 8, options.size // 8, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        single, diffusers = write(Path(folder))
        rows = [*measured("SVD Nodes", ours(single), z)]
        rows += measured("diffusers", theirs(diffusers), z)
        rows += measured("ComfyUI", native(single), z)
    for row in rows:
        print(
            "{who:10} {how:34} error {error:8.1e}   peak {device_mb:7.0f} MB, in host memory {host_mb:5.0f} MB".format(
                **row
            )
        )
    if options.out:
        setup = {"frames": options.frames, "size": options.size, **machine(z.device)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(setup | {"rows": rows}, indent=2) + "\n")


def write(folder: Path) -> tuple[Path, Path]:
    """The same random weights as a single file and as a diffusers folder: a full-size VAE, the rest tiny."""
    config = ModelConfig(tiny_config().unet, ModelConfig().vae, tiny_config().clip)
    single = write_checkpoint(folder / "single.safetensors", config, dtype=torch.float32)
    return single, write_checkpoint(folder / "diffusers", config, layout="diffusers", dtype=torch.float32)


def measured(who: str, ways: Iterator[tuple[str, Decode]], z: Tensor) -> Iterator[dict[str, Any]]:
    """The first way is the decode of the whole clip, which the others are held against."""
    whole: Tensor | None = None
    for how, decode in ways:
        with AllocationCounter() as counter:
            frames = decode(z)
        whole = frames if whole is None else whole
        peak = {f"{name}_mb": counter.peak[place] / 2**20 for name, place in (("device", "cpu"), ("host", HOST))}
        yield {"who": who, "how": how, "error": relative_error(frames, whole), **peak}


def ours(single: Path) -> Iterator[tuple[str, Decode]]:
    checkpoint = open_checkpoint(single)
    vae = Autoencoder(checkpoint.vae, Layers(device="meta"))
    load_weights(vae, checkpoint, "vae", dtype=torch.float32)
    yield "whole clip", lambda z: vae.decode(z)
    yield f"{CHUNK} frames at once", lambda z: decode_clip(vae, z, DecodePlan(CHUNK))
    yield "1 frame at once", lambda z: decode_clip(vae, z, DecodePlan(1))
    yield "1 frame at once, spilled", lambda z: decode_clip(vae, z, DecodePlan(1, spill=True))
    yield "1 frame, 4 bands, spilled", lambda z: decode_clip(vae, z, DecodePlan(1, bands=4, spill=True))


def theirs(folder: Path) -> Iterator[tuple[str, Decode]]:
    from diffusers import AutoencoderKLTemporalDecoder

    vae: Any = AutoencoderKLTemporalDecoder.from_pretrained(folder / "vae").eval()

    def in_chunks(size: int) -> Decode:
        return lambda z: torch.cat([vae.decode(part, num_frames=len(part)).sample for part in z.split(size)])

    yield "whole clip", lambda z: in_chunks(len(z))(z)
    yield f"decode_chunk_size={CHUNK}", in_chunks(CHUNK)
    yield "decode_chunk_size=1", in_chunks(1)


def native(single: Path) -> Iterator[tuple[str, Decode]]:
    """The VAE of ComfyUI's loader; memory decides how many frames VAEDecode takes, so memory is what is pretended."""
    sys.path.insert(0, str(find_comfyui()))
    sys.argv = ["main.py", "--cpu"]
    logging.disable(logging.INFO)
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd

    weights = {name: tensor for name, tensor in load_file(single).items() if name.startswith(VAE_PREFIX)}
    vae: Any = comfy.sd.VAE(sd={name.removeprefix(VAE_PREFIX): tensor for name, tensor in weights.items()})

    def in_chunks(size: int) -> Decode:
        def decode(z: Tensor) -> Tensor:
            needed = vae.memory_used_decode(z.shape, vae.vae_dtype)
            vae.patcher.get_free_memory = lambda device: (size + 0.5) * needed
            return vae.decode(z)

        return decode

    yield "VAEDecode, memory for the clip", lambda z: in_chunks(len(z))(z)
    yield f"VAEDecode, memory for {CHUNK} frames", in_chunks(CHUNK)
    yield "VAEDecodeTiled", lambda z: vae.decode_tiled(z, tile_x=64, tile_y=64, overlap=16)


if __name__ == "__main__":
    main()
