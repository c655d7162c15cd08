"""Ways to make a parameter from stored tensors: as it is, split, joined, or folded with its neighbour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .header import TensorRef
from .inventory import Shape

Refs = Mapping[str, TensorRef]
Combine = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Entry:
    """One parameter: `combine` of the stored tensors `sources`, or the stored tensor itself."""

    sources: tuple[TensorRef, ...]
    shape: Shape
    combine: Combine | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the parameter is stored in."""
        return self.sources[0].dtype

    def make(self, tensors: Sequence[Tensor]) -> Tensor:
        return self.combine(tensors) if self.combine else tensors[0]


Entries = dict[str, Entry]


def keep(ref: TensorRef) -> Entry:
    """A stored tensor as it is."""
    return Entry((ref,), ref.shape)


def combine(entries: Sequence[Entry], shape: Shape, function: Combine) -> Entry:
    """A parameter made from other ones, whatever those are made from."""

    def make(tensors: Sequence[Tensor]) -> Tensor:
        rest = iter(tensors)
        return function([entry.make([next(rest) for _ in entry.sources]) for entry in entries])

    return Entry(tuple(source for entry in entries for source in entry.sources), shape, make)


# --- matrices ----------------------------------------------------------------------------------------------------


def transpose(entry: Entry) -> Entry:
    return combine([entry], entry.shape[::-1], lambda tensors: tensors[0].t().contiguous())


def split_rows(ref: TensorRef, parts: int) -> list[Entry]:
    """The matrices that are stored one below the other."""
    shape = (ref.shape[0] // parts, *ref.shape[1:])

    def take(index: int, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0].chunk(parts)[index]

    return [Entry((ref,), shape, partial(take, index)) for index in range(parts)]


def join_rows(entries: Sequence[Entry]) -> Entry:
    """Matrices of one shape, one below the other."""
    rows, *rest = entries[0].shape
    return combine(entries, (len(entries) * rows, *rest), lambda tensors: torch.cat(list(tensors)))


def linear_to_conv(ref: TensorRef) -> Entry:
    """A matrix o i as a 1x1 convolution o i 1 1."""
    return Entry((ref,), (*ref.shape, 1, 1), lambda tensors: tensors[0][:, :, None, None])


def conv_to_linear(entry: Entry) -> Entry:
    """A 1x1 convolution o i 1 1 as a matrix o i."""
    return combine([entry], entry.shape[:2], lambda tensors: tensors[0][:, :, 0, 0])


# --- the autoencoder's quant_conv --------------------------------------------------------------------------------
# A 1x1 convolution Q, q after a convolution W, b is one convolution, Q W and Q b + q. In float64, so that rounding to
# the stored type gives the exact product's nearest value.

_CONV_OUT = ("encoder.conv_out.weight", "encoder.conv_out.bias")
_QUANT_CONV = ("quant_conv.weight", "quant_conv.bias")


def fold_quant_conv(entries: Entries) -> Entries:
    """Merge quant_conv into the encoder's last convolution; one that does not fit stays, and is reported later."""
    if not all(name in entries for name in (*_CONV_OUT, *_QUANT_CONV)):
        return entries
    weight, bias, quant, quant_bias = (entries[name].sources[0] for name in (*_CONV_OUT, *_QUANT_CONV))
    if quant.shape != (*bias.shape, *bias.shape, 1, 1) or quant_bias.shape != bias.shape:
        return entries
    rest = {name: entry for name, entry in entries.items() if name not in _QUANT_CONV}
    return rest | {
        _CONV_OUT[0]: Entry((weight, quant), weight.shape, _fold_weight),
        _CONV_OUT[1]: Entry((bias, quant, quant_bias), bias.shape, _fold_bias),
    }


def unfold_quant_conv(entries: Entries) -> Entries:
    """The autoencoder with its quant_conv apart again, an identity if the file has none."""
    if _QUANT_CONV[0] in entries:
        return entries
    weight, bias = (entries[name] for name in _CONV_OUT)
    n = bias.shape[0]
    if len(weight.sources) == 2 and len(bias.sources) == 3:  # folded on reading
        quant, quant_bias = keep(weight.sources[1]), keep(bias.sources[2])
        weight, bias = keep(weight.sources[0]), keep(bias.sources[0])
    else:
        quant = Entry(bias.sources, (n, n, 1, 1), lambda _: torch.eye(n)[:, :, None, None])
        quant_bias = Entry(bias.sources, (n,), lambda _: torch.zeros(n))
    return entries | dict(zip((*_CONV_OUT, *_QUANT_CONV), (weight, bias, quant, quant_bias), strict=True))


def _fold_weight(tensors: Sequence[Tensor]) -> Tensor:
    weight, quant = (tensor.double() for tensor in tensors)
    return torch.einsum("om,mikl->oikl", quant[:, :, 0, 0], weight)


def _fold_bias(tensors: Sequence[Tensor]) -> Tensor:
    bias, quant, quant_bias = (tensor.double() for tensor in tensors)
    return quant[:, :, 0, 0] @ bias + quant_bias
