"""Checkpoints: what a file is, what it holds, and how its tensors become parameters."""

from .entries import Entry
from .extension import extend
from .header import Header, TensorRef, read_header
from .inventory import clip_shapes, unet_shapes, vae_shapes
from .load import Checkpoint, load_weights, open_checkpoint
from .settings import settings_tensor
from .stream import OpenFile

__all__ = [
    "Checkpoint",
    "Entry",
    "Header",
    "OpenFile",
    "TensorRef",
    "clip_shapes",
    "extend",
    "load_weights",
    "open_checkpoint",
    "read_header",
    "settings_tensor",
    "unet_shapes",
    "vae_shapes",
]
