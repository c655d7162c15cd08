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


@dataclass(frozen=True)
class HoldOption:
    """A picture for a frame, or a mask for it; frame_id is None for a mask of all held frames."""

    frame_id: int | None
    path: Path


def lora(text: str) -> LoRAOption:
    """FILE or FILE:STRENGTH; a colon that no number follows belongs to the name."""
    path, _, strength = text.rpartition(":")
    try:
        return LoRAOption(Path(path), float(strength)) if path else LoRAOption(Path(text), 1.0)
    except ValueError:
        return LoRAOption(Path(text), 1.0)


def hold(text: str) -> HoldOption:
    """ID=FILE."""
    option = hold_mask(text)
    if option.frame_id is None:
        raise argparse.ArgumentTypeError(f"{text} is no ID=FILE, such as 0=first.png or -1=last.png")
    return option


def hold_mask(text: str) -> HoldOption:
    """FILE or ID=FILE; what stands before an = and is no whole number belongs to the name."""
    frame_id, _, path = text.partition("=")
    try:
        return HoldOption(int(frame_id), Path(path)) if path else HoldOption(None, Path(text))
    except ValueError:
        return HoldOption(None, Path(text))


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
    clip.add_argument(
        "--speed",
        default="exact",
        metavar="MODE",
        help="exact, or with another clip sooner: balanced or fastest (exact); to combine with "
        '--schedule "align your steps" --num-inference-steps 10',
    )
    clip.add_argument("--quality", type=float, default=5, metavar="X", help="of the file, 0 to 10 (5)")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """What a clip is made from beside its picture, and how it is corrected; all off unless asked for."""
    video = parser.add_argument_group("video to video")
    video.add_argument(
        "--input-video", type=Path, metavar="FILE", help="or a folder of frames; the clip starts from it"
    )
    video.add_argument(
        "--denoising-strength", type=float, default=1.0, metavar="X", help="0 to 1; less keeps more of the video (1)"
    )
    video.add_argument(
        "--denoising-steps",
        default="all steps",
        metavar="WAY",
        help='"all steps", over the shortened way, or "last steps" of a longer one (all steps)',
    )
    held = parser.add_argument_group("held frames")
    held.add_argument(
        "--hold",
        type=hold,
        action="append",
        default=[],
        metavar="ID=FILE",
        help="a frame that is to be this picture: 0 is the first, -1 the last; may be repeated",
    )
    held.add_argument(
        "--hold-mask",
        type=hold_mask,
        action="append",
        default=[],
        metavar="[ID=]FILE",
        help="of the held frames only what is white here: one for all, or one with the ID of each; without, all of it",
    )
    corrections = parser.add_argument_group("corrections")
    corrections.add_argument("--post-normalize", action="store_true", help="even out contrast over the frames")
    corrections.add_argument(
        "--contrast-enhance-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="1.2 mends grey clips of an extension (1)",
    )
    corrections.add_argument(
        "--colour-match", type=float, default=0.0, metavar="X", help="to the picture; 1 is in full (0)"
    )


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
    from ..checkpoints.releases import DEMO_CHECKPOINT

    if not DEMO_CHECKPOINT.is_file():
        raise SVDError(f"The bundled demo model is missing at {DEMO_CHECKPOINT}; install again or give --checkpoint.")
    return DEMO_CHECKPOINT
