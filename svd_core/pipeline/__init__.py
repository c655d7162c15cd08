"""From a picture to the frames of a clip."""

from .denoise import Conditioning
from .pipeline import SVDPipeline

__all__ = ["Conditioning", "SVDPipeline"]
