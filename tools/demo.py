"""A clip from the example picture, by a real ComfyUI with this pack in it.

nox -s demo                                   the whole way once, with a small checkpoint of random weights
nox -s demo -- --checkpoint svd_xt.safetensors    with a real one, at the workflow's own size
nox -s demo -- --serve                        leaves the web page open, for dragging nodes
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .client import Event, Prompt, Run
from .comfyui import REPOSITORY, find_comfyui
from .host import Host
from .workflow import PICTURE, load_api, load_ui, node_of, update_ui, with_inputs

OUTPUT = REPOSITORY / "output"
RANDOM_CHECKPOINT = "random_weights.safetensors"
WORKFLOW = "image_to_video"
BAR_WIDTH = 30


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave through the `with`, which stops the server
    OUTPUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="svd-demo-") as folder:
        base = Path(folder)
        checkpoint = place_checkpoint(base / "models" / "checkpoints", options.checkpoint)
        prompt = demo_prompt(options, checkpoint)
        save_for_page(prompt, base / "user" / "default" / "workflows")
        print("Starting ComfyUI", flush=True)
        with Host(find_comfyui(), base, options=["--output-directory", str(OUTPUT)]) as host:
            host.client.upload_image(options.image)
            make_clip(host, prompt)
            if options.serve:
                serve(host)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s demo --", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--serve", action="store_true", help="leave the web page open until Ctrl-C")
    parser.add_argument("--checkpoint", type=Path, help="an official checkpoint (default: small, random weights)")
    parser.add_argument("--image", type=Path, default=PICTURE, help="the picture to start from")
    parser.add_argument("--width", type=int, help="pixels, a multiple of 64")
    parser.add_argument("--height", type=int, help="pixels, a multiple of 64")
    parser.add_argument("--frames", type=int, help="length of the clip")
    parser.add_argument("--steps", type=int, help="sampling steps")
    return parser.parse_args()


def place_checkpoint(folder: Path, checkpoint: Path | None) -> str:
    """Make the checkpoint known to the server; returns its name there."""
    folder.mkdir(parents=True)
    if checkpoint is None:
        print("Making a small checkpoint with random weights: the clip will be noise, every step is real", flush=True)
        script = REPOSITORY / "tools" / "random_checkpoint.py"
        subprocess.run([sys.executable, str(script), str(folder / RANDOM_CHECKPOINT)], check=True)
        return RANDOM_CHECKPOINT
    if not checkpoint.exists():
        raise SystemExit(f"The checkpoint {checkpoint} does not exist; give the path of a .safetensors file.")
    try:
        (folder / checkpoint.name).symlink_to(checkpoint.resolve())
    except OSError:  # links need a privilege on Windows
        os.link(checkpoint, folder / checkpoint.name)
    return checkpoint.name


def demo_prompt(options: argparse.Namespace, checkpoint: str) -> Prompt:
    """The example workflow; smaller with random weights, where size buys nothing."""
    size = {"width": options.width, "height": options.height, "video_frames": options.frames}
    steps = {"steps": options.steps}
    if options.checkpoint is None:
        size = {name: size[name] or small for name, small in (("width", 320), ("height", 192), ("video_frames", 8))}
        steps = {"steps": options.steps or 6}
    return with_inputs(
        load_api(WORKFLOW),
        SVD_Loader={"checkpoint": checkpoint},
        LoadImage={"image": options.image.name},
        SVD_VAEEncodeConditioning={name: value for name, value in size.items() if value},
        SVD_Sampler={name: value for name, value in steps.items() if value},
        SaveVideo={"filename_prefix": WORKFLOW},
    )


def save_for_page(prompt: Prompt, folder: Path) -> None:
    """Put the workflow, with the demo's values, into the page's list of saved workflows."""
    folder.mkdir(parents=True)
    (folder / f"{WORKFLOW}.json").write_text(json.dumps(update_ui(load_ui(WORKFLOW), prompt)), "utf-8")


def make_clip(host: Host, prompt: Prompt) -> Path:
    run = host.client.run(prompt, Progress(prompt), timeout=24 * 3600)
    return report(run, prompt, host)


def report(run: Run, prompt: Prompt, host: Host) -> Path:
    """Print where the clip is, or say what went wrong and where the log is."""
    if run.error is not None:
        keep_log(host)
        raise SystemExit(f"{run.error['node_type']}: {run.error['exception_message'].strip()}")
    (file,) = run.files(node_of(prompt, "SaveVideo"))
    path = OUTPUT / file["subfolder"] / file["filename"]
    print(f"\nThe clip: {path.resolve()}", flush=True)
    return path


def keep_log(host: Host) -> None:
    """The base folder goes away with the demo; a failure's log should not."""
    print(f"The server's log: {shutil.copy(host.log, OUTPUT / 'host.log')}", flush=True)


def serve(host: Host) -> None:
    print(f"\nComfyUI is at {host.url}")
    print(f"Open the workflow: press w (Workflows) and pick {WORKFLOW}. Ctrl-C ends the server.", flush=True)
    try:
        assert host.process is not None
        host.process.wait()
    except KeyboardInterrupt:
        print("Stopping")


class Progress:
    """Prints which node runs, with a bar for those that count."""

    def __init__(self, prompt: Prompt):
        self.titles = {node_id: node["_meta"]["title"] for node_id, node in prompt.items()}
        self.start = "\r" if sys.stdout.isatty() else "\n"  # in a log, one line for each step

    def __call__(self, event: Event) -> None:
        title = self.titles.get(str(event.data.get("node")), "")
        if event.type == "executing" and title:
            print(f"\n  {title}", end="", flush=True)
        elif event.type == "progress" and title:
            value, total = event.data["value"], event.data["max"]
            done = round(BAR_WIDTH * value / total)
            print(f"{self.start}  {title:<26} [{'#' * done:<{BAR_WIDTH}}] {value}/{total}", end="", flush=True)


if __name__ == "__main__":
    main()
