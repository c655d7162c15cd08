"""SVD Nodes: Stable Video Diffusion for ComfyUI.

ComfyUI loads this folder as a module and calls `comfy_entrypoint`. Python users install `svd_core` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import SVDExtension

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

WEB_DIRECTORY = "./web"  # node help; the host serves it under the name of this folder, whatever that is


async def comfy_entrypoint() -> SVDExtension:
    """Called by the host, which is imported only here: tools can import this folder without ComfyUI."""
    from .nodes import SVDExtension

    return SVDExtension()
