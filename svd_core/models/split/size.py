"""How much of a clip the layers of the UNet take at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from ...errors import SVDError


@dataclass(frozen=True)
class Split:
    """Pieces for each kind of layer, as large as they are at the finest level of the UNet.

    A coarser level takes larger pieces, of the same memory: small ones would only leave the hardware idle.
    """

    frames: int  # of layers within a frame: convolutions, norms, spatial attention
    pixels: int  # of layers over frames; each comes with all its frames
    tokens: int  # of feed-forwards, whose inner width is eight times that of any other layer

    def __post_init__(self) -> None:
        for part in fields(self):
            if getattr(self, part.name) < 1:
                raise SVDError(f"A split takes at least 1 of {part.name} at once; {getattr(self, part.name)} is none.")

    def at(self, width: float, area: float) -> Split:
        """The pieces at another level. width: its channels over those of the finest level; area: its pixels, too."""
        frames, pixels, tokens = self.frames / (width * area), self.pixels / width, self.tokens / width
        return Split(*(max(1, int(count)) for count in (frames, pixels, tokens)))


def pieces(total: int, at_once: int) -> Iterator[slice]:
    """0 .. total, `at_once` at a time."""
    for start in range(0, total, at_once):
        yield slice(start, min(start + at_once, total))
