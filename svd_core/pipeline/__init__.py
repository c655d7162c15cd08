"""From a picture to the frames of a clip."""

from .pipeline import Conditioning, SVDPipeline

__all__ = ["Conditioning", "SVDPipeline"]
