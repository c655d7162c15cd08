"""Video files: write frames to them, read frames and a clip's settings from them."""

from .format import Metadata
from .frames import Video
from .read import load_metadata, load_video
from .write import SUFFIXES, save_video

__all__ = ["SUFFIXES", "Metadata", "Video", "load_metadata", "load_video", "save_video"]
