"""One real ComfyUI for all host tests, with a small checkpoint of random weights in it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import Source
from PIL import Image, ImageOps

from svd_core.checkpoints import open_checkpoint
from tools.client import JSON, Client, Prompt
from tools.comfyui import DEFAULT_VERSION, REPOSITORY, find_comfyui
from tools.host import PACK_NAME, Host
from tools.workflow import PICTURE

Record = Callable[..., None]

SMALL = "small.safetensors"
LOADERS = ("SVD_Loader", "TestNativeLoader")
KEPT_RESULTS = 100  # of nodes; so a loaded model stays for about ten prompts that do without it
PACKS = {PACK_NAME: REPOSITORY, "svd-nodes-tests": Path(__file__).parent / "support_pack"}


class RerunningClient(Client):
    """Every prompt runs every node again, except that loaded models stay.

    The host takes the result of an earlier prompt for a node with the same inputs. An input that no node declares is
    ignored by all but that comparison, and here has a new value each time.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.counter = itertools.count()

    def queue(self, prompt: Prompt) -> str:
        number = next(self.counter)
        renewed = {
            node_id: node if node["class_type"] in LOADERS else node | {"inputs": node["inputs"] | {"prompt": number}}
            for node_id, node in prompt.items()
        }
        return super().queue(renewed)


@pytest.fixture(scope="session")
def comfyui() -> Path:
    return find_comfyui()


@pytest.fixture(scope="session")
def default_host(comfyui: Path) -> None:
    """Skip what holds for the ComfyUI that the example workflows were written with: Save Video changes its widgets."""
    if f'"{DEFAULT_VERSION}"' not in (comfyui / "comfyui_version.py").read_text("utf-8"):
        pytest.skip(f"the page's form of the examples is that of ComfyUI {DEFAULT_VERSION}")


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config, client: Client) -> Iterator[Record]:
    """Keep an outcome for docs/works-with.md: `record("works_with", node="FreeU", effect=0.1)`. See checks.swap_table.

    Written only where --swaps names a file.
    """
    outcomes: dict[str, list[JSON]] = {}

    def keep(table: str, **outcome: Any) -> None:
        outcomes.setdefault(table, []).append(outcome)

    yield keep
    path = pytestconfig.getoption("--swaps")
    if path is not None:
        system = client.get("/system_stats")["system"]
        versions = {"comfyui": system["comfyui_version"], "torch": system["pytorch_version"]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**versions, **outcomes}, indent=2) + "\n", "utf-8")


@pytest.fixture(scope="session")
def host(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base = tmp_path_factory.mktemp("host")
    random_checkpoint(base / "models" / "checkpoints" / SMALL)
    with Host(comfyui, base, PACKS, options=["--cache-lru", str(KEPT_RESULTS)]) as running:
        running.client = RerunningClient(running.url)
        yield running


@pytest.fixture(scope="session")
def client(host: Host) -> Client:
    return host.client


@pytest.fixture(scope="session")
def object_info(client: Client) -> JSON:
    return client.get("/object_info")


@pytest.fixture(scope="session")
def config(host: Host) -> JSON:
    """The dimensions of the small checkpoint."""
    return dataclasses.asdict(open_checkpoint(host.checkpoints / SMALL).config)


@pytest.fixture(scope="session")
def upload_square(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Upload the example picture as a square of some size; returns its name."""

    def upload(size: int, flip: bool = False) -> str:
        return client.upload_image(square_picture(size, tmp_path_factory.mktemp("pictures"), flip))

    return upload


@pytest.fixture(scope="session")
def source(host: Host, upload_square: Callable[..., str]) -> Source:
    return source_of(host.checkpoints / SMALL, upload_square)


def source_of(checkpoint: Path, upload_square: Callable[..., str]) -> Source:
    config = dataclasses.asdict(open_checkpoint(checkpoint).config)
    native = {"class_type": "TestNativeLoader", "checkpoint": checkpoint.name, "config": json.dumps(config)}
    return Source(checkpoint.name, upload_square(config["clip"]["image_size"]), native)


def random_checkpoint(path: Path, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    script = REPOSITORY / "tests" / "support" / "random_checkpoint.py"
    subprocess.run([sys.executable, str(script), str(path), *options], check=True)
    return path


def square_picture(size: int, folder: Path, flip: bool = False) -> Path:
    """The boat in the example picture; `flip` turns it upside down, for another picture."""
    path = folder / f"square_{size}{'_flipped' * flip}.png"
    with Image.open(PICTURE) as picture:
        square = picture.crop((150, 0, 726, 576)).resize((size, size), Image.Resampling.LANCZOS)
    (ImageOps.flip(square) if flip else square).save(path)
    return path
