"""Measure the time that small memory costs where the fast way would fit too: one UNet call and one decode.

    python -m benchmarks.memory_cost [--stages sampling decode] [--frames 8] [--height 128] [--width 256] [--rounds 3]

Small pictures make the price of small pieces look high: every piece reads all weights, and has little to do with them.
Random weights of the released sizes, fp32 on the CPU, fp16 on a GPU where there is one; the ways take turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svd_core.config import ModelConfig
from svd_core.memory.activations import UNetCall
from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodePlan
from svd_core.memory.sampling import plan_sampling
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet

from .machine import machine
from .timing import Spread, interleaved

CONFIG = ModelConfig()
Ways = Mapping[str, Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--height", type=int, default=128, help="pixels")
    parser.add_argument("--width", type=int, default=256, help="pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also keep the figures as JSON")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    shape = (options.frames, options.height // 8, options.width // 8)
    figures = {}
    with torch.inference_mode():
        for stage in options.stages:
            spreads = measured(STAGES[stage](shape, device, dtype), options.rounds, device)
            report(stage, spreads)
            figures[stage] = {name: each.as_json() for name, each in spreads.items()}
    if options.out:
        setup = {"frames, latent height, width": shape, "dtype": str(dtype), **machine(device)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(setup | {"seconds": figures}, indent=2) + "\n")


def unet_ways(shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> Ways:
    """One branch of the guidance, under the splits that the choices of SVD Sampler take for this shape."""
    unet = random_weights(VideoUNet(CONFIG.unet, Layers(device=device, dtype=dtype)))
    frames, height, width = shape
    call = UNetCall(height, width, frames, dtype, on_cpu=device.type == "cpu")
    x = torch.randn(frames, CONFIG.unet.in_channels, height, width, device=device, dtype=dtype)
    context = torch.randn(frames, 1, CONFIG.unet.context_dim, device=device, dtype=dtype)
    y = torch.randn(frames, CONFIG.unet.adm_in_channels, device=device, dtype=dtype)
    sigma = torch.zeros(frames, device=device)

    def evaluate(choice: str) -> Callable[[], Any]:
        pieces = plan_sampling(CONFIG.unet, call, None, choice).pieces
        return lambda: unet(x, sigma, context, y, frames, pieces=pieces)

    return {choice: evaluate(choice) for choice in ("fastest", "smallest")}


def decode_ways(shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> Ways:
    vae = random_weights(Autoencoder(CONFIG.vae, Layers(device=device, dtype=dtype)))
    frames, height, width = shape
    z = torch.randn(frames, 4, height, width, device=device, dtype=dtype)
    plans = {
        "whole clip": DecodePlan(frames),
        "1 frame at once": DecodePlan(1),
        "1 frame, one buffer": DecodePlan(1, recompute=True),
        "1 frame, spilled": DecodePlan(1, spill=True),
        "1 frame, 4 bands, spilled": DecodePlan(1, bands=4, spill=True),
    }

    def decode(plan: DecodePlan) -> Callable[[], Any]:
        return lambda: decode_clip(vae, z, plan)

    return {name: decode(plan) for name, plan in plans.items()}


def random_weights(module: nn.Module) -> Any:
    """Small and finite: the time does not depend on them, but for numbers that are not normal."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.02)
    return module.eval()


def measured(ways: Ways, rounds: int, device: torch.device) -> dict[str, Spread]:
    for way in ways.values():
        way()
    return interleaved(ways, rounds, device)


def report(stage: str, spreads: dict[str, Spread]) -> None:
    whole = next(iter(spreads.values())).median
    for name, each in spreads.items():
        seconds = f"{each.median:6.2f} s ({each.fastest:.2f} to {each.slowest:.2f})"
        print(f"{stage:9} {name:26} {seconds}  {each.median / whole:.2f}x", flush=True)


STAGES = {"sampling": unet_ways, "decode": decode_ways}

if __name__ == "__main__":
    main()
