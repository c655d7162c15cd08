"""Write a checkpoint to another file or folder. Weights pass through one by one, so memory use stays small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from tqdm import tqdm

from ...errors import SVDError
from ...files import check_writable, is_free, write_whole_file, write_whole_folder
from ...reading import read_json
from ..entries import Entries, keep
from ..header import PICKLE_SUFFIXES, read_header
from ..layouts import FOLDERS, STEMS, read_files
from ..load import Checkpoint, open_checkpoint
from ..write import count_bytes, write_entries
from .contents import list_file_entries, list_folder_entries, make_file_metadata, make_folder_json

SINGLE = ".safetensors"
_HEADER_BYTES = 2**20  # upper bound for names and settings beside the weights


@dataclass(frozen=True)
class _Contents:
    """Files to write, by path below the target; "." is the target itself."""

    weights: dict[PurePosixPath, Entries]
    metadata: Mapping[str, str] = field(default_factory=dict)
    settings: dict[PurePosixPath, Any] = field(default_factory=dict)  # JSON

    def count_bytes(self, dtype: torch.dtype | None) -> int:
        return sum(count_bytes(entries, dtype) for entries in self.weights.values())


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    dtype: torch.dtype | None = None,
    companion: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write a checkpoint in another layout or dtype, and return the path of the new one.

    target: a name that ends in .safetensors makes a single file with the official names; any other name makes a folder
    in the diffusers layout. dtype: of the weights, by default as stored, which loses no bit. companion: a second
    checkpoint for the parts that the first lacks. A change of dtype alone keeps all tensors and settings; a change of
    layout keeps those that something reads. The target appears whole or not at all.
    Raises SVDError if something cannot be read or written, the target exists, or dtype cannot hold a value.
    """
    source, target = Path(source), Path(target)
    _check_target(target, overwrite)
    check_writable(target)
    checkpoint = open_checkpoint(source, companion)
    to_file = target.suffix.lower() == SINGLE
    contents = _list_contents(checkpoint, source, to_file, alone=companion is None)
    size = contents.count_bytes(dtype)
    _check_space(target, size)
    write_whole = write_whole_file if to_file else write_whole_folder
    bar = tqdm(total=size, unit="B", unit_scale=True, desc="converting", disable=not progress)
    with write_whole(target) as beside, bar:
        for name, value in contents.settings.items():
            _write_json(beside / name, value)
        for name, entries in contents.weights.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_entries(path, entries, dtype, contents.metadata, checkpoint.open_file, bar.update)
        _check_target(target, overwrite)  # again: something may have come there in the meantime
    return target


def _list_contents(checkpoint: Checkpoint, source: Path, to_file: bool, alone: bool) -> _Contents:
    """alone: whether the checkpoint has no companion, so that a file of the same layout can be copied as it is."""
    if alone and to_file and checkpoint.layout in ("single file", "comfyui"):
        header = read_header(source)
        return _Contents({PurePosixPath(): {name: keep(ref) for name, ref in header.tensors.items()}}, header.metadata)
    if alone and not to_file and checkpoint.layout == "diffusers folder":
        return _copy_folder(source)
    if to_file:
        return _Contents({PurePosixPath(): list_file_entries(checkpoint)}, make_file_metadata(checkpoint))
    return _Contents(list_folder_entries(checkpoint), {"format": "pt"}, make_folder_json(checkpoint))


def _copy_folder(source: Path) -> _Contents:
    """Each part in one file under its plain name, and all settings as they are."""
    weights = {
        PurePosixPath(FOLDERS[part], f"{STEMS[part]}{SINGLE}"): {name: keep(ref) for name, ref in refs.items()}
        for part, refs in read_files(source).refs.items()
        if refs
    }
    files = [file for pattern in ("*.json", "*/*.json") for file in source.glob(pattern) if ".index." not in file.name]
    settings = {PurePosixPath(file.relative_to(source).as_posix()): read_json(file) for file in files}
    return _Contents(weights, {"format": "pt"}, settings)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() in PICKLE_SUFFIXES:
        raise SVDError(f"{target.name} would be a pickle; end the name in {SINGLE}, or give a folder.")
    to_file = target.suffix.lower() == SINGLE
    free = is_free(target)
    if target.is_dir() and (to_file or not free):
        raise SVDError(f"The folder {target} already exists; choose another name, or remove it.")
    if not free and not (overwrite and to_file):
        raise SVDError(f"{target} already exists; choose another name, or overwrite it.")


def _check_space(target: Path, size: int) -> None:
    if target.parent.is_dir() and (free := shutil.disk_usage(target.parent).free) < size + _HEADER_BYTES:
        raise SVDError(
            f"{target} needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free there; make room or choose another."
        )


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
