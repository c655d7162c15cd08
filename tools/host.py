"""Start a real ComfyUI server with this pack linked in, and stop it again, whatever happens.

with Host(find_comfyui(), base=Path("somewhere"), packs={"svd-nodes": REPOSITORY}) as host:
    host.client.run(prompt)
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from urllib.error import URLError

from .client import Client
from .comfyui import REPOSITORY

PACK_NAME = "svd-nodes"
START_SECONDS = 180.0
STOP_SECONDS = 15.0

# What never belongs into a copy of the pack (only made where links are not allowed).
NOT_COPIED = shutil.ignore_patterns(".git", ".nox", ".cache", ".venv", "output", "__pycache__", "*_cache")


class Host:
    """A ComfyUI server of its own: own base folder (models, input, output, user), own free port, only `packs` loaded.

    `packs` maps the name in custom_nodes to the folder of the pack. `options` are further command line options.
    `libraries` is a folder of libraries that stand before the installed ones.
    """

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        packs: Mapping[str, Path] | None = None,
        options: Sequence[str] = (),
        python: str = sys.executable,
        libraries: Path | None = None,
    ):
        self.comfyui = comfyui
        self.base = base.resolve()
        self.packs = dict(packs or {PACK_NAME: REPOSITORY})
        self.options = list(options)
        self.python = python
        self.libraries = libraries
        self.log = self.base / "host.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{free_port()}"
        self.client = Client(self.url)

    @property
    def checkpoints(self) -> Path:
        return self.base / "models" / "checkpoints"

    @property
    def output(self) -> Path:
        return self.base / "output"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the host is not running"
        return self.process.pid

    def __enter__(self) -> Host:
        self.prepare()
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    self.command(),
                    cwd=self.comfyui,
                    env=environment(self.libraries),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def prepare(self) -> None:
        """Make the folders the server expects and link the packs in."""
        for folder in (self.checkpoints, self.output, self.base / "input", self.base / "custom_nodes"):
            folder.mkdir(parents=True, exist_ok=True)
        for name, folder in self.packs.items():
            link_or_copy(folder, self.base / "custom_nodes" / name)

    def command(self) -> list[str]:
        port = self.url.rpartition(":")[2]
        arguments = ["main.py", "--listen", "127.0.0.1", "--port", port, "--base-directory", str(self.base)]
        arguments += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *self.packs]
        arguments += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:", "--disable-auto-launch"]
        if not has_accelerator(self.python):
            arguments.append("--cpu")
        return [self.python, "-u", *arguments, *self.options]

    def wait(self) -> None:
        """Return once the server answers; its log is in the error when it does not."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended while starting:\n{self.log_text()[-6000:]}")
            try:
                self.client.get("/system_stats")
                return
            except (URLError, OSError):
                time.sleep(0.25)
        raise TimeoutError(f"ComfyUI did not answer within {START_SECONDS:.0f} s:\n{self.log_text()[-6000:]}")

    def stop(self) -> None:
        """End the server; kill it when it does not listen."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log_text(self) -> str:
        return self.log.read_text("utf-8", errors="replace") if self.log.is_file() else ""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def link_or_copy(folder: Path, link: Path) -> None:
    """Link `folder` as `link`; copy it where the system does not allow links (Windows without developer mode)."""
    if link.is_symlink():
        link.unlink()
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError:
        shutil.copytree(folder, link, ignore=NOT_COPIED, dirs_exist_ok=True)


def has_accelerator(python: str) -> bool:
    """Ask torch for a GPU, in a separate process so that this one does not occupy it."""
    question = "import torch, sys; sys.exit(not torch.accelerator.is_available())"
    return subprocess.run([python, "-c", question], stderr=subprocess.DEVNULL).returncode == 0


def environment(libraries: Path | None = None) -> dict[str, str]:
    """The server's environment: unbuffered UTF-8 logs, and no telemetry or model downloads by any library."""
    before = {} if libraries is None else {"PYTHONPATH": str(libraries)}
    return {**os.environ, **before, "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
