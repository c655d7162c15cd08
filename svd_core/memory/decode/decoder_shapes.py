"""The frames between the decoder's layers, from the configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ...config import AutoencoderConfig


@dataclass(frozen=True)
class Frame:
    """One frame between two layers."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width

    def rows(self, rows: int) -> int:
        return self.channels * min(rows, self.height) * self.width


@dataclass(frozen=True)
class Step:
    """A block of the decoder, and the layer that precedes it."""

    layer: Literal["stem", "attention", "upsample", "none"]
    before: Frame
    x: Frame  # what the block gets
    y: Frame  # what it gives

    @property
    def in_place(self) -> bool:
        return self.before == self.y and self.layer != "stem"


def decoder_steps(config: AutoencoderConfig, height: int, width: int) -> Iterator[Step]:
    """height, width: of the latent."""
    widths = config.widths
    frame = Frame(widths[-1], height, width)
    yield Step("stem", Frame(config.latent_channels, height, width), frame, frame)
    yield Step("attention", frame, frame, frame)
    for level, channels in reversed(list(enumerate(widths))):
        for _ in range(config.num_res_blocks + 1):
            finer = frame.height < height * 2 ** (len(widths) - 1 - level)
            x = Frame(frame.channels, 2 * frame.height, 2 * frame.width) if finer else frame
            y = Frame(channels, x.height, x.width)
            yield Step("upsample" if finer else "none", frame, x, y)
            frame = y
