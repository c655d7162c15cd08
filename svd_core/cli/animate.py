"""Animate pictures with a checkpoint.

  svd-nodes animate picture.png -o clip.mp4 --checkpoint svd_xt.safetensors
  svd-nodes animate pictures/ more.jpg -o clips/ --seeds 3
  svd-nodes animate picture.png -o clip.mp4 --input-video walk.mp4 --denoising-strength 0.7
  svd-nodes animate first.png -o clip.mp4 --hold 0=first.png --hold -1=last.png

Several clips go into a folder, named after their pictures. A clip that is there already and was made with the same
settings is skipped, so the same command goes on where a run was stopped. Exit code: 0, all clips are there; 1, some
could not be made; 2, none could.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .options import add_clip_options, add_machine_options, add_source_options, bundled_checkpoint, count, lora

FORMATS = ("mp4", "mov", "mkv", "webm", "gif", "webp", "png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="a picture, or a folder of pictures")
    parser.add_argument("-o", "--out", type=Path, default=Path(), metavar="PATH", help="a file, or a folder (this one)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="a .safetensors file or a diffusers folder")
    parser.add_argument("--companion", type=Path, metavar="FILE", help="a second one, for what the first lacks")
    parser.add_argument("--extension", type=Path, metavar="FILE", help="of ExVideo, for clips of up to 128 frames")
    parser.add_argument(
        "--lora", type=lora, action="append", default=[], metavar="FILE[:STRENGTH]", help="several add up"
    )
    parser.add_argument("--seeds", type=count, default=1, metavar="N", help="clips of each picture: --seed, the next …")
    parser.add_argument("--format", choices=FORMATS, default="mp4", help="of the clips in a folder (mp4)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are no clips of this program, too")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done: sizes, memory, time")
    add_clip_options(parser)
    add_source_options(parser)
    add_machine_options(parser)


def run(options: argparse.Namespace) -> int:
    from .batch import Batch

    if options.checkpoint is None:
        options.checkpoint = bundled_checkpoint()
        print("No --checkpoint: the bundled demo model, which knows drawn scenes of 96x96 only.", file=sys.stderr)
    batch = Batch.from_options(options)
    if options.dry_run:
        from .dry_run import describe

        print("\n".join(describe(batch)))
        return 0
    return batch.run()
