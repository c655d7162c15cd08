"""Convolutions in the Winograd domain, for CPUs (Winograd 1980; F(2x2, 3x3) of Lavin and Gray 2016).

Of a 4x4 window d and a 3x3 kernel g, the 2x2 results are Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. The transforms A and B only add, G
adds and halves: 16 products take the place of 36, and fp rounding is all that differs. Where a picture is doubled in
size first, by repeating pixels, one of the four rows and columns is zero, and 9 products are left.

Libraries for CPUs have no such kernel in fp32; those for GPUs choose theirs themselves. The work space is about twice
`WORKSPACE_BYTES`, and 16/9 of the layer's weights, or of those of `MOST_OUTPUTS` channels where all tiles are worked on
at once. On "meta" only that work space is allocated, so that whoever counts memory sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .memory_format import WIDE

# Transformed pixels and products at once, in bytes: they stay in the caches, and the same memory serves all of them.
WORKSPACE_BYTES = 24 << 20
MOST_OUTPUTS = 320  # channels of the result that are made at once


class Transform(Protocol):
    """The transform along one axis: two results from `seen` values in a row, which begin `step` after the last ones."""

    step: int
    seen: int
    fewest: int  # tiles times channels; with fewer, the transform of the weights costs what the products save
    g: tuple[tuple[float, float, float], ...]  # G, a row for each product

    def values(self, d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        """Bᵀ d."""
        ...

    def results(self, m: Sequence[Tensor], even: Tensor, odd: Tensor, spare: Tensor) -> None:
        """Aᵀ m."""
        ...


class Plain:
    """F(2, 3)."""

    step, seen, fewest = 2, 4, 40_000
    g = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))

    def values(self, d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        torch.sub(d[0], d[2], out=out[0])
        torch.add(d[1], d[2], out=out[1])
        torch.sub(d[2], d[1], out=out[2])
        torch.sub(d[1], d[3], out=out[3])

    def results(self, m: Sequence[Tensor], even: Tensor, odd: Tensor, spare: Tensor) -> None:
        torch.add(m[0], m[1], out=spare)
        torch.add(spare, m[2], out=even)
        torch.sub(m[1], m[2], out=spare)
        torch.sub(spare, m[3], out=odd)


class Doubled:
    """F(2, 3) of the row d0 d1 d1 d2, in which a pixel is repeated: d1 - d1 and its product are left out."""

    step, seen, fewest = 1, 3, 10_000
    g = ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0))

    def values(self, d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        torch.sub(d[0], d[1], out=out[0])
        out[1].copy_(d[1])
        torch.sub(d[1], d[2], out=out[2])

    def results(self, m: Sequence[Tensor], even: Tensor, odd: Tensor, spare: Tensor) -> None:
        torch.add(m[0], m[1], out=even)
        torch.sub(m[1], m[2], out=odd)


PLAIN, DOUBLED = Plain(), Doubled()


def pays(x: Tensor, weight: Tensor, transform: Transform, meta_is_cpu: bool = False) -> bool:
    """True if `convolve` takes these and is faster than the sum over all taps. x: b c h w; weight: o c 3 3.

    meta_is_cpu: answer for tensors on "meta" as for those of a CPU.
    """
    b, c, h, w = x.shape
    channels = min(c, len(weight))
    if channels < WIDE:
        return False  # the transforms would cost what the products save
    fp32_on_cpu = (x.is_cpu or (meta_is_cpu and x.is_meta)) and x.dtype == weight.dtype == torch.float32
    if not fp32_on_cpu or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    step = transform.step
    return (h % step, w % step) == (0, 0) and channels * b * (h // step) * (w // step) >= transform.fewest


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, transform: Transform) -> Tensor:
    """x: b c h w; weight: o c 3 3; zeros around the pictures. Returns b o h w, or b o 2h 2w of doubled ones."""
    b, c, h, w = x.shape
    rows, columns = h // transform.step, w // transform.step  # of tiles
    bytes_of_row = columns * len(transform.g) ** 2 * (c + _count_outputs_at_once(len(weight))) * x.element_size()
    at_once = max(WORKSPACE_BYTES // bytes_of_row, 1)
    rows_at_once, pictures_at_once = min(at_once, rows), min(max(at_once // rows, 1), b)
    all_at_once = (pictures_at_once, rows_at_once) == (b, rows)
    kernels = _Kernels(weight, bias, transform, asked_once=all_at_once)
    tiles = _Tiles(kernels, (pictures_at_once, rows_at_once, columns))
    out = x.new_empty(b, len(weight), 2 * rows, 2 * columns)
    if x.is_meta:
        return out
    for picture in range(0, b, pictures_at_once):
        some = slice(picture, picture + pictures_at_once)
        for row in range(0, rows, rows_at_once):
            tiles.run(x[some], out[some], row, min(row + rows_at_once, rows))
    return out


def _count_outputs_at_once(outputs: int) -> int:
    """Output channels of one part: equal parts, rounded up to whole registers."""
    pieces = -(-outputs // MOST_OUTPUTS)
    return -(-outputs // (32 * pieces)) * 32


class _Kernels:
    """G g Gᵀ of every kernel, for some output channels at a time; kept if they are needed more than once."""

    def __init__(self, weight: Tensor, bias: Tensor | None, transform: Transform, asked_once: bool) -> None:
        """weight: o c 3 3."""
        self.weight, self.bias, self.transform = weight, bias, transform
        g = weight.new_tensor(transform.g)
        self._squared = torch.kron(g, g)  # (p q) 9
        self.outputs_at_once = _count_outputs_at_once(len(weight))
        rows = self.outputs_at_once if asked_once else len(weight)
        self._memory = weight.new_empty(len(self._squared) * rows * weight.shape[1])
        self._kept = None if asked_once else self._transform(weight)

    def pieces(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Some outputs at a time: their slice, their kernels, (p q) o c, valid until the next ones, and their bias."""
        for first in range(0, len(self.weight), self.outputs_at_once):
            some = slice(first, first + self.outputs_at_once)
            kernels = self._transform(self.weight[some]) if self._kept is None else self._kept[:, some]
            yield some, kernels, None if self.bias is None else self.bias[some]

    def _transform(self, weight: Tensor) -> Tensor:
        """G g Gᵀ as one matrix product with G ⊗ G."""
        kernels = _view(self._memory, len(self._squared), *weight.shape[:2])
        torch.mm(self._squared, weight.flatten(2).flatten(0, 1).t(), out=kernels.flatten(1))
        return kernels


