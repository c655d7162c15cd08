"""SVD Nodes: Stable Video Diffusion for ComfyUI.

ComfyUI loads this folder as a module and calls `comfy_entrypoint`. Python users install `svd_core` instead.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import SVDExtension

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

WEB_DIRECTORY = "./web"  # node help; the host serves it under the name of this folder, whatever that is
OLDEST_COMFYUI = "0.16.3"


def check_host() -> None:
    """Refuse a ComfyUI that is too old at once, and not in the middle of a graph."""
    try:
        from comfyui_version import __version__ as version
    except ImportError:
        if "folder_paths" not in sys.modules:
            return  # a tool imports this folder without ComfyUI
        version = "a version before 0.4"  # they did not say which
    found = numbers(version)
    if found and found < numbers(OLDEST_COMFYUI):
        raise ImportError(f"SVD Nodes needs ComfyUI {OLDEST_COMFYUI} or newer, and this is {version}: update ComfyUI.")


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


check_host()


async def comfy_entrypoint() -> SVDExtension:
    """Called by the host, which is imported only here: tools can import this folder without ComfyUI."""
    from .nodes import SVDExtension

    return SVDExtension()
