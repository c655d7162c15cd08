"""Seconds that importing the pack adds to the start of ComfyUI, beyond torch and ComfyUI itself.

    python -m checks.import_time [--runs 5]

Every run is a process of its own, and what is printed last is the median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from tools.comfyui import REPOSITORY, find_comfyui

LIMIT_SECONDS = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    seconds = []
    for _ in range(runs):
        seconds.append(import_seconds())
        print(f"{seconds[-1]:.3f} s", flush=True)
    print(f"median {statistics.median(seconds):.3f} s of {runs} runs, limit {LIMIT_SECONDS} s")


def import_seconds() -> float:
    script = REPOSITORY / "tests" / "support" / "import_pack.py"
    command = [sys.executable, str(script), str(find_comfyui())]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["seconds"]


if __name__ == "__main__":
    main()
