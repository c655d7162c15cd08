"""Compare the clips of two checkouts: every example and saved workflow of the old one, run by both.

    python -m tools.same_clips OLD_CHECKOUT [--keep FOLDER]

Starts a ComfyUI for each checkout, runs the old checkout's workflows in it as they are (a small checkpoint of random
weights stands for the released one), and compares everything that the workflows put into a video. Prints the relative
difference of what is not equal bit by bit, and exits with 1 where it is more than rounding.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.random_lora import random_factors, write_lora

from .client import Prompt
from .comfyui import REPOSITORY, find_comfyui
from .host import PACK_NAME, Host
from .workflow import to_api

SUPPORT_PACK = REPOSITORY / "tests" / "host" / "support_pack"
RELEASED, LORA = "svd_xt.safetensors", "my_svd_lora.safetensors"  # the names in the workflows
SMALL = {"width": 128, "height": 64, "video_frames": 8}

ROUNDING = 1e-5  # relative; sums in another order, through all steps

Clips = dict[str, Tensor]
Link = list[Any]  # [node id, output]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", type=Path, help="checkout whose workflows are run")
    parser.add_argument("--keep", type=Path, help="folder for the clips, one file per workflow and checkout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        old = run_workflows(options.old.resolve(), options.old.resolve(), folder / "old")
        new = run_workflows(REPOSITORY, options.old.resolve(), folder / "new")
    differing = [name for name in old if not report(name, old[name], new[name])]
    sys.exit(f"{len(differing)} of {len(old)} differ: {', '.join(differing)}" if differing else 0)


def run_workflows(pack: Path, source: Path, folder: Path) -> dict[str, Clips]:
    """Run the workflows of the checkout `source` with the pack of the checkout `pack`.

    Returns, by workflow, what each of its videos is made of. Keeps the tensors in `folder`.
    """
    packs = {PACK_NAME: pack, "svd-nodes-tests": SUPPORT_PACK}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base:
        write_models(Path(base) / "models")
        with Host(find_comfyui(), Path(base), packs) as host:
            for picture in (source / "example_workflows").glob("*.png"):
                host.client.upload_image(picture)
            return {name: run(host, prompt, folder / name) for name, prompt in read_workflows(source).items()}


def write_models(folder: Path) -> None:
    """A small checkpoint under the name of the released one, and a LoRA for it."""
    checkpoint = folder / "checkpoints" / RELEASED
    checkpoint.parent.mkdir(parents=True)
    script = REPOSITORY / "tests" / "support" / "random_checkpoint.py"
    subprocess.run([sys.executable, str(script), str(checkpoint)], check=True)
    prefix = "model.diffusion_model."
    tensors = load_file(checkpoint)
    shapes = {name.removeprefix(prefix): tuple(t.shape) for name, t in tensors.items() if name.startswith(prefix)}
    write_lora(folder / "loras" / LORA, random_factors(shapes), shapes, "diffusers")


def read_workflows(source: Path) -> dict[str, Prompt]:
    """API prompts of a checkout, and its saved workflows as the page would queue them."""
    folder = source / "example_workflows"
    prompts = {f"api {path.stem}": json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("api/*.json"))}
    for path in sorted(folder.glob("*.json")):
        prompt = to_api(json.loads(path.read_text("utf-8")))
        if prompt != prompts[f"api {path.stem}"]:  # else it is the same run
            prompts[f"page {path.stem}"] = prompt
    return prompts


def run(host: Host, prompt: Prompt, folder: Path) -> Clips:
    """Everything that a workflow makes videos of, and its latents, in full precision."""
    recorded = with_recorders(prompt)
    done = host.client.run(recorded, timeout=1200)
    if done.status != "success":
        error = done.error or {}
        said = f"{error.get('node_type')}: {error.get('exception_message')}"
        raise RuntimeError(f"{folder.name}: {done.status}, {said.strip()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    clips: Clips = {}
    for path in sorted(host.output.glob("recorded_*.safetensors")):
        clips |= {f"{path.stem.removeprefix('recorded_')} {key}": value for key, value in load_file(path).items()}
        shutil.move(path, folder / path.name)
    # Files are kept for the eye only: the encoder's threads share out the bits as they run, from equal frames too.
    for file in (file for node in recorded for file in done.files(node)):
        host.client.download(file, folder / file["filename"])
    return clips


def with_recorders(prompt: Prompt) -> Prompt:
    """A copy that saves the latents and frames, and is small where the model is not the bundled one."""
    recorded = copy.deepcopy(prompt)
    released = any(node["inputs"].get("checkpoint") == RELEASED for node in prompt.values())
    for node_id, node in prompt.items():
        kind, inputs = node["class_type"], node["inputs"]
        if kind == "SVD_VAEEncodeConditioning" and released:
            recorded[node_id]["inputs"].update(SMALL)
        if kind == "SVD_TemporalVAEDecode":
            add_recorder(recorded, f"latents_{node_id}", latent=inputs["samples"])
        if kind == "CreateVideo":
            add_recorder(recorded, f"frames_{node_id}", image=inputs["images"])
        if kind == "SVD_FitSize":  # its sizes were replaced, so that nothing else asks for them
            add_recorder(recorded, f"fitted_{node_id}", latent=add_empty_latent(recorded, node_id))
    return recorded


def add_recorder(prompt: Prompt, name: str, **inputs: Link) -> None:
    prompt[f"record {name}"] = {"class_type": "TestSaveTensors", "inputs": {"name": f"recorded_{name}", **inputs}}


def add_empty_latent(prompt: Prompt, size: str) -> Link:
    """Latents of the size that the node `size` proposes; returns the link to them."""
    inputs = {"width": [size, 0], "height": [size, 1], "batch_size": 1}
    prompt[f"empty {size}"] = {"class_type": "EmptyLatentImage", "inputs": inputs}
    return [f"empty {size}", 0]


def report(name: str, old: Clips, new: Clips) -> bool:
    """Print how two runs of a workflow differ; returns whether they are the same."""
    if old.keys() != new.keys():
        print(f"{name}: {sorted(old)} against {sorted(new)}")
        return False
    same = True
    for key, was in old.items():
        now = new[key]
        change = relative_change(was, now)
        same &= change <= ROUNDING
        words = "equal" if torch.equal(was, now) else f"{change:.1e} apart{' - NOT THE SAME' * (change > ROUNDING)}"
        print(f"{name}: {key} {list(was.shape)}: {words}")
    return same


def relative_change(was: Tensor, now: Tensor) -> float:
    """L2, relative; infinite for another shape and for values that are not finite."""
    if was.shape != now.shape or not now.isfinite().all():
        return float("inf")
    was, now = was.double(), now.double()
    return ((now - was).norm() / was.norm().clamp_min(1e-12)).item()


if __name__ == "__main__":
    main()
