"""Two checkouts of this project beside each other: time, peak memory and results of what they share.

    git worktree add ../before COMMIT
    python -m benchmarks.versions ../before [--rounds 5] [--threads 1] [--cases unet decode clip]

The full-size cases (unet, decode: 8 frames of 16x32, random weights, fp32) need 14 GB of memory and 5 GB of disk; the
clip is the bundled model's. Each checkout runs in a process of its own; the two take turns. Seconds are the process's
own (CPU) time, which other programs disturb least; memory is the peak of the resident set above what was held before,
which means little for the small clip: its memory stays with the process from run to run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
CASES = ("unet", "decode", "clip")

# Runs inside a checkout, with nothing but what all versions have: one JSON answer for each case named on stdin.
WORKER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import torch
from pathlib import Path
from safetensors.torch import save_file
from svd_core import SVDPipeline

torch.set_num_threads(int(sys.argv[3]))
DEMO = Path(sys.argv[1]) / "svd_core" / "svd_demo.safetensors"
pipelines = {}

def pipeline(path):
    if path not in pipelines:
        pipe = pipelines[path] = SVDPipeline.from_checkpoint(path, device="cpu", dtype=torch.float32)
        if path != DEMO:
            for name in ("clip", "image_encoder"):
                if name in vars(pipe):
                    setattr(pipe, name, None)  # 2.5 GB that no case reads
    return pipelines[path]

def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))

def unet():
    frames, clips = 8, 2
    pipe = pipeline(sys.argv[2])
    x, context = noise(clips * frames, 8, 16, 32), noise(clips, 1, 1024).repeat_interleave(frames, 0)
    y = noise(1, 768).expand(clips * frames, -1)
    return lambda: pipe.unet(x, torch.full((clips * frames,), 0.3), context, y, frames)

def decode():
    pipe, latents = pipeline(sys.argv[2]), noise(8, 4, 16, 32)
    return lambda: pipe.decode(latents)

def clip():
    pipe = pipeline(DEMO)
    return lambda: torch.as_tensor(pipe(noise(1, 96, 96, 3).sigmoid(), output="latent", progress=False))

def high_water(key):
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key + ":"))

for line in sys.stdin:
    case, out = json.loads(line)
    run = {"unet": unet, "decode": decode, "clip": clip}[case]()
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
    held, start = high_water("VmRSS"), time.process_time()
    with torch.inference_mode():
        result = run()
    seconds = time.process_time() - start
    save_file({"result": result.clone().contiguous()}, out)
    print(json.dumps({"seconds": seconds, "peak": high_water("VmHWM") - held}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "full.safetensors"
        if {"unet", "decode"} & set(options.cases):
            writer = [sys.executable, "tests/support/random_checkpoint.py", str(checkpoint), "--full-size"]
            subprocess.run(writer, cwd=REPOSITORY, check=True)
        with (
            checkout(options.before.resolve(), checkpoint, options.threads) as before,
            checkout(REPOSITORY, checkpoint, options.threads) as after,
        ):
            for case in options.cases:
                print(compare(case, before, after, options.rounds, Path(folder)), flush=True)


@contextmanager
def checkout(folder: Path, checkpoint: Path, threads: int) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", WORKER, str(folder), str(checkpoint), str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True) as worker:
        yield worker
        assert worker.stdin is not None
        worker.stdin.close()


def compare(case: str, before: subprocess.Popen[str], after: subprocess.Popen[str], rounds: int, folder: Path) -> str:
    """Medians after a warm-up, the median of the ratios round by round, and how far the results are apart."""
    paths = folder / "before.safetensors", folder / "after.safetensors"
    runs = [
        [ask(worker, case, path) for worker, path in zip((before, after), paths, strict=True)]
        for _ in range(rounds + 1)
    ]
    counted = runs[1:]
    seconds = [statistics.median(run[who]["seconds"] for run in counted) for who in (0, 1)]
    peaks = [statistics.median(run[who]["peak"] for run in counted) for who in (0, 1)]
    ratio = statistics.median(now["seconds"] / old["seconds"] for old, now in counted)
    return (
        f"{case}: {seconds[0]:.2f} s before, {seconds[1]:.2f} s after, ratio {ratio:.3f}; "
        f"peak {peaks[0] / 1e6:.0f} MB before, {peaks[1] / 1e6:.0f} MB after, ratio {peaks[1] / peaks[0]:.3f}; "
        f"relative difference {distance(*paths):.1e}"
    )


def ask(worker: subprocess.Popen[str], case: str, out: Path) -> dict[str, Any]:
    assert worker.stdin is not None and worker.stdout is not None
    print(json.dumps([case, str(out)]), file=worker.stdin, flush=True)
    return json.loads(worker.stdout.readline())


def distance(before: Path, after: Path) -> float:
    """|after - before| / |before|, L2."""
    from safetensors.torch import load_file

    old, new = (load_file(path)["result"].double() for path in (before, after))
    return float((new - old).norm() / old.norm())


if __name__ == "__main__":
    main()
