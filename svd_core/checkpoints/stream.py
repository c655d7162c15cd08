"""Read parameters from mapped files, holding little more than what the caller keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ..errors import SVDError
from .entries import Entry
from .header import parse_header

OpenFile = Callable[[Path], Mapping[str, Tensor]]

_WINDOW = 16 * 2**20  # bytes


class SafetensorsFile(Mapping[str, Tensor]):
    """A safetensors file as a mapping from its own names to views of the mapped file.

    The safetensors library maps files in the same way, but refuses some that have all their tensors: those with bytes
    after the last one, or with metadata that are no texts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._refs = {ref.name: ref for ref in parse_header(path).tensors.values()}  # by their names in the file
        try:
            self._storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)
        except (OSError, RuntimeError) as error:
            raise SVDError(f"{path.name} cannot be opened ({error}): check the file and its permissions.") from None

    def __getitem__(self, name: str) -> Tensor:
        ref = self._refs[name]
        if not ref.nbytes:
            return torch.empty(ref.shape, dtype=ref.dtype)
        storage = cast(torch.UntypedStorage, self._storage[ref.offset : ref.offset + ref.nbytes])
        own = torch.empty(0, dtype=torch.uint8).set_(storage)
        if ref.offset % ref.dtype.itemsize:
            own = own.clone()  # numbers are read at multiples of their width
        return own.view(ref.dtype).view(ref.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)


def stream(
    entries: Mapping[str, Entry],
    open_file: OpenFile,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    transient: bool = False,
    matrix_dtype: torch.dtype | None = None,
    window: int | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter in file order, as stored or at the given dtype and device.

    matrix_dtype: for matrices and convolutions, if they differ from vectors.
    transient: promises that each tensor is copied and dropped before the next is asked for.
    window: bytes of touched pages before the mapping is dropped, by default a fiftieth of all.

    A tensor that needs no conversion is a view of the mapped file and costs no memory until it is used. Converting
    one touches the pages it is read from, and they count as ours while the mapping lives. So the mapping is dropped
    every `window` bytes and made again.
    """
    window = window or max(_WINDOW, _sum_bytes(entries) // 50)
    files: dict[Path, Mapping[str, Tensor]] = {}
    touched = 0
    for name, entry in sorted(entries.items(), key=file_order):
        for ref in entry.sources:
            if ref.file not in files:
                files[ref.file] = open_file(ref.file)
        sources = [files[ref.file][ref.name] for ref in entry.sources]
        wanted = (matrix_dtype if len(entry.shape) > 1 else None) or dtype or entry.dtype
        tensor = entry.make(sources).to(device=device, dtype=wanted)
        if transient or not _share_memory(tensor, sources[0]):
            touched += sum(ref.nbytes for ref in entry.sources)
        yield name, tensor
        del tensor, sources  # the last views, which would keep the mapping alive
        if touched > window:
            files.clear()
            touched = 0


def file_order(item: tuple[str, Entry]) -> tuple[str, int]:
    """Sort key: the place where an entry is stored."""
    ref = item[1].sources[0]
    return str(ref.file), ref.offset


def _sum_bytes(entries: Mapping[str, Entry]) -> int:
    return sum(ref.nbytes for entry in entries.values() for ref in entry.sources)


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