class _Tiles:
    """Work space for some rows of tiles of some pictures, used again for the next ones.

    Channels come first, so that all tiles of a channel are one row of a matrix.
    """

    def __init__(self, kernels: _Kernels, most: tuple[int, int, int]) -> None:
        """most: pictures, rows and columns of tiles."""
        self.kernels = kernels
        self.transform = t = kernels.transform
        pictures, rows, self.columns = most
        new, o, c, p = kernels.weight.new_empty, kernels.outputs_at_once, kernels.weight.shape[1], len(t.g)
        margin = t.seen - t.step
        height, width = (t.step * side + margin for side in (rows, self.columns))
        tiles = pictures * rows * self.columns
        self._window = kernels.weight.new_zeros(c, pictures, height, width)
        self._down = new(p, c, pictures, rows, width)
        self._values, self._products = new(p * p * c * tiles), new(p * p * o * tiles)
        self._halves, self._spare = new(2 * p * o * tiles), new(p * o * tiles)

    def run(self, x: Tensor, out: Tensor, top: int, bottom: int) -> None:
        """x: b c h w; out: b o (2 rows) (2 columns), of which the rows of tiles from top to bottom are written."""
        values = self._transform_pixels(x, top, bottom)
        made = out[:, :, 2 * top : 2 * bottom].transpose(0, 1)  # o b (2 rows) (2 columns)
        for outputs, kernels, bias in self.kernels.pieces():
            self._make(values, kernels, bias, made[outputs])

    def _transform_pixels(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """The transformed pixels of these tiles, p q c b rows columns."""
        t, p, size = self.transform, len(self.transform.g), (len(x), bottom - top, self.columns)
        window = self._fill_window(x, top, bottom)  # c b (step rows + margin) (step columns + margin)
        down = self._down[:, :, : size[0], : size[1]]
        t.values([window[:, :, i :: t.step][:, :, : size[1]] for i in range(t.seen)], down.unbind())
        values = _view(self._values, p, p, len(window), *size)
        t.values([down[..., j :: t.step][..., : self.columns] for j in range(t.seen)], values.unbind(1))
        return values

    def _make(self, values: Tensor, kernels: Tensor, bias: Tensor | None, made: Tensor) -> None:
        """values: p q c b rows columns; kernels: (p q) o c; made: o b (2 rows) (2 columns), which is written."""
        t, p, o, size = self.transform, len(values), len(made), values.shape[3:]
        products = _view(self._products, p, p, o, *size)
        torch.bmm(kernels, values.flatten(3).flatten(0, 1), out=products.flatten(3).flatten(0, 1))
        if bias is not None:
            products[1, 1] += bias[:, None, None, None]  # it has its part in all results of a tile, and that is one
        halves = _view(self._halves, 2, p, o, *size)
        t.results(products.unbind(), halves[0], halves[1], _view(self._spare, p, o, *size))
        spare = _view(self._spare, o, *size)
        for i, half in enumerate(halves):
            t.results(half.unbind(), made[:, :, i::2, 0::2], made[:, :, i::2, 1::2], spare)

    def _fill_window(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """The pixels that these tiles read, with zeros around the pictures: c b rows columns."""
        height, width = x.shape[2:]
        first, last = self.transform.step * top - 1, self.transform.step * bottom + 1
        window = self._window[:, : len(x), : last - first]
        if first < 0:
            window[:, :, 0] = 0.0
        if last > height:
            window[:, :, -1] = 0.0
        inside = slice(max(first, 0), min(last, height))
        window[:, :, inside.start - first : inside.stop - first, 1 : width + 1] = x[:, :, inside].transpose(0, 1)
        return window


def _view(memory: Tensor, *shape: int) -> Tensor:
    """The first numbers of `memory`, in this shape."""
    return memory[: torch.Size(shape).numel()].view(shape)
