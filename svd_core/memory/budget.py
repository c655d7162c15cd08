"""How much of the free memory a stage may take, as the user chose, and sizes in words."""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import SVDError

MemoryChoice = Literal["automatic", "fastest", "smallest"]
MEMORY_CHOICES: tuple[str, ...] = get_args(MemoryChoice)

# Share of the free memory that a stage may count on: allocators fragment, libraries take work space for convolutions,
# and other programs move.
USABLE = 0.8


def check_memory_choice(choice: str) -> None:
    """Raise SVDError for an unknown name."""
    if choice not in MEMORY_CHOICES:
        raise SVDError(f"There is no memory choice named {choice!r}; choose one of {', '.join(MEMORY_CHOICES)}.")


def describe_bytes(size: float) -> str:
    """A size in words, such as "2.1 GB" or "64.0 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
