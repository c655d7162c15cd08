"""Write a safetensors file tensor by tensor, so that it can be larger than memory."""

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
_PIECE = 2**22  # elements
_ALIGNMENT = 8  # the format pads its header so that tensors start on a multiple of this


def write_entries(
    path: Path,
    entries: Mapping[str, Entry],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
    open_file: OpenFile = SafetensorsFile,
    progress: Callable[[int], object] = lambda nbytes: None,
) -> None:
    """Make each entry and write it, as stored or in the given floating-point dtype.

    progress: called with the bytes of each tensor. Raises SVDError for a value that the dtype cannot hold.
    """
    groups = _group_by_alignment(entries, dtype)
    order = {name: (_choose_dtype(entry, dtype), entry.shape) for group in groups for name, entry in group}
    with path.open("wb") as file:
        file.write(make_header(order, metadata))
        for group in groups:
            for name, tensor in stream(dict(group), open_file, transient=True, window=_WINDOW):
                file.writelines(_convert_pieces(name, tensor, order[name][0]))
                progress(count_bytes({name: entries[name]}, dtype))


def count_bytes(entries: Mapping[str, Entry], dtype: torch.dtype | None = None) -> int:
    """Bytes of the tensors in a file."""
    return sum(math.prod(entry.shape) * _choose_dtype(entry, dtype).itemsize for entry in entries.values())


def make_header(tensors: Mapping[str, tuple[torch.dtype, Shape]], metadata: Mapping[str, str] | None = None) -> bytes:
    """The first bytes of a file whose tensors follow in this order."""
    head: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * dtype.itemsize
        head[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _group_by_alignment(entries: Mapping[str, Entry], dtype: torch.dtype | None) -> list[list[tuple[str, Entry]]]:
    """Wide dtypes first, so that each tensor starts on a multiple of its width; within a dtype in reading order."""
    widths = sorted({_choose_dtype(entry, dtype).itemsize for entry in entries.values()}, reverse=True)
    groups = ([item for item in entries.items() if _choose_dtype(item[1], dtype).itemsize == width] for width in widths)
    return [sorted(group, key=file_order) for group in groups]


def _choose_dtype(entry: Entry, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted and entry.dtype.is_floating_point else entry.dtype


def _convert_pieces(name: str, tensor: Tensor, dtype: torch.dtype) -> Iterator[memoryview]:
    """Yield the bytes of a tensor in pieces: converted at once, the text encoder's 50 million numbers fill memory."""
    for piece in tensor.contiguous().reshape(-1).split(_PIECE):
        converted = piece.to(dtype)
        if dtype != tensor.dtype and not _stays_finite(piece, converted):
            raise SVDError(f"{name} has values that {str(dtype).removeprefix('torch.')} cannot hold; convert to bf16.")
        yield converted.view(torch.uint8).numpy().data


def _stays_finite(tensor: Tensor, converted: Tensor) -> bool:
    """True if every value that was finite still is."""
    tensor = tensor.float() if tensor.itemsize == 1 else tensor  # torch has no isfinite for eight bits
    return bool((converted.isfinite() | ~tensor.isfinite()).all())
