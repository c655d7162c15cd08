"""Time and memory of one clip of the bundled model, in a process of its own, loading included.

    python -m benchmarks.demo_clip [--runs 3] [--threads 2]

25 steps with guidance, 14 frames of 96x96, from a picture file to an mp4. Prints each run's seconds (of the whole
process, and of sampling and decoding alone) and its peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURE = REPOSITORY / "example_workflows" / "svd_demo_comet.png"

CLIP = """
import json, sys, time
from PIL import Image
from svd_core import SVDPipeline, save_video
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
pipe = SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu")
start = time.perf_counter()
frames = pipe(Image.open(sys.argv[1]), progress=False)
seconds = time.perf_counter() - start
save_video(frames, sys.argv[2], fps=7)
import resource
print(json.dumps({"clip_seconds": seconds, "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    runs = [one_clip(options.threads) for _ in range(options.runs)]
    for run in runs:
        print("{seconds:.1f} s in all, {clip_seconds:.1f} s for the clip, {gigabytes:.2f} GB at the peak".format(**run))
    print(f"median {statistics.median(run['seconds'] for run in runs):.1f} s")


def one_clip(threads: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-c", CLIP, str(PICTURE), str(Path(folder) / "clip.mp4")],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
        )
        seconds = time.perf_counter() - start
    measured = json.loads(process.stdout)
    return {"seconds": seconds, "gigabytes": measured["peak_bytes"] / 1e9, **measured}


if __name__ == "__main__":
    main()
