"""Animate pictures with a checkpoint.

  svd-nodes animate picture.png -o clip.mp4 --checkpoint svd_xt.safetensors
  svd-nodes animate pictures/ more.jpg -o clips/ --seeds 3
  svd-nodes animate picture.png -o clip.mp4 --input-video walk.mp4 --denoising-strength 0.7
  svd-nodes animate first.png -o clip.mp4 --hold 0=first.png --hold -1=last.png

Several clips go into a folder, named after their pictures. Clips that exist and were made with the same settings are
skipped, so the same command continues a run that was stopped. Exit code: 0, all clips exist; 1, some could not be made;
2, none could.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..config import DTYPE_NAMES, WEIGHT_DTYPE_NAMES
from ..errors import SVDError, one_line
from .options import (
    Groups,
    add_setting_options,
    parse_hold,
    parse_hold_mask,
    parse_lora,
    whole_number,
)

MAX_SEEDS = 10_000  # clips of one picture
FORMATS = ("mp4", "mov", "mkv", "webm", "gif", "webp", "png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pictures", type=Path, nargs="+", metavar="PICTURE", help="a picture, or a folder of pictures")
    add("-o", "--out", default=".", metavar="PATH", help="a file, or a folder (the current one)")
    add("--checkpoint", type=Path, metavar="FILE", help="a .safetensors file or a diffusers folder (the demo model)")
    add("--companion", type=Path, metavar="FILE", help="second checkpoint, for parts missing from the first")
    add("--extension", type=Path, metavar="FILE", help="ExVideo file, for clips of up to 128 frames")
    add(
        "--lora", type=parse_lora, action="append", default=[], metavar="FILE[:STRENGTH]",
        help="LoRA file; several add up",
    )  # fmt: skip
    add(
        "--seeds",
        type=whole_number(1, MAX_SEEDS),
        default=1,
        metavar="N",
        help="clips of each picture, from --seed upwards (1)",
    )
    add("--format", choices=FORMATS, default="mp4", help="format of the clips in a folder (mp4)")
    add("--overwrite", action="store_true", help="also replace files that this program did not make")
    add("--dry-run", action="store_true", help="print sizes, memory and time of the run, and make nothing")
    groups = add_setting_options(parser)
    groups["the clip"].add_argument(
        "--quality", type=float, default=5.0, metavar="X", help="quality of the file, 0 to 10 (5)"
    )
    _add_given_options(groups)
    _add_machine_options(groups)


def _add_given_options(groups: Groups) -> None:
    groups["video to video"].add_argument(
        "--input-video", type=Path, metavar="FILE", help="video, or folder of frames, that the clip starts from"
    )
    groups["held frames"].add_argument(
        "--hold", type=parse_hold, action="append", default=[], metavar="ID=FILE",
        help="picture for a frame of the clip; 0 is the first frame, -1 the last; may be repeated",
    )  # fmt: skip
    groups["held frames"].add_argument(
        "--hold-mask", type=parse_hold_mask, action="append", default=[], metavar="[ID=]FILE",
        help="mask of the held frames: only what is white is held; one for all, or one with the ID of each frame",
    )  # fmt: skip


def _add_machine_options(groups: Groups) -> None:
    machine = groups["the machine"]
    machine.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (the first that works)")
    machine.add_argument("--dtype", choices=tuple(DTYPE_NAMES), help="precision (fp16 on CUDA, else fp32)")
    machine.add_argument(
        "--weight-dtype", choices=tuple(WEIGHT_DTYPE_NAMES), help="stored precision of the UNet (as --dtype)"
    )


def run(options: argparse.Namespace) -> int:
    from .batch import Batch

    if options.checkpoint is None:
        options.checkpoint = find_demo_checkpoint()
        print("No --checkpoint: using the bundled demo model, made for drawn scenes of 96x96.", file=sys.stderr)
    batch = Batch.from_options(options)
    if options.dry_run:
        from .dry_run import describe_run

        print("\n".join(map(one_line, describe_run(batch))))
        return 0
    return batch.run()


def find_demo_checkpoint() -> Path:
    """Raises SVDError where the demo model was not installed."""
    from ..checkpoints.releases import DEMO_CHECKPOINT

    if not DEMO_CHECKPOINT.is_file():
        raise SVDError(f"The bundled demo model is missing at {DEMO_CHECKPOINT}; install again or give --checkpoint.")
    return DEMO_CHECKPOINT
