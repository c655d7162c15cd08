"""Description of the machine that a measurement was made on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tools.comfyui import find_comfyui

PACKAGES = ("torch", "diffusers", "transformers")


def machine(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, for a file of results."""
    return {
        "versions": {"python": platform.python_version(), "comfyui": comfyui_version()}
        | {name: package_version(name) for name in PACKAGES},
        "hardware": {
            "cpu": cpu_name(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
    }


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def comfyui_version() -> str | None:
    file = find_comfyui() / "comfyui_version.py"
    if not file.is_file():
        return None
    return file.read_text("utf-8").split('"')[1]


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
