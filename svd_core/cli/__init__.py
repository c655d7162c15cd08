"""The command line. Only commands that need torch import it, so that help and usage errors come at once."""

from .main import main

__all__ = ["main"]
