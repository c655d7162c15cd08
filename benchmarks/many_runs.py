"""Memory of a process that makes clips all day: its growth from run to run.

    python -m benchmarks.many_runs [--runs 200] [--kinds ours reloaded native pipeline from_checkpoint]

ours: the example graph in a ComfyUI, with another seed each time. reloaded: with another weight_dtype, too, so that the
model is loaded anew. native: ComfyUI's own nodes behind SVD Loader, for what is the host's. pipeline: the Python
pipeline with another seed. from_checkpoint: loaded anew each time. Memory is what the process shares with no other.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from svd_core import DEMO_CHECKPOINT, SVDPipeline
from tools.client import Prompt
from tools.comfyui import find_comfyui
from tools.host import Host
from tools.workflow import DEMO_PICTURE, load_api, with_inputs

WARM_UP = 10  # runs after which memory should stay
SIZE = {"width": 32, "height": 32, "video_frames": 4}
STEPS = 2
DTYPES = ("fp32", "fp16", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    print(
        "| kind | runs | MB after run 10 | MB at the end | MB a run | most MB above run 10 |\n|---|---|---|---|---|---|"
    )
    for kind in options.kinds:
        with ExitStack() as stack:
            sizes = list(KINDS[kind](stack, options.runs))
        print(describe(kind, sizes), flush=True)


def describe(kind: str, sizes: list[int]) -> str:
    """A row of the table. sizes: bytes after each run."""
    kept = np.array(sizes[min(WARM_UP, len(sizes)) - 1 :]) / 1e6
    slope = np.polyfit(range(len(kept)), kept, 1)[0] if len(kept) > 1 else 0.0
    return f"| {kind} | {len(sizes)} | {kept[0]:.1f} | {kept[-1]:.1f} | {slope:+.3f} | {kept.max() - kept[0]:.1f} |"


def run_in_host(prompt_of_run: Callable[[int], Prompt]) -> Callable[[ExitStack, int], Iterator[int]]:
    def run(stack: ExitStack, runs: int) -> Iterator[int]:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="svd-many-runs-")))
        host = stack.enter_context(Host(find_comfyui(), base))
        host.client.upload_image(DEMO_PICTURE)
        for index in range(runs):
            outcome = host.client.run(prompt_of_run(index))
            if outcome.status != "success":
                raise SystemExit(f"Run {index} ended with {outcome.status}: {outcome.error}")
            yield unshared_bytes(host.pid)

    return run


def example(index: int, dtypes: tuple[str, ...] = ("auto",)) -> Prompt:
    return with_inputs(
        load_api(),
        SVD_Loader={"weight_dtype": dtypes[index % len(dtypes)]},
        SVD_VAEEncodeConditioning=SIZE,
        SVD_Sampler={"seed": index, "steps": STEPS},
    )


def native(index: int) -> Prompt:
    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    conditions = {**SIZE, "motion_bucket_id": 127, "fps": 7, "augmentation_level": 0.0}
    return {
        "1": load_api()["1"],
        "2": node("LoadImage", image=DEMO_PICTURE.name),
        "3": node("SVD_img2vid_Conditioning", clip_vision=["1", 1], init_image=["2", 0], vae=["1", 2], **conditions),
        "4": node("VideoLinearCFGGuidance", model=["1", 0], min_cfg=1.0),
        "5": node(
            "KSampler", model=["4", 0], positive=["3", 0], negative=["3", 1], latent_image=["3", 2], seed=index,
            steps=STEPS, cfg=1.5, sampler_name="euler", scheduler="karras", denoise=1.0,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("CreateVideo", images=["6", 0], fps=7.0),
        "8": node("SaveVideo", video=["7", 0], filename_prefix="native", format="auto", codec="auto"),
    }  # fmt: skip


def run_pipeline(stack: ExitStack, runs: int) -> Iterator[int]:
    pipe = SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu")
    for index in range(runs):
        make_clip(pipe, index)
        yield unshared_bytes(os.getpid())


def run_from_checkpoint(stack: ExitStack, runs: int) -> Iterator[int]:
    for index in range(runs):
        make_clip(SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu"), index)
        gc.collect()
        yield unshared_bytes(os.getpid())


def make_clip(pipe: SVDPipeline, seed: int) -> None:
    from PIL import Image

    with Image.open(DEMO_PICTURE) as picture:
        pipe(
            picture, seed=seed, width=SIZE["width"], height=SIZE["height"], num_frames=SIZE["video_frames"],
            num_inference_steps=STEPS, progress=False,
        )  # fmt: skip


def unshared_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().uss)


KINDS: dict[str, Callable[[ExitStack, int], Iterator[int]]] = {
    "ours": run_in_host(example),
    "reloaded": run_in_host(lambda index: example(index, DTYPES)),
    "native": run_in_host(native),
    "pipeline": run_pipeline,
    "from_checkpoint": run_from_checkpoint,
}

if __name__ == "__main__":
    main()
