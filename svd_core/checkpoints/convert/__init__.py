"""Checkpoints from one layout to another, and from one type to another."""

from .convert import convert_checkpoint

__all__ = ["convert_checkpoint"]
