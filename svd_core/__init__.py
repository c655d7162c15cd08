"""Stable Video Diffusion in plain torch: one picture in, a short video out.

    from svd_core import SVDPipeline

    pipe = SVDPipeline.from_checkpoint("svd_xt.safetensors")
    pipe(picture, num_frames=25, fps=7, seed=0).save("clip.mp4")

Names are imported when first used: a host that needs the networks alone does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoints import open_checkpoint
    from .checkpoints.convert import convert_checkpoint
    from .checkpoints.releases import DEMO_CHECKPOINT
    from .errors import SVDError
    from .pipeline.clip import Clip
    from .pipeline.denoise import Conditioning
    from .pipeline.given_frames import GivenFrames
    from .pipeline.pipeline import SVDPipeline
    from .pipeline.settings import ClipSettings, RunOptions
    from .video import Video, load_metadata, load_video, save_video

__version__ = "0.1.0"

# The public API, with `diffusion` and `pipeline.diffsynth` as docs/python.md shows them. Everything else may change.
__all__ = [
    "DEMO_CHECKPOINT",
    "Clip",
    "ClipSettings",
    "Conditioning",
    "GivenFrames",
    "RunOptions",
    "SVDError",
    "SVDPipeline",
    "Video",
    "__version__",
    "convert_checkpoint",
    "load_metadata",
    "load_video",
    "open_checkpoint",
    "save_video",
]

_MODULES = {
    "DEMO_CHECKPOINT": ".checkpoints.releases",
    "Clip": ".pipeline.clip",
    "ClipSettings": ".pipeline.settings",
    "Conditioning": ".pipeline.denoise",
    "GivenFrames": ".pipeline.given_frames",
    "RunOptions": ".pipeline.settings",
    "SVDError": ".errors",
    "SVDPipeline": ".pipeline.pipeline",
    "Video": ".video",
    "convert_checkpoint": ".checkpoints.convert",
    "load_metadata": ".video",
    "load_video": ".video",
    "open_checkpoint": ".checkpoints",
    "save_video": ".video",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
