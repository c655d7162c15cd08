"""What is alive at the fullest places of a decode, sweep by sweep; the counterpart of the code that decodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...models.layers import doubling_size
from .decoder_shapes import Frame, Step
from .plan import DecodePlan


class Place(NamedTuple):
    """Numbers alive at one place of the code."""

    working: int  # always on the device
    buffers: int  # where the plan puts them


class Window(NamedTuple):
    """Frames of a tile, of the tile before it and of the one after; 0 where there is none."""

    start: int
    frames: int
    previous: int
    next_start: int
    next: int


def block_size(x: int, y: int) -> int:
    """The fullest place inside a residual block from x to y numbers, beside its input."""
    return max(x + y, 2 * y)


@dataclass(frozen=True)
class Account:
    num_frames: int
    plan: DecodePlan
    measured: int  # numbers made of one number while moments are taken: in fp32, and normalised

    @property
    def spilled(self) -> int:
        """1 where what is read, and what is being written, is a copy on the device."""
        return int(self.plan.spill)

    @property
    def banded(self) -> bool:
        return self.plan.bands > 1

    def clip(self, steps: list[Step], pictures: Frame) -> Iterator[Place]:
        """The temporal decode."""
        for step in steps:
            yield from self._spatial_in_bands(step, self._clip_buffers(step)) if self.banded else self._spatial(step)
            yield from self._recomputed(step.y) if self.plan.recompute else self._temporal(step.y)
        buffers = self.num_frames * (steps[-1].y.size + pictures.size)
        yield from (
            self._head_in_bands(steps[-1].y, pictures, buffers) if self.banded else self._head(steps[-1].y, pictures)
        )
        yield from self._mixing(pictures)

    def images(self, steps: list[Step], pictures: Frame) -> Iterator[Place]:
        """The decode of frames that have nothing to do with each other."""
        finished = self.num_frames * pictures.size
        if self.banded:
            for step in steps:
                yield from self._spatial_in_bands(step, finished + step.before.size + step.y.size)
            yield from self._head_in_bands(steps[-1].y, pictures, finished + steps[-1].y.size)
            return
        frames = min(self.plan.frames_at_once, self.num_frames)
        pending = self.spilled * frames * pictures.size * (frames < self.num_frames)
        for step in steps:
            yield Place(pending + frames * step.before.size + _layer_size(step, frames), finished)
            yield Place(pending + frames * (step.x.size + block_size(step.x.size, step.y.size)), finished)
        yield Place(pending + frames * (2 * steps[-1].y.size + pictures.size), finished)

    def _windows(self, banded: bool = False) -> list[Window]:
        """The tiles that differ from each other."""
        at_once = self.plan.frames_at_once
        starts = list(range(0, self.num_frames, at_once))
        tiles = [(start, min(at_once, self.num_frames - start)) for start in starts]
        tiles = tiles[:3] + tiles[3:][-2:]
        tiles *= min(self.plan.bands, 3) if banded else 1  # band after band; the third is like all others
        around = zip([(0, 0), *tiles], tiles, [*tiles[1:], (0, 0)], strict=False)
        return [Window(*tile, previous[1], *following) for previous, tile, following in around]

    def _read(self, start: int, frames: int) -> int:
        """Frames of a window and the neighbours that the clip has."""
        return min(start + frames + 1, self.num_frames) - max(start - 1, 0) if frames else 0

    def _clip_buffers(self, step: Step) -> int:
        return self.num_frames * (step.before.size + (0 if step.in_place else step.y.size))

    def _spatial(self, step: Step) -> Iterator[Place]:
        before, x, y = step.before.size, step.x.size, step.y.size
        own = x if self.spilled or step.layer != "none" else 0
        given, result = self.num_frames * before, 0 if step.in_place else self.num_frames * y
        for window in self._windows():
            frames, buffers = window.frames, given + (result if window.start else 0)
            ahead = self.spilled * window.next * before
            copies = ahead + self.spilled * window.previous * y
            yield Place(copies + frames * self.spilled * before + _layer_size(step, frames), buffers)
            yield Place(copies + frames * (own + block_size(x, y)), buffers)
            yield Place(copies + (frames + self.measured) * y, buffers)
            if self.spilled or frames < self.num_frames:
                yield Place(ahead + frames * y, given + result)

    def _temporal(self, y: Frame) -> Iterator[Place]:
        band, clip, taps = y.rows(_rows(y, self.plan.bands)), self.num_frames * y.size, 3 * y.channels**2
        for window in self._windows(self.banded):
            frames, read = window.frames, self._read(window.start, window.frames)
            ahead = self.spilled * self._read(window.next_start, window.next) * band
            copies = ahead + self.spilled * window.previous * band
            hidden = clip if window.start or self.banded else 0
            yield Place(copies + (self.spilled * read + frames + 2) * band, clip + hidden)
            yield Place(copies + (2 * frames + 2) * band + taps, clip + hidden)
            yield Place(copies + (frames + self.measured) * band, clip + hidden)
            if self.spilled or self.banded or frames < self.num_frames:
                yield Place(ahead + frames * band, 2 * clip)
            copies += self.spilled * window.next * band
            yield Place(copies + (self.spilled * (frames + read) + frames + 2) * band, 2 * clip)
            yield Place(copies + (self.spilled * frames + 2 * frames + 2) * band + taps, 2 * clip)

    def _recomputed(self, y: Frame) -> Iterator[Place]:
        band, clip, taps = y.rows(_rows(y, self.plan.bands)), self.num_frames * y.size, 3 * y.channels**2
        for window in self._windows(self.banded):
            frames, read = window.frames, self._read(window.start, window.frames)
            copies = self.spilled * self._read(window.next_start, window.next) * band
            yield Place(copies + (self.spilled * read + frames + 2) * band, clip)
            yield Place(copies + (2 * frames + 2) * band + taps, clip)
            yield Place(copies + (frames + self.measured) * band, clip)
            yield Place(self._recomputed_window(window, band, taps) + 2 * y.size, clip)

    def _recomputed_window(self, window: Window, band: int, taps: int) -> int:
        frames, stop = window.frames, window.start + window.frames
        ahead = min(stop + 2, self.num_frames) - window.start
        joined = ahead + min(window.start, 2)
        padded = joined + (window.start <= 1) + (stop >= self.num_frames - 1)
        hidden = padded - 2
        follows = min(window.next_start + window.next + 2, self.num_frames) - window.next_start if window.next else 0
        behind = window.previous + (min(2, self.num_frames - window.start) if window.start else 0)
        here = max(padded * band + hidden * band + taps, (hidden + frames + 2) * band, (2 * frames + 2) * band + taps)
        return here + (joined + self.spilled * (ahead + follows + behind)) * band

    def _head(self, y: Frame, pictures: Frame) -> Iterator[Place]:
        buffers = self.num_frames * (y.size + pictures.size)
        for window in self._windows():
            copies = self.spilled * ((window.frames + window.next) * y.size + window.previous * pictures.size)
            yield Place(copies + window.frames * (y.size + pictures.size), buffers)

    def _mixing(self, pictures: Frame) -> Iterator[Place]:
        band = pictures.rows(_rows(pictures, self.plan.bands))
        for window in self._windows(self.banded):
            read, follows = (
                self._read(*each) for each in ((window.start, window.frames), (window.next_start, window.next))
            )
            copies = self.spilled * (read + follows + window.previous)
            yield Place((copies + 2 * window.frames + 2) * band, 2 * self.num_frames * pictures.size)

    def _spatial_in_bands(self, step: Step, buffers: int) -> Iterator[Place]:
        """buffers: beside those of the frame, before and after the first convolution."""
        spilled, x, y = self.spilled, step.x, step.y
        buffers += x.size + y.size
        rows, seen = _rows(x, self.plan.bands), _rows_seen(x, self.plan.bands)
        yield Place(self._layer_in_bands(step), buffers - y.size)
        yield Place((spilled + self.measured) * x.rows(rows), buffers - y.size)
        yield Place((spilled + 1) * (x.rows(seen) + y.rows(seen)), buffers)
        yield Place((spilled + self.measured) * y.rows(rows), buffers)
        yield Place((2 * spilled + 2) * y.rows(seen), buffers)
        shortcut = 0 if x.channels == y.channels else y.rows(rows)
        yield Place((spilled + 1) * y.rows(seen) + spilled * x.rows(rows) + shortcut, buffers)
        yield Place((spilled + 1) * y.rows(seen) + self.measured * y.rows(rows), buffers)

    def _layer_in_bands(self, step: Step) -> int:
        before, x, spilled = step.before, step.x, self.spilled
        seen = _rows_seen(before, self.plan.bands)
        if step.layer == "attention":
            band = x.rows(_rows(x, self.plan.bands))
            return (spilled + 3) * x.size + max(x.size, (3 + spilled) * band)
        if step.layer == "upsample":
            copies = spilled * (before.rows(seen) + x.rows(2 * seen))
            return copies + doubling_size(x.channels, 1, seen, before.width)
        if step.layer == "stem":
            return spilled * before.rows(seen) + (1 + spilled) * x.rows(seen)
        return 2 * spilled * before.rows(seen)

    def _head_in_bands(self, y: Frame, pictures: Frame, buffers: int) -> Iterator[Place]:
        seen = _rows_seen(y, self.plan.bands)
        yield Place((self.spilled + self.measured) * y.rows(_rows(y, self.plan.bands)), buffers)
        yield Place((self.spilled + 1) * (y.rows(seen) + pictures.rows(seen)), buffers)


def _layer_size(step: Step, frames: int) -> int:
    """What the layer before a block makes of some frames, at its fullest, beside its input."""
    if step.layer == "upsample":
        return doubling_size(step.x.channels, frames, step.before.height, step.before.width)
    return {"stem": 1, "attention": 5, "none": 0}[step.layer] * frames * step.x.size


def _rows(frame: Frame, bands: int) -> int:
    return -(-frame.height // bands)


def _rows_seen(frame: Frame, bands: int) -> int:
    """Rows of a band and its neighbours."""
    return min(_rows(frame, bands) + min(bands - 1, 2), frame.height)
