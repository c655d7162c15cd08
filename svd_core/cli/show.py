"""Print what a clip was made with: seed, settings, and hashes of checkpoint and picture.

FILE is a video, a .gif or .webp, or a folder of frames made by this program. The output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import SVDError
from ..video.format import Metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def run(options: argparse.Namespace) -> int:
    from ..video import load_metadata

    record = load_metadata(options.file)
    if not record:
        raise SVDError(f"{options.file} does not say how it was made; give a clip of this program, as it wrote it.")
    print(_write_json(record, sys.stdout.encoding or "utf-8"))
    return 0


def _write_json(record: Metadata, encoding: str) -> str:
    """With the letters that the encoding has; the others as JSON escapes."""
    text = json.dumps(record, indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(record, indent=2)
    return text
