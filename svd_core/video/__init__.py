"""Video files: write frames to them, read frames and a clip's settings from them."""

from .format import Metadata
from .read import Video, load_metadata, load_video
from .write import SUFFIXES, save_video

__all__ = ["SUFFIXES", "Metadata", "Video", "load_metadata", "load_video", "save_video"]
