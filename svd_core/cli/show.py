"""Print what a clip was made with: seed, settings, and hashes of checkpoint and picture.

FILE is a video, a .gif or .webp, or a folder of frames made by this program. The output is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import SVDError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def run(options: argparse.Namespace) -> int:
    from ..video import load_metadata

    record = load_metadata(options.file)
    if not record:
        raise SVDError(f"{options.file} does not say how it was made; give a clip of this program, as it wrote it.")
    print(json.dumps(record, indent=2, ensure_ascii=False))
    return 0
