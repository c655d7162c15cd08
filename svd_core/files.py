"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SVDError

_PREFIX = ".svd-"
_FORGOTTEN = 24 * 3600  # seconds


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file or a folder under; it becomes `path` at the end, or goes away on an error.

    A file replaces an older one, a folder only an empty one. Raises SVDError where the place cannot be written.
    """
    if not path.parent.is_dir():
        raise SVDError(f"The folder {path.parent} of {path.name} does not exist; make it first.")
    beside = path.with_name(f"{_PREFIX}{uuid.uuid4().hex[:12]}{path.suffix}")  # writers look at the suffix
    try:
        _sweep(path.parent)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise SVDError(f"{path} cannot be written ({error}); free some space or choose another place.") from error
    finally:
        _remove(beside)


def _sweep(folder: Path) -> None:
    """Take away what runs left that were killed; none that lives leaves its file alone for so long."""
    for path in folder.glob(f"{_PREFIX}*"):
        if time.time() - path.lstat().st_mtime > _FORGOTTEN:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
