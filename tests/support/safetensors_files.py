"""Writes safetensors files tensor by tensor, or only their headers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from svd_core.checkpoints.write import make_header

Shape = tuple[int, ...]
Recipe = tuple[Shape, Callable[[], Tensor]]
"""A tensor to be: its shape now, its values when they are written."""


def write_safetensors(
    path: str | Path, recipes: Mapping[str, Recipe], dtype: torch.dtype, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes tensors one by one, so that a file larger than memory can be made."""
    shapes = {name: shape for name, (shape, _) in recipes.items()}
    with _renamed_when_done(Path(path)) as file:
        file.write(_header(shapes, dtype, metadata))
        file.writelines(_bytes(recipes.values(), dtype))


def write_hollow(
    path: str | Path, shapes: Mapping[str, Shape], dtype: torch.dtype, metadata: Mapping[str, str] | None = None
) -> None:
    """A file of the right size whose tensors are all zero; where the file system can, it takes no space."""
    size = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
    with _renamed_when_done(Path(path)) as file:
        header = _header(shapes, dtype, metadata)
        file.write(header)
        file.truncate(len(header) + size)


@contextmanager
def _renamed_when_done(path: Path) -> Iterator[BinaryIO]:
    """A file beside the target that takes its name once complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _header(shapes: Mapping[str, Shape], dtype: torch.dtype, metadata: Mapping[str, str] | None) -> bytes:
    return make_header({name: (dtype, shape) for name, shape in shapes.items()}, metadata)


def _bytes(recipes: Iterable[Recipe], dtype: torch.dtype) -> Iterable[bytes]:
    for shape, make in recipes:
        tensor = make().to(dtype).contiguous()
        assert tuple(tensor.shape) == tuple(shape)
        yield tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
