"""Measure how soon a full-size checkpoint is ready to sample, against reading its bytes; the page cache is warm.

    python -m benchmarks.loading [--rounds 5] [--dtype fp16] [--out benchmarks/results/loading.json]

Writes random weights of the released size into a temporary folder, as a single file and in the diffusers layout (9 GB
of disk together). On a CPU weights that need no conversion stay views of the mapped file: for a fair comparison every
page of them is touched before the clock stops.
"""

from __future__ import annotations

import argparse
import json
import mmap
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svd_core import SVDPipeline
from svd_core.config import ModelConfig
from tests.support.random_checkpoint import DTYPES, write_checkpoint

from .implementations import DIFFUSERS, OURS
from .machine import machine
from .run import quiet_diffusers
from .timing import Spread, interleaved

READING = "reading the bytes"
LIMIT = 1.2
BLOCK = 64 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp16", help="of the file, and of the loaded model")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loading.json"))
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        size, seconds = measure(Path(folder), DTYPES[options.dtype], options.rounds, device)
    for who, spread in seconds.items():
        ratio = spread.median / seconds[READING].median
        print(f"{who:20} {spread.median:6.2f} s ({spread.fastest:.2f} to {spread.slowest:.2f}), {ratio:.2f}x")
    print(f"{size / 1e9:.1f} GB; ready in at most {LIMIT}x the time of {READING} is asked for")
    results = machine(device) | {"dtype": options.dtype, "bytes": size}
    results["seconds"] = {who: spread.as_json() for who, spread in seconds.items()}
    options.out.write_text(json.dumps(results, indent=2) + "\n")


def measure(folder: Path, dtype: torch.dtype, rounds: int, device: torch.device) -> tuple[int, dict[str, Spread]]:
    """Bytes of the file, and seconds."""
    from diffusers import StableVideoDiffusionPipeline

    quiet_diffusers()
    single = write_checkpoint(folder / "single.safetensors", ModelConfig(), dtype=dtype)
    parts = write_checkpoint(folder / "folder", ModelConfig(), layout="diffusers", dtype=dtype)

    def ours() -> SVDPipeline:
        pipe = SVDPipeline.from_checkpoint(single, device=device, dtype=dtype)
        for network in (pipe.unet, pipe.vae, pipe.image_encoder):
            touch(network)
        return pipe

    def theirs() -> Any:
        pipe = StableVideoDiffusionPipeline.from_pretrained(parts, torch_dtype=dtype).to(device)
        for network in (pipe.unet, pipe.vae, pipe.image_encoder):
            touch(network)
        return pipe

    ways = {READING: lambda: read(single), OURS: ours, DIFFUSERS: theirs}
    for way in ways.values():
        way()
    return single.stat().st_size, interleaved(ways, rounds, device)


def read(path: Path) -> None:
    """All of a file, into memory that is there already, which is the fastest it can be had."""
    block = bytearray(BLOCK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def touch(network: nn.Module) -> None:
    """Read one byte of every page of the weights."""
    for parameter in network.parameters():
        if parameter.device.type == "cpu":
            parameter.detach().view(torch.uint8).flatten()[:: mmap.PAGESIZE].sum()


if __name__ == "__main__":
    main()
