"""Video files: frames in, frames out, and the settings a clip was made with."""

from .metadata import Metadata, load_metadata
from .read import Video, load_video
from .write import SUFFIXES, save_video

__all__ = ["SUFFIXES", "Metadata", "Video", "load_metadata", "load_video", "save_video"]
