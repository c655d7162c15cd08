"""Animate the bundled picture with the bundled model, to see that all works. Takes seconds and needs no download."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import animate
from .options import bundled_checkpoint, seed

PICTURE = Path(__file__).parent.parent / "svd_demo.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, default=Path("svd_demo.mp4"), metavar="FILE", help="(svd_demo.mp4)")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="(0)")


def run(options: argparse.Namespace) -> int:
    parser = argparse.ArgumentParser()
    animate.add_arguments(parser)
    words = [str(PICTURE), "--checkpoint", str(bundled_checkpoint()), "--seed", str(options.seed)]
    return animate.run(parser.parse_args([*words, "--out", str(options.out)]))
