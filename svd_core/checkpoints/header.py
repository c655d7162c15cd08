"""Read the header of a safetensors file: names, shapes and places of its tensors, without any weights.

Files are checked before anything is mapped: cut-off downloads, web pages saved under a model's name, pickles. The
safetensors library would read a header too, but gives the same error for a file that is cut off and one with bytes to
spare, and names neither the damaged tensor nor the missing bytes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import SVDError, printable
from ..reading import check_file, parse_json
from .wrappers import drop_wrappers

logger = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_NAME = 1000  # characters of a tensor's name; matching names takes time that grows with their length
MAX_SIZE = 2**63  # torch counts in 64 bits

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_DOWNLOAD_AGAIN = "download the file again"


@dataclass(frozen=True)
class TensorRef:
    """One tensor of one file: `nbytes` bytes at `offset`, in the storage dtype."""

    file: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """The tensors and metadata of a safetensors file."""

    path: Path
    tensors: dict[str, TensorRef]  # by name, without words of wrappers; each knows its name in the file
    metadata: dict[str, str] = field(default_factory=dict)
    spare_bytes: int = 0  # at the end, which belong to no tensor


def read_header(path: str | Path) -> Header:
    """Read names, dtypes, shapes and metadata of a safetensors file, and warn of bytes that are left out.

    Raises SVDError for a missing, empty, truncated or corrupt file, a pickle, or another format.
    """
    header = parse_header(Path(path))
    if header.spare_bytes:
        logger.warning(
            printable(
                f"{header.path.name} has {header.spare_bytes} bytes after its last tensor, which are left out; "
                f"svd-nodes convert writes the file without them."
            )
        )
    return header


def parse_header(path: Path) -> Header:
    """`read_header` without a word."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise SVDError(describe_pickle(path))
    size = check_file(path).st_size
    try:
        with path.open("rb") as file:
            head, end = _read_json(path, file, size)
    except OSError as error:
        raise SVDError(
            f"{path} cannot be read ({error.strerror or error}): check the file and its permissions."
        ) from None
    return _parse(path, head, end, size)


def describe_pickle(path: Path) -> str:
    return (
        f"{path.name} is a pickle, and opening a pickle can run any code hidden in it: download the .safetensors "
        f"version, or convert it to .safetensors with torch.load(weights_only=True) and safetensors.torch.save_file."
    )


def _read_json(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header as JSON, and the file position where tensor data starts."""
    if size == 0:
        raise SVDError(f"{path.name} is empty: {_DOWNLOAD_AGAIN}.")
    start = file.read(64)
    _refuse_other_formats(path, start)
    length = int.from_bytes(start[:8], "little")
    if size < 10 or not 2 <= length <= MAX_HEADER_BYTES or start[8:9] != b"{":
        raise SVDError(
            f"{path.name} is not a safetensors file, or its beginning is damaged: {_DOWNLOAD_AGAIN} or pick another."
        )
    if 8 + length > size:
        raise SVDError(
            f"{path.name} is cut off: its header alone needs {8 + length} bytes, it has {size}; {_DOWNLOAD_AGAIN}."
        )
    file.seek(8)
    try:
        head = parse_json(file.read(length))
    except ValueError as error:
        raise SVDError(_describe_corrupt(path, f"the list of tensors is unreadable, {error}")) from None
    if not isinstance(head, dict):
        raise SVDError(_describe_corrupt(path, "the list of tensors is unreadable"))
    return head, 8 + length


def _refuse_other_formats(path: Path, start: bytes) -> None:
    if start.startswith(_PICKLE_STARTS):
        raise SVDError(describe_pickle(path))
    if start.startswith(b"GGUF"):
        raise SVDError(f"{path.name} is a GGUF file, which SVD Nodes does not read: pick the .safetensors version.")
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise SVDError(f"{path.name} is a web page, not a model, so the download failed: {_DOWNLOAD_AGAIN}.")
    if text.startswith(b"version https://git-lfs"):
        raise SVDError(
            f"{path.name} is a git-lfs pointer, not the model it points to: fetch the file with git lfs pull."
        )


def _parse(path: Path, head: dict[str, Any], start: int, size: int) -> Header:
    metadata = head.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise SVDError(_describe_corrupt(path, "its metadata is not a table"))
    tensors = {name: _parse_tensor(path, name, entry, start) for name, entry in head.items()}
    if not tensors:
        raise SVDError(f"{path.name} holds no tensors: pick another file.")
    end = _check_places(path, tensors.values(), start)
    if end > size:
        raise SVDError(f"{path.name} is cut off: it has {size} of {end} bytes; {_DOWNLOAD_AGAIN}.")
    metadata = {key: str(value) for key, value in metadata.items()}
    return Header(path, drop_wrappers(tensors), metadata, size - end)


def _parse_tensor(path: Path, name: str, entry: Any, start: int) -> TensorRef:
    try:
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        dtype = DTYPES.get(entry["dtype"])
    except (KeyError, TypeError, ValueError):
        raise SVDError(_describe_corrupt(path, f"its entry for {name} is unreadable")) from None
    if len(name) > MAX_NAME or not all(type(n) is int for n in (*shape, begin, end)):
        raise SVDError(_describe_corrupt(path, f"its entry for {name} is unreadable"))
    if dtype is None:
        raise SVDError(
            f"{path.name} stores {name} as {entry['dtype']}, which is not supported: use an fp32, fp16 or bf16 version."
        )
    nbytes = end - begin
    fits = begin >= 0 and all(n >= 0 for n in shape) and nbytes == math.prod(shape) * dtype.itemsize
    if not fits or math.prod(max(n, 1) for n in shape) >= MAX_SIZE:
        raise SVDError(_describe_corrupt(path, f"the size of {name} does not fit its shape"))
    return TensorRef(path, name, dtype, shape, start + begin, nbytes)


def _check_places(path: Path, tensors: Iterable[TensorRef], start: int) -> int:
    """The end of the last tensor. Raises SVDError where tensors overlap, or where bytes between them belong to none."""
    end, last = start, "the beginning"
    for ref in sorted((ref for ref in tensors if ref.nbytes), key=lambda ref: ref.offset):
        if ref.offset < end:
            raise SVDError(_describe_corrupt(path, f"{last} and {ref.name} share {end - ref.offset} bytes"))
        if ref.offset > end:
            between = f"{ref.offset - end} bytes between {last} and {ref.name} belong to no tensor"
            raise SVDError(_describe_corrupt(path, between))
        end, last = ref.offset + ref.nbytes, ref.name
    return end


def check_numbers(refs: Iterable[TensorRef]) -> None:
    """Raises SVDError for weights that are whole numbers, as quantised files hold them."""
    for ref in refs:
        if not ref.dtype.is_floating_point:
            dtype = str(ref.dtype).removeprefix("torch.")
            raise SVDError(
                f"{ref.file.name} stores {ref.name} as whole numbers ({dtype}), as quantised files do, which SVD Nodes "
                f"does not read: pick its fp32, fp16 or bf16 version."
            )


def _describe_corrupt(path: Path, what: str) -> str:
    return f"{path.name} is corrupt ({what}): {_DOWNLOAD_AGAIN} or pick another."
