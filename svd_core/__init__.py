"""Stable Video Diffusion in plain torch: one picture in, a short video out.

    from svd_core import SVDPipeline, save_video

    pipe = SVDPipeline.from_checkpoint("svd_xt.safetensors")
    frames = pipe(picture, num_frames=25, fps=7, seed=0)
    save_video(frames, "clip.mp4", fps=7)

Names are imported when first used: a host that needs the networks alone does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import SVDError
    from .pipeline.pipeline import SVDPipeline
    from .video import load_metadata, load_video, save_video

__version__ = "0.1.0"

__all__ = ["SVDError", "SVDPipeline", "__version__", "load_metadata", "load_video", "save_video"]

_HOMES = {
    "SVDError": ".errors",
    "SVDPipeline": ".pipeline",
    "load_metadata": ".video",
    "load_video": ".video",
    "save_video": ".video",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
