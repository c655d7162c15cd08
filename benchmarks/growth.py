"""Measure how time and memory grow with the length and the size of the clip, beside the growth that is expected.

    python -m benchmarks.growth [--runs 3] [--out benchmarks/results/growth]

The bundled model on this machine: one evaluation of the UNet (both guidance branches) and the decode. The expected
growth is that of the arithmetic (counted FLOPs) for the time, and that of the memory planner for the peak, both through
the first point. Writes OUT.json and OUT.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from svd_core.memory.activations import UNetCall, unet_bytes
from svd_core.memory.decode.estimate import decode_footprint
from svd_core.memory.decode.plan import DecodeCall, DecodePlan

from .cases import CASES, Case, unet_inputs
from .charts import draw_growth
from .implementations import OURS, UNetPart, VAEPart
from .machine import machine
from .timing import flops_and_peak, interleaved

FRAMES = (8, 14, 25, 50, 100)
SIDES = (64, 128, 256)  # pixels
STAGES = ("UNet step", "decode")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Point:
    stage: str
    num_frames: int
    side: int
    seconds: float
    flops: int
    peak_bytes: int
    planned_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/growth"), help="without a suffix")
    options = parser.parse_args()
    grow(options.out, options.runs)


@torch.inference_mode()
def grow(out: Path, runs: int) -> None:
    demo = CASES["demo"]
    unet, vae = UNetPart(demo, CPU, torch.float32), VAEPart(demo, CPU, torch.float32)
    stages = unet.stages(OURS) | vae.stages(OURS)
    longer = [measure(stages, replace(demo, num_frames=count), runs) for count in FRAMES]
    larger = [measure(stages, replace(demo, height=side // 8, width=side // 8), runs) for side in SIDES]
    out.parent.mkdir(parents=True, exist_ok=True)
    points = {"frames": [p for some in longer for p in some], "sizes": [p for some in larger for p in some]}
    made: dict[str, Any] = {name: [asdict(point) for point in each] for name, each in points.items()}
    out.with_suffix(".json").write_text(json.dumps(machine(CPU) | {"growth": made}, indent=2) + "\n")
    draw_growth(made).savefig(out.with_suffix(".png"))


def measure(stages: dict[str, Callable[[Any], Any]], case: Case, runs: int) -> list[Point]:
    inputs = {
        "UNet step": unet_inputs(case, CPU, torch.float32),
        "decode": case.draw(6, case.num_frames, 4, case.height, case.width),
    }
    points = []
    for stage in STAGES:
        way = lambda stage=stage: stages[stage](inputs[stage])  # noqa: E731
        way()
        seconds = interleaved({stage: way}, runs, CPU)[stage].median
        with torch.no_grad():
            count, peak = flops_and_peak(way, CPU)
        point = Point(stage, case.num_frames, 8 * case.height, seconds, count, peak, planned(stage, case))
        print(f"{stage:10} {case.num_frames:4} frames of {point.side}x{point.side}: {seconds:7.2f} s", flush=True)
        points.append(point)
    return points


def planned(stage: str, case: Case) -> int:
    """Bytes that the memory planner expects."""
    config = case.config
    assert config.unet is not None and config.vae is not None
    if stage == "UNet step":
        return unet_bytes(
            config.unet, UNetCall(case.height, case.width, case.num_frames, torch.float32, clips=2, on_cpu=True)
        )
    call = DecodeCall(config.vae, case.height, case.width, case.num_frames, torch.float32, True)
    return decode_footprint(call, DecodePlan(case.num_frames)).device


if __name__ == "__main__":
    main()
