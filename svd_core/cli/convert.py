"""Write a checkpoint in another layout or type, weight by weight, so that it needs little memory.

  svd-nodes convert svd_xt.safetensors svd_xt_fp16.safetensors --dtype fp16
  svd-nodes convert stable-video-diffusion-img2vid-xt svd_xt.safetensors
  svd-nodes convert svd_xt.safetensors svd-xt-diffusers

A TARGET that ends in .safetensors is a single file with the official names; any other is a folder in the layout of
diffusers. Without --dtype no bit of a weight changes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..config import DTYPE_NAMES
from ..errors import one_line
from .options import find_dtype


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a .safetensors file or a diffusers folder")
    parser.add_argument("target", type=Path, metavar="TARGET", help="a .safetensors file or a folder to write")
    parser.add_argument("--dtype", choices=tuple(DTYPE_NAMES), help="type of the weights (unchanged)")
    parser.add_argument(
        "--companion", type=Path, metavar="FILE", help="second checkpoint, for parts missing from the first"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def run(options: argparse.Namespace) -> int:
    from ..checkpoints.convert import convert_checkpoint

    dtype = find_dtype(options.dtype)
    shown = sys.stderr.isatty()
    made = convert_checkpoint(
        options.source, options.target, dtype, options.companion, options.overwrite, progress=shown
    )
    print(one_line(made))
    return 0
