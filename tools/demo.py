"""A clip from a picture, by a real ComfyUI with this pack in it.

nox -s demo                                   the example as it is: its own picture, the small bundled model
nox -s demo -- --checkpoint svd_xt.safetensors    a real model, at its own size, with a picture that suits it
nox -s demo -- --serve                        leaves the web page open, for dragging nodes
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .client import Event, Prompt, Run
from .comfyui import REPOSITORY, find_comfyui
from .host import Host
from .workflow import DEMO_PICTURE, PICTURE, load_api, load_ui, node_of, update_ui, with_inputs

OUTPUT = REPOSITORY / "output"
DEMO_WORKFLOW = "image_to_video"
XT_WORKFLOW = "image_to_video_xt"
BAR_WIDTH = 30


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave through the `with`, which stops the server
    OUTPUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="svd-demo-") as folder:
        base = Path(folder)
        workflow = XT_WORKFLOW if options.checkpoint else DEMO_WORKFLOW
        image = options.image or (PICTURE if options.checkpoint else DEMO_PICTURE)
        prompt = demo_prompt(workflow, image, options)
        if options.checkpoint:
            place_checkpoint(base / "models" / "checkpoints", options.checkpoint)
        save_for_page(workflow, prompt, base / "user" / "default" / "workflows")
        print("Starting ComfyUI", flush=True)
        with Host(find_comfyui(), base, options=["--output-directory", str(OUTPUT)]) as host:
            host.client.upload_image(image)
            make_clip(host, prompt)
            if options.serve:
                serve(host, workflow)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s demo --", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--serve", action="store_true", help="leave the web page open until Ctrl-C")
    parser.add_argument("--checkpoint", type=Path, help="an official checkpoint (default: the bundled demo model)")
    parser.add_argument("--image", type=Path, help="the picture to start from (default: an example)")
    parser.add_argument("--width", type=int, help="pixels, a multiple of 64")
    parser.add_argument("--height", type=int, help="pixels, a multiple of 64")
    parser.add_argument("--motion", type=int, help="motion bucket, 0 to 255")
    parser.add_argument("--frames", type=int, help="length of the clip")
    parser.add_argument("--steps", type=int, help="sampling steps")
    return parser.parse_args()


def place_checkpoint(folder: Path, checkpoint: Path) -> None:
    """Make the checkpoint known to the server, under its own name."""
    folder.mkdir(parents=True)
    if not checkpoint.exists():
        raise SystemExit(f"The checkpoint {checkpoint} does not exist; give the path of a .safetensors file.")
    try:
        (folder / checkpoint.name).symlink_to(checkpoint.resolve())
    except OSError:  # links need a privilege on Windows
        os.link(checkpoint, folder / checkpoint.name)


def demo_prompt(workflow: str, image: Path, options: argparse.Namespace) -> Prompt:
    """The example workflow, with what the command line says otherwise."""
    conditioning = {"width": options.width, "height": options.height, "video_frames": options.frames}
    conditioning["motion_bucket_id"] = options.motion
    return with_inputs(
        load_api(workflow),
        SVD_Loader={"checkpoint": options.checkpoint.name} if options.checkpoint else {},
        LoadImage={"image": image.name},
        SVD_VAEEncodeConditioning={name: value for name, value in conditioning.items() if value is not None},
        SVD_Sampler={} if options.steps is None else {"steps": options.steps},
        SaveVideo={"filename_prefix": workflow},
    )


def save_for_page(workflow: str, prompt: Prompt, folder: Path) -> None:
    """Put the workflow, with the demo's values, into the page's list of saved workflows."""
    folder.mkdir(parents=True)
    (folder / f"{workflow}.json").write_text(json.dumps(update_ui(load_ui(workflow), prompt)), "utf-8")


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


def serve(host: Host, workflow: str) -> None:
    print(f"\nComfyUI is at {host.url}")
    print(f"Open the workflow: press w (Workflows) and pick {workflow}. Ctrl-C ends the server.", flush=True)
    try:
        assert host.process is not None
        host.process.wait()
    except KeyboardInterrupt:
        print("Stopping")


class Progress:
    """Print the node that runs, with a bar for nodes that report progress."""

    def __init__(self, prompt: Prompt):
        self.titles = {node_id: node["class_type"] for node_id, node in prompt.items()}
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
