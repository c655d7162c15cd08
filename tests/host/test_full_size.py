"""The full-size model, native and ours, in one host: the same latents, and what loading costs."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PACKS, random_checkpoint, square_picture
from graphs import STAGES, Clip, Source, build, relative_error, succeeded
from safetensors.torch import load_file

from tools.client import Prompt, Run
from tools.comfyui import REPOSITORY
from tools.host import Host

pytestmark = pytest.mark.full_size

FULL = "full_size.safetensors"
CLIP = Clip(width=128, height=128, frames=4, steps=3)
CLIP_SIZE = 224
TOLERANCE = 1e-3
HOUR = 3600.0
READ_BYTES = 2**24
KB_PER_GIB = 1024**2
REPORTS = REPOSITORY / "output"

Figures = dict[str, float]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The base folder of the hosts, with the checkpoint in it."""
    folder = tmp_path_factory.mktemp("full_size")
    checkpoint = random_checkpoint(folder / "models" / "checkpoints" / FULL, "--full-size")
    os.sync()
    yield folder
    checkpoint.unlink()  # 4.5 GB that pytest would keep for three more runs


def test_full_size(comfyui: Path, base: Path, tmp_path: Path) -> None:
    """Figures of each graph from a fresh host; the latents compared were made in one and the same host."""
    picture = square_picture(CLIP_SIZE, tmp_path)
    source = Source(FULL, picture.name, {"class_type": "ImageOnlyCheckpointLoader", "ckpt_name": FULL})
    graphs = {"native": build(source, CLIP, STAGES, name="native"), "ours": build(source, CLIP, name="ours")}
    report: dict[str, Figures] = {}
    for name, prompt in graphs.items():
        read_through(base / "models" / "checkpoints" / FULL)  # neither pays for a cold disk
        with Host(comfyui, base, PACKS) as host:
            host.client.upload_image(picture)
            report[name] = measure(host, prompt)
            if name == "ours":
                succeeded(host.client.run(graphs["native"], timeout=HOUR))
    latents = {name: load_file(base / "output" / f"{name}.safetensors")["latent"] for name in graphs}
    error = relative_error(latents["ours"], latents["native"])
    write_report(report, error)
    assert error <= TOLERANCE


def measure(host: Host, prompt: Prompt) -> Figures:
    """Run a graph in a fresh host; seconds, and the memory of its process in GiB."""
    before = memory(host.pid, "VmRSS")
    run = succeeded(host.client.run(prompt, timeout=HOUR))
    return {
        "load_seconds": loader_seconds(run),
        "total_seconds": run.events[-1].time - run.events[0].time,
        "memory_before_gib": before,
        "memory_after_gib": memory(host.pid, "VmRSS"),
        "peak_gib": memory(host.pid, "VmHWM"),
    }


def loader_seconds(run: Run) -> float:
    """Time between the start of the loader, which is node 1 of our graphs, and that of the node after it."""
    starts = [event for event in run.events if event.type == "executing" and event.data.get("node")]
    (position,) = (number for number, event in enumerate(starts) if event.data["node"] == "1")
    return starts[position + 1].time - starts[position].time


def memory(pid: int, name: str) -> float:
    """A figure of /proc/<pid>/status in GiB; not a number where there is no such file."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return float("nan")
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / KB_PER_GIB


def read_through(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(READ_BYTES):
            pass


def write_report(report: dict[str, Figures], error: float) -> None:
    """Print a table, and keep the figures as output/full_size.json."""
    print(f"\nfull size, {CLIP.width}x{CLIP.height}, {CLIP.frames} frames, {CLIP.steps} steps")
    for figure in report["ours"]:
        print(f"  {figure:<20}" + "".join(f"  {name} {figures[figure]:8.2f}" for name, figures in report.items()))
    print(f"  relative error of the latents {error:.2e}")
    REPORTS.mkdir(exist_ok=True)
    document = {"relative_error": error, "clip": dataclasses.asdict(CLIP), **report}
    (REPORTS / "full_size.json").write_text(json.dumps(document, indent=2) + "\n")
