"""Convolutions in the Winograd domain, for CPUs (Winograd 1980; F(2x2, 3x3) of Lavin and Gray 2016).

Of a 4x4 window d and a 3x3 kernel g, the 2x2 results are Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. The transforms A and B only add, G
adds and halves: 16 products take the place of 36, and fp rounding is all that differs. Where a picture is doubled in
size first, by repeating pixels, one of the four rows and columns is zero, and 9 products are left.

Libraries for CPUs have no such kernel in fp32; those for GPUs choose theirs themselves. Like these, it takes work space
that plans leave out: twice `WORKSPACE_BYTES`, and 16/9 of the layer's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

# Transformed pixels and products at once, in bytes: they stay in the caches, and the same memory serves all of them.
WORKSPACE_BYTES = 16 << 20
FEWEST_CHANNELS = 128  # with fewer, transforms cost what the products save
FEWEST_TILES = 256  # all pictures counted; with fewer, the transform of the weights does


class Transform(Protocol):
    """Along one axis: `seen` values in a row, `step` on from those before, give two results."""

    step: int
    seen: int
    g: tuple[tuple[float, float, float], ...]  # G, a row for each product

    def values(self, d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        """Bᵀ d."""
        ...

    def results(self, m: Sequence[Tensor], even: Tensor, odd: Tensor, spare: Tensor) -> None:
        """Aᵀ m."""
        ...


class Plain:
    """F(2, 3)."""

    step, seen = 2, 4
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
    """Of the row d0 d1 d1 d2, in which a pixel is repeated: d1 - d1 and its product are left out."""

    step, seen = 1, 3
    g = ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0))

    def values(self, d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        torch.sub(d[0], d[1], out=out[0])
        out[1].copy_(d[1])
        torch.sub(d[1], d[2], out=out[2])

    def results(self, m: Sequence[Tensor], even: Tensor, odd: Tensor, spare: Tensor) -> None:
        torch.add(m[0], m[1], out=even)
        torch.sub(m[1], m[2], out=odd)


PLAIN, DOUBLED = Plain(), Doubled()


def pays(x: Tensor, weight: Tensor, transform: Transform) -> bool:
    """Whether `convolve` takes these, and is sooner done than the sum over all taps. x: b c h w; weight: o c 3 3."""
    b, c, h, w = x.shape
    if c < FEWEST_CHANNELS or weight.shape[0] < FEWEST_CHANNELS:
        return False
    fp32_on_cpu = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not fp32_on_cpu or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    step = transform.step
    return (h % step, w % step) == (0, 0) and b * (h // step) * (w // step) >= FEWEST_TILES


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, transform: Transform) -> Tensor:
    """x: b c h w; weight: o c 3 3; zeros around the pictures. Returns b o h w, or b o 2h 2w of doubled ones."""
    b, _, h, w = x.shape
    rows, columns = h // transform.step, w // transform.step  # of tiles
    bytes_of_row = columns * len(transform.g) ** 2 * sum(weight.shape[:2]) * x.element_size()
    at_once = max(WORKSPACE_BYTES // bytes_of_row, 1)
    rows_at_once, pictures_at_once = min(at_once, rows), min(max(at_once // rows, 1), b)
    tiles = _Tiles(weight, bias, transform, (pictures_at_once, rows_at_once, columns))
    out = x.new_empty(b, len(weight), 2 * rows, 2 * columns)
    for picture in range(0, b, pictures_at_once):
        some = slice(picture, picture + pictures_at_once)
        for row in range(0, rows, rows_at_once):
            tiles.run(x[some], out[some], row, min(row + rows_at_once, rows))
    return out


class _Tiles:
    """Some rows of tiles of some pictures at a time, in memory that is used again and again.

    Channels come first in it, so that all tiles of a channel are one row of a matrix.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, transform: Transform, most: tuple[int, int, int]) -> None:
        """weight: o c 3 3; most: pictures, rows and columns of tiles."""
        self.transform = transform
        self.weights = _transformed(weight, transform)  # (p q) o c
        self.bias = None if bias is None else bias[:, None, None, None]
        pictures, rows, self.columns = most
        o, c, p = len(weight), weight.shape[1], len(transform.g)
        margin = transform.seen - transform.step
        height, width = (transform.step * side + margin for side in (rows, self.columns))
        tiles = pictures * rows * self.columns
        self._window = weight.new_zeros(c, pictures, height, width)
        self._down = weight.new_empty(p, c, pictures, rows, width)
        self._values, self._products = weight.new_empty(p * p * c * tiles), weight.new_empty(p * p * o * tiles)
        self._halves, self._spare = weight.new_empty(2 * p * o * tiles), weight.new_empty(p * o * tiles)

    def run(self, x: Tensor, out: Tensor, top: int, bottom: int) -> None:
        """x: b c h w; out: b o (2 rows) (2 columns), of which the rows of tiles from top to bottom are written."""
        t, p, size = self.transform, len(self.transform.g), (len(x), bottom - top, self.columns)
        o, c = self.weights.shape[1:]
        window = self._filled(x, top, bottom)  # c b (step rows + margin) (step columns + margin)
        down = self._down[:, :, : size[0], : size[1]]
        t.values([window[:, :, i :: t.step][:, :, : size[1]] for i in range(t.seen)], down.unbind())
        values = _view(self._values, p, p, c, *size)
        t.values([down[..., j :: t.step][..., : self.columns] for j in range(t.seen)], values.unbind(1))

        products = _view(self._products, p, p, o, *size)
        torch.bmm(self.weights, values.flatten(3).flatten(0, 1), out=products.flatten(3).flatten(0, 1))
        if self.bias is not None:
            products[1, 1] += self.bias  # it has its part in all results of a tile, and that part is one

        halves = _view(self._halves, 2, p, o, *size)
        t.results(products.unbind(), halves[0], halves[1], _view(self._spare, p, o, *size))
        made, spare = out[:, :, 2 * top : 2 * bottom].transpose(0, 1), _view(self._spare, o, *size)
        for i, half in enumerate(halves):
            t.results(half.unbind(), made[:, :, i::2, 0::2], made[:, :, i::2, 1::2], spare)

    def _filled(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """What the tiles see of the pictures, with zeros around these."""
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


def _transformed(weight: Tensor, transform: Transform) -> Tensor:
    """G g Gᵀ of every kernel, as one matrix product with G ⊗ G. weight: o c 3 3. Returns (p q) o c."""
    g = weight.new_tensor(transform.g)
    return torch.mm(torch.kron(g, g), weight.flatten(2).flatten(0, 1).t()).unflatten(1, weight.shape[:2])


def _view(memory: Tensor, *shape: int) -> Tensor:
    """The beginning of memory in this shape."""
    return memory[: torch.Size(shape).numel()].view(shape)
