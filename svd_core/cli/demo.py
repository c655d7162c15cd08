"""Animate the bundled picture with the bundled model: a test of the installation that takes seconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import animate
from .options import whole_number

PICTURE = Path(__file__).parent.parent / "svd_demo.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", default="svd_demo.mp4", metavar="FILE", help="file to write (svd_demo.mp4)")
    parser.add_argument("--seed", type=whole_number(0, 2**64 - 1), default=0, metavar="N", help="seed of the noise (0)")


def run(options: argparse.Namespace) -> int:
    parser = argparse.ArgumentParser()
    animate.add_arguments(parser)
    words = [str(PICTURE), "--checkpoint", str(animate.find_demo_checkpoint()), "--seed", str(options.seed)]
    return animate.run(parser.parse_args([*words, "--out", options.out]))
