"""Writes a safetensors file from entries, tensor by tensor: a file larger than memory can be made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SVDError
from .entries import Entry
from .header import DTYPES
from .inventory import Shape
from .stream import OpenFile, SafetensorsFile, file_order, stream

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_WINDOW = 32 * 2**20  # bytes
_PIECE = 2**22  # numbers
_ALIGNMENT = 8  # the format pads its header so that tensors start on a multiple of this


def write_entries(
    path: Path,
    entries: Mapping[str, Entry],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
    open_file: OpenFile = SafetensorsFile,
    progress: Callable[[int], object] = lambda nbytes: None,
) -> None:
    """Makes each entry and writes it, as stored or in the given floating-point type. progress: told of each tensor.

    Raises SVDError for a value that the type cannot hold.
    """
    groups = _by_alignment(entries, dtype)
    order = {name: (_dtype(entry, dtype), entry.shape) for group in groups for name, entry in group}
    with path.open("wb") as file:
        file.write(header_bytes(order, metadata))
        for group in groups:
            for name, tensor in stream(dict(group), open_file, transient=True, window=_WINDOW):
                file.writelines(_pieces(name, tensor, order[name][0]))
                progress(entries_bytes({name: entries[name]}, dtype))


def entries_bytes(entries: Mapping[str, Entry], dtype: torch.dtype | None = None) -> int:
    """The size of the tensors in a file."""
    return sum(math.prod(entry.shape) * _dtype(entry, dtype).itemsize for entry in entries.values())


def header_bytes(tensors: Mapping[str, tuple[torch.dtype, Shape]], metadata: Mapping[str, str] | None = None) -> bytes:
    """The beginning of a file whose tensors follow in this order."""
    head: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * dtype.itemsize
        head[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _by_alignment(entries: Mapping[str, Entry], dtype: torch.dtype | None) -> list[list[tuple[str, Entry]]]:
    """Wide types first, so that each tensor starts on a multiple of its own; within a type in the order of reading."""
    widths = sorted({_dtype(entry, dtype).itemsize for entry in entries.values()}, reverse=True)
    groups = ([item for item in entries.items() if _dtype(item[1], dtype).itemsize == width] for width in widths)
    return [sorted(group, key=file_order) for group in groups]


def _dtype(entry: Entry, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted and entry.dtype.is_floating_point else entry.dtype


def _pieces(name: str, tensor: Tensor, dtype: torch.dtype) -> Iterator[memoryview]:
    """The bytes of a tensor; the text encoder's table alone has 50 million numbers, whose copies would add up."""
    for piece in tensor.contiguous().reshape(-1).split(_PIECE):
        converted = piece.to(dtype)
        if dtype != tensor.dtype and not _finite_as(piece, converted):
            raise SVDError(f"{name} has values that {str(dtype).removeprefix('torch.')} cannot hold; convert to bf16.")
        yield converted.view(torch.uint8).numpy().data


def _finite_as(tensor: Tensor, converted: Tensor) -> bool:
    """Whether every value that was finite still is."""
    tensor = tensor.float() if tensor.itemsize == 1 else tensor  # torch cannot ask eight bits
    return bool((converted.isfinite() | ~tensor.isfinite()).all())
