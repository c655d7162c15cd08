"""The command line. torch is imported by the commands that need it, so that help and typing errors come at once."""

from .main import main

__all__ = ["main"]
