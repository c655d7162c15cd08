"""The commands a person runs: `nox -s demo`, `tests`, `hosts`, `lint`, `docs`, `train`, `evaluate`, `bench`.

All share one environment in .cache, installed once; a run with unchanged requirements starts at once. It is made here
and not by nox, which keeps one for each session: torch alone is several gigabytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import nox

if sys.version_info < (3, 10):  # noqa: UP036 - nox may have been installed with anything
    raise SystemExit("SVD Nodes needs Python 3.10 or newer; run nox with one.")

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tools.comfyui import CACHE, PACKAGE, find_comfyui, requirements

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["tests"]

ENVIRONMENT = CACHE / f"env-{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
MAX_THREADS = 4  # small models do not gain from more
MAX_WORKERS = 4  # processes of tests, each of one thread, with a ComfyUI of its own
INTERRUPT_SECONDS = 30  # after Ctrl-C the demo still stops its server
# What a ComfyUI newer than any that can be downloaded brings along.
NEWEST_LIBRARIES = ("comfy-kitchen", "comfy-aimdo", "comfyui-frontend-package", "av")


@nox.session(python=False)
def demo(session: nox.Session) -> None:
    """Make a clip with a real ComfyUI; `-- --serve` leaves its page open, `-- --help` lists the options."""
    prepare(session)
    run(session, "tools.demo", *session.posargs)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Lint, types, and every test; `-- --thorough` and `-- --full-size` do more, other arguments go to pytest."""
    prepare(session)
    check(session)
    full_size = "--full-size" in session.posargs  # one such model is all that the memory holds
    workers = 0 if full_size else min(MAX_WORKERS, os.cpu_count() or 1)
    # A file of tests stays in one process, for its fixtures; the order is that of testpaths, long ones first.
    shared_out = ("--numprocesses", str(workers), "--dist", "loadfile", "--no-loadscope-reorder")
    run(session, "pytest", *shared_out, *session.posargs)


@nox.session(python=False)
def hosts(session: nox.Session) -> None:
    """The examples in every supported ComfyUI; `-- 0.16.3` in one, `-- --newest` with the newest libraries and page."""
    prepare(session)
    if "--newest" not in session.posargs:
        run(session, "tools.hosts", *session.posargs)
        return
    libraries = install_newest(session)
    run(session, "pytest", "tests/browser", "tests/core/video", env={"PYTHONPATH": str(libraries)})
    run(session, "tools.hosts", "--libraries", str(libraries))


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Ruff (lint and format), types, the rules for imports, and the links between the pages."""
    prepare(session)
    check(session)


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """Build the pages into output/site; `-- --serve` shows them at http://127.0.0.1:8000 and follows changes."""
    prepare(session)
    build_pages(session, "serve" if "--serve" in session.posargs else "build")


@nox.session(python=False)
def train(session: nox.Session) -> None:
    """Train the demo model from scratch, or go on where a run was stopped; `-- --out FILE`, `-- --help`."""
    prepare(session)
    run(session, "training", "train", *(session.posargs or ["--out", "svd_demo.safetensors"]))


@nox.session(python=False)
def evaluate(session: nox.Session) -> None:
    """Measure a checkpoint (default: the bundled one) against the bars; `-- FILE --sheet sheet.png`."""
    prepare(session)
    run(session, "training", "evaluate", *session.posargs)


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Speed and memory beside diffusers and ComfyUI's own classes; `-- --cases demo`, `-- --help`."""
    prepare(session)
    run(session, "benchmarks.run", *session.posargs)


def check(session: nox.Session) -> None:
    run(session, "ruff", "check", "--no-cache", ".")  # a cached verdict may be from before an import moved
    run(session, "ruff", "format", "--check", ".")
    run(session, "basedpyright", "--pythonpath", str(PYTHON))
    session.run(str(PYTHON.with_name("lint-imports")), "--no-logo", "--no-cache", external=True)
    build_pages(session, "build")  # fails on a link that leads nowhere


def build_pages(session: nox.Session, command: str) -> None:
    env = {"NO_MKDOCS_2_WARNING": "1"}  # a notice about another program
    session.run(str(PYTHON), "-m", "mkdocs", command, "--strict", env=env, external=True)


def run(session: nox.Session, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run a module in the shared environment."""
    threads = str(min(MAX_THREADS, os.cpu_count() or 1))
    env = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **(env or {})}
    session.run(str(PYTHON), "-m", module, *arguments, env=env, external=True, interrupt_timeout=INTERRUPT_SECONDS)


def prepare(session: nox.Session) -> None:
    """Make the environment and install into it: one pip call, skipped when the same list was installed before."""
    if not PYTHON.is_file():
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True)
    packages = wanted(find_comfyui(str(PYTHON)))
    stamp = ENVIRONMENT / "installed.sha256"
    digest = hashlib.sha256(json.dumps([sys.version, packages]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    session.log("Installing torch, ComfyUI's requirements and the test tools; this takes a few minutes, once")
    stamp.unlink(missing_ok=True)
    session.run(str(PYTHON), "-m", "pip", "install", "--progress-bar", "off", *packages, external=True)
    stamp.write_text(digest)


def install_newest(session: nox.Session) -> Path:
    """Install the newest libraries into a folder of their own, which stands before the environment's; return it."""
    folder = CACHE / "newest-libraries"
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(PYTHON), "-m", "pip"]
    session.run(*pip, "install", "--quiet", "--no-deps", "--target", str(folder), *NEWEST_LIBRARIES, external=True)
    session.run(*pip, "list", "--path", str(folder), external=True)
    # Is there a newer ComfyUI than ours? The package asks for another Python than ComfyUI does.
    session.run(*pip, "index", "versions", PACKAGE, "--ignore-requires-python", external=True, success_codes=[0, 1])
    return folder


def wanted(comfyui: Path) -> list[str]:
    """Torch pinned, ComfyUI's own requirements, and what the tests compare against."""
    groups = nox.project.load_toml("pyproject.toml")["dependency-groups"]
    return [*groups["host-torch"], *requirements(comfyui), *groups["test"], *groups["docs"]]
