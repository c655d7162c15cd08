"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import SVDError

_OURS = re.compile(r"\.svd-[0-9a-f]{12}(\.[^.]+)?")
_MARK = ".svd-unfinished"  # a file in folders that are being written
_ABANDONED = 24 * 3600  # seconds without a change, after which the run that wrote it must be dead


@contextmanager
def write_whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, renamed to `path` at the end and removed on an error.

    Replaces an older file. Raises SVDError if the place cannot be written to.
    """
    with _rename_at_end(path) as beside:
        yield beside


@contextmanager
def write_whole_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path`, renamed to `path` at the end and removed on an error.

    Replaces an empty folder only. Raises SVDError if the place cannot be written to.
    """
    with _rename_at_end(path) as beside:
        beside.mkdir()
        (beside / _MARK).touch()
        yield beside
        (beside / _MARK).unlink()


@contextmanager
def _rename_at_end(path: Path) -> Iterator[Path]:
    if not path.parent.is_dir():
        raise SVDError(f"The folder {path.parent} of {path.name} does not exist; make it first.")
    beside = path.with_name(f".svd-{uuid.uuid4().hex[:12]}{path.suffix}")  # writers look at the suffix
    _remove_abandoned(path.parent)
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise SVDError(f"{path} cannot be written ({error}); free some space or choose another place.") from error
    finally:
        _remove(beside)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed runs left: files with exactly our names, and folders that carry our mark or are empty."""
    for path in folder.glob(".svd-*"):
        with suppress(OSError):  # another run may be sweeping too, and a name that has gone is what both want
            info = path.lstat()
            if not _OURS.fullmatch(path.name) or time.time() - info.st_mtime < _ABANDONED:
                continue
            if stat.S_ISDIR(info.st_mode) and not (path / _MARK).is_file():
                path.rmdir()  # fails, and leaves the folder alone, unless it is empty
            elif stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or folder if that is possible; never raises, so that an error on its way is not replaced."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
