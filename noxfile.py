"""The commands a person runs: `nox -s demo`, `nox -s tests`, `nox -s lint`.

All share one environment, .nox/shared, installed once; a run with unchanged requirements starts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tools.comfyui import find_comfyui, requirements

if sys.version_info < (3, 10):  # noqa: UP036 - nox may have been installed with anything
    raise SystemExit("SVD Nodes needs Python 3.10 or newer; run nox with one.")

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True

SHARED = ".nox/shared"
MAX_THREADS = 4  # small models do not gain from more
INTERRUPT_SECONDS = 30  # after Ctrl-C the demo still stops its server

shared_session = nox.session(venv_backend="virtualenv", venv_location=SHARED, reuse_venv=True)


@shared_session
def demo(session: nox.Session) -> None:
    """Make a clip with a real ComfyUI; `-- --serve` leaves its page open, `-- --help` lists the options."""
    env = prepare(session)
    session.run("python", "-m", "tools.demo", *session.posargs, env=env, interrupt_timeout=INTERRUPT_SECONDS)


@shared_session
def tests(session: nox.Session) -> None:
    """Lint, types, and every test; `-- --full-size` adds the full-size model, other arguments go to pytest."""
    env = prepare(session)
    check(session, env)
    session.run("pytest", *session.posargs, env=env, interrupt_timeout=INTERRUPT_SECONDS)


@shared_session
def lint(session: nox.Session) -> None:
    """Ruff (lint and format) and the type checker."""
    check(session, prepare(session))


def check(session: nox.Session, env: dict[str, str]) -> None:
    session.run("ruff", "check", ".", env=env)
    session.run("ruff", "format", "--check", ".", env=env)
    session.run("basedpyright", env=env)


def prepare(session: nox.Session) -> dict[str, str]:
    """Install what is missing; returns the environment variables every command gets."""
    python = str(Path(session.bin) / "python")
    comfyui = find_comfyui(python)
    install(session, wanted(comfyui))
    threads = str(min(MAX_THREADS, os.cpu_count() or 1))
    return {"COMFYUI_PATH": str(comfyui), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def wanted(comfyui: Path) -> list[str]:
    """Torch pinned, ComfyUI's own requirements, ours, and what the tests compare against."""
    groups = nox.project.load_toml("pyproject.toml")["dependency-groups"]
    return [*groups["host-torch"], *requirements(comfyui), *groups["test"]]


def install(session: nox.Session, packages: list[str]) -> None:
    """One pip call, skipped when the same list was installed before."""
    stamp = Path(session.virtualenv.location) / "installed.sha256"
    digest = hashlib.sha256(json.dumps([sys.version, packages]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    session.log("Installing torch, ComfyUI's requirements and the test tools; this takes a few minutes, once")
    stamp.unlink(missing_ok=True)
    session.install("--progress-bar", "off", *packages, silent=False)
    stamp.write_text(digest)
