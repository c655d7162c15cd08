"""Convert checkpoints: to another layout, or to another dtype."""

from .convert import convert_checkpoint

__all__ = ["convert_checkpoint"]
