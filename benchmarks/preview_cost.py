"""Measure the preview of all frames beside the sampling step it follows.

    python -m benchmarks.preview_cost [--frames 25] [--height 576] [--width 1024] [--rounds 10] [--out FILE.json]

Measured is one preview of the clip's latents, from x0 to the JPEG that ComfyUI sends: with latent colours, and with
TAESDV (random weights; they do not change the time). On a CPU the figures are processor seconds, so that other work on
the machine does not count. The step, both guidance branches of the full-size UNet, is given twice: the least that this
machine could take, from the UNet's FLOPs and the speed of one of its matrix products here; and the fastest that has
been published, for what is done on the CPU there too, or where this machine has a GPU.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import ImageOps
from torch import Tensor

from svd_core.images.preview import decode_preview, draw_preview, guess_colours
from svd_core.models.tiny_decoder import TinyVideoDecoder

from .machine import machine

PREVIEW_SIZE = 512  # ComfyUI's default for the longer side
BUDGET = 0.02

# SVD-XT 1.1 on an H100 with TensorRT: 22.64 s for 25 steps of 25 frames at 1024x576, of which the UNet takes some 84 %
# (huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt-1-1-tensorrt).
FASTEST_STEP = 0.84 * 22.64 / 25
HERE = "least on this machine"
UNET_FLOP = 2 * 79.95e12  # both branches at that size, counted with torch's FlopCounterMode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--height", type=int, default=576, help="pixels")
    parser.add_argument("--width", type=int, default=1024, help="pixels")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="also keep the figures as JSON")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x0 = torch.randn(options.frames, 4, options.height // 8, options.width // 8, device=device)
    with torch.inference_mode():
        previews = {name: seconds(way, x0, options.rounds) for name, way in ways(device).items()}
        steps = {"fastest published (H100, TensorRT)": FASTEST_STEP, HERE: least_step(device)}
    for name, preview in previews.items():
        for where, step in steps.items():
            if name != "TAESDV" or where == HERE or device.type == "cuda":
                print(f"{name:15} {1e3 * preview:8.1f} ms, {preview / step:7.3%} of a step of {step:7.2f} s, {where}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        figures = machine(device) | {"latents": list(x0.shape), "preview": previews, "step": steps, "budget": BUDGET}
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


def ways(device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """Frames of the preview from x0. Random colours take the time of ComfyUI's."""
    colours = torch.randn(4, 3).tolist()
    decoder = TinyVideoDecoder().to(device).eval()
    return {
        "latent colours": lambda x0: guess_colours(x0, colours, [0.0, 0.0, 0.0]),
        "TAESDV": lambda x0: decode_preview(decoder, x0, PREVIEW_SIZE),
    }


def seconds(frames_of: Callable[[Tensor], Tensor], x0: Tensor, rounds: int) -> float:
    """Median of one preview, sent as ComfyUI sends it."""

    def preview() -> None:
        sheet = ImageOps.contain(draw_preview(frames_of(x0)), (PREVIEW_SIZE, PREVIEW_SIZE))
        sheet.save(io.BytesIO(), "JPEG", quality=95, compress_level=1)

    return timed(preview, x0.device, rounds)


def least_step(device: torch.device) -> float:
    """At the speed of the feed-forward's product of the finest level: nothing in the UNet runs faster for long."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    tokens, weight = (torch.randn(shape, dtype=dtype, device=device) for shape in ((9216, 320), (320, 2560)))
    product = timed(lambda: tokens @ weight, device, 5)
    return UNET_FLOP * product / (2 * 9216 * 320 * 2560)


def timed(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times = []
    for _ in range(rounds + 1):  # the first one warms up
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return median(times[1:])


if __name__ == "__main__":
    main()
