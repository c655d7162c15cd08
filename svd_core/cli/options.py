"""The options of a clip, and their values as the rest takes them. Names are checked where they are used."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SVDError

DTYPE_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
WEIGHT_DTYPE_NAMES = {**DTYPE_NAMES, "fp8_e4m3fn": "float8_e4m3fn"}


@dataclass(frozen=True)
class LoRAOption:
    path: Path
    strength: float


def lora(text: str) -> LoRAOption:
    """FILE or FILE:STRENGTH; a colon that no number follows belongs to the name."""
    path, _, strength = text.rpartition(":")
    try:
        return LoRAOption(Path(path), float(strength)) if path else LoRAOption(Path(text), 1.0)
    except ValueError:
        return LoRAOption(Path(text), 1.0)


def seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no whole number") from None
    if not 0 <= value < 2**64:
        raise argparse.ArgumentTypeError(f"{text} does not fit into 64 bits")
    return value


def count(text: str, least: int = 1) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least {least}")
    return value


def count_or_zero(text: str) -> int:
    return count(text, least=0)


def torch_dtype(name: str | None) -> Any:
    import torch

    return None if name is None else getattr(torch, WEIGHT_DTYPE_NAMES[name])


def dtype_name(dtype: Any) -> str:
    """The short name of a torch dtype."""
    long = str(dtype).removeprefix("torch.")
    return next((short for short, name in WEIGHT_DTYPE_NAMES.items() if name == long), long)


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """What a clip is to be. Left out, the first four are what the checkpoint was made for."""
    clip = parser.add_argument_group("the clip")
    clip.add_argument("--width", type=count, metavar="PIXELS", help="default: what the checkpoint was made for")
    clip.add_argument("--height", type=count, metavar="PIXELS", help="the same")
    clip.add_argument("--num-frames", type=count, metavar="N", help="the same")
    clip.add_argument("--max-cfg-scale", type=float, metavar="X", help="guidance of the last frame; the same")
    clip.add_argument("--min-cfg-scale", type=float, default=1.0, metavar="X", help="of the first frame (1)")
    clip.add_argument("--fps", type=float, default=7, metavar="X", help="frames per second (7)")
    clip.add_argument("--motion-bucket-id", type=float, default=127, metavar="X", help="amount of motion, 0-255 (127)")
    clip.add_argument("--noise-aug-strength", type=float, default=0.02, metavar="X", help="more, more freedom (0.02)")
    clip.add_argument("--num-inference-steps", type=count, default=25, metavar="N", help="(25)")
    clip.add_argument("--seed", type=seed, default=0, metavar="N", help="(0)")
    clip.add_argument("--fit", default="crop", metavar="WAY", help="of the picture: crop, pad or stretch (crop)")
    clip.add_argument("--guidance-kind", default="linear", metavar="KIND", help="linear, triangle or constant (linear)")
    clip.add_argument(
        "--sampler", default="euler", metavar="NAME", help="euler, euler_ancestral, heun or dpmpp_2m (euler)"
    )
    clip.add_argument("--schedule", default="karras", metavar="NAME", help='karras or "align your steps" (karras)')
    clip.add_argument("--quality", type=float, default=5, metavar="X", help="of the file, 0 to 10 (5)")


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """How the work is done; memory and pieces do not change the clip."""
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (the first there is)")
    machine.add_argument("--dtype", choices=tuple(DTYPE_NAMES), help="to compute in (fp16 on CUDA, else fp32)")
    machine.add_argument("--weight-dtype", choices=tuple(WEIGHT_DTYPE_NAMES), help="of the UNet (as --dtype)")
    machine.add_argument(
        "--memory", default="automatic", metavar="CHOICE", help="of sampling: automatic, fastest or smallest"
    )
    machine.add_argument(
        "--frames-at-once", type=count_or_zero, default=0, metavar="N", help="in the decode; 0 is automatic (0)"
    )


def check_device(name: str | None) -> None:
    """Raises SVDError for a device that torch cannot use here."""
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).strip().partition("\n")[0]
        raise SVDError(f"The device {name} cannot be used here ({reason}); choose another --device.") from error


def bundled_checkpoint() -> Path:
    """The demo model. Raises SVDError where it was not installed."""
    from ..releases import DEMO_CHECKPOINT

    if not DEMO_CHECKPOINT.is_file():
        raise SVDError(f"The bundled demo model is missing at {DEMO_CHECKPOINT}; install again or give --checkpoint.")
    return DEMO_CHECKPOINT
