"""One checkpoint into another file or folder. Weights pass through one by one, so memory stays small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ...errors import SVDError, needing
from ...files import write_whole_file, write_whole_folder
from .. import Checkpoint, open_checkpoint
from ..entries import Entries, stored
from ..header import PICKLE_SUFFIXES, read_header
from ..layouts import FOLDERS, STEMS, open_source
from ..write import entries_bytes, write_entries
from .folder import folder_entries, folder_json
from .single import single_entries, single_metadata

SINGLE = ".safetensors"
_HEADERS = 2**20  # bytes of names and settings beside the weights, at most


@dataclass(frozen=True)
class _Plan:
    """Files to write, by path below the target; "." is the target itself."""

    weights: dict[PurePosixPath, Entries]
    metadata: Mapping[str, str] = field(default_factory=dict)
    settings: dict[PurePosixPath, Any] = field(default_factory=dict)  # JSON

    def size(self, dtype: torch.dtype | None) -> int:
        return sum(entries_bytes(entries, dtype) for entries in self.weights.values())


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    dtype: torch.dtype | None = None,
    companion: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write a checkpoint again, and return the path of the new one.

    target: a name that ends in .safetensors for a single file with the official names; any other name is that of a
    folder in the diffusers layout. dtype: of the weights, by default as they are stored, which loses no bit. companion:
    a second checkpoint, for the parts that the first lacks. A change of dtype alone keeps all tensors and settings; a
    change of layout keeps those that something reads. The target appears whole or not at all.
    Raises SVDError for what cannot be read or written, an existing target, and values that dtype cannot hold.
    """
    source, target = Path(source), Path(target)
    _check_target(target, overwrite)
    checkpoint = open_checkpoint(source, companion)
    plan = _plan(checkpoint, source, to_single=target.suffix.lower() == SINGLE, alone=companion is None)
    _check_space(target, plan.size(dtype))
    write_whole = write_whole_file if target.suffix.lower() == SINGLE else write_whole_folder
    with write_whole(target) as beside, _bar(plan.size(dtype), progress) as report:
        for name, value in plan.settings.items():
            _write_json(beside / name, value)
        for name, entries in plan.weights.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_entries(path, entries, dtype, plan.metadata, checkpoint.open_file, report)
    return target


def _plan(checkpoint: Checkpoint, source: Path, to_single: bool, alone: bool) -> _Plan:
    if alone and to_single and checkpoint.layout in ("single file", "comfyui"):
        header = read_header(source)
        return _Plan({PurePosixPath(): {name: stored(ref) for name, ref in header.tensors.items()}}, header.metadata)
    if alone and not to_single and checkpoint.layout == "diffusers folder":
        return _same_folder(source)
    if to_single:
        return _Plan({PurePosixPath(): single_entries(checkpoint)}, single_metadata(checkpoint))
    return _Plan(folder_entries(checkpoint), {"format": "pt"}, folder_json(checkpoint))


def _same_folder(source: Path) -> _Plan:
    """Each part in one file under its plain name, and all settings as they are."""
    weights = {
        PurePosixPath(FOLDERS[part], f"{STEMS[part]}{SINGLE}"): {name: stored(ref) for name, ref in refs.items()}
        for part, refs in open_source(source).refs.items()
        if refs
    }
    files = [file for pattern in ("*.json", "*/*.json") for file in source.glob(pattern) if ".index." not in file.name]
    settings = {PurePosixPath(file.relative_to(source).as_posix()): _read_json(file) for file in files}
    return _Plan(weights, {"format": "pt"}, settings)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() in PICKLE_SUFFIXES:
        raise SVDError(f"{target.name} would be a pickle; end the name in {SINGLE}, or give a folder.")
    if target.is_dir() and (target.suffix.lower() == SINGLE or any(target.iterdir())):
        raise SVDError(f"The folder {target} is there already; choose another name, or take it away.")
    if target.is_file() and not (overwrite and target.suffix.lower() == SINGLE):
        raise SVDError(f"{target} is there already; choose another name, or overwrite it.")


def _check_space(target: Path, size: int) -> None:
    if target.parent.is_dir() and (free := shutil.disk_usage(target.parent).free) < size + _HEADERS:
        raise SVDError(
            f"{target} needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free there; make room or choose another."
        )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SVDError(f"{path.parent.name}/{path.name} is unreadable; download the file again.") from error


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[int], object]]:
    with needing("tqdm", "A progress bar"):
        from tqdm import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, desc="converting", disable=not shown) as bar:
        yield bar.update
