"""Files and folders that are written whole or not at all.

A writer works under a temporary name and holds a lock file beside it for as long as it lives. The system lets go of a
dead writer's lock, so the next writer can tell what a killed run left, and removes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import SVDError

if sys.platform == "win32":
    import msvcrt

    _HELD = PermissionError  # by another writer

    def _lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    _HELD = BlockingIOError

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_LOCK_NAME = re.compile(r"\.svd-[0-9a-f]{12}-[0-9a-f]{12}\.lock")
_ABANDONED = 24 * 3600  # seconds without a change, after which the run of another machine must be dead
_TRIES = 20  # of a name; the second is needed hardly ever
_CURES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "choose another name",
    errno.EEXIST: "remove it or choose another name",
    errno.ENOTEMPTY: "remove it or choose another name",
}


def _name_machine() -> str:
    """How the names of this machine's writers begin. Machines may share their name, so that alone is not enough."""
    name = platform.node()
    with suppress(OSError):
        name += Path("/proc/sys/kernel/random/boot_id").read_text("ascii")  # Linux; all its containers have the same
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return f".svd-{digest[:12]}-"


_MACHINE = _name_machine()


@contextmanager
def write_whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, renamed to `path` at the end and removed on an error.

    Replaces an older file. Raises SVDError if the place cannot be written to.
    """
    with _naming_the_place(path), _claim_name(path) as name:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with _rename_at_end(path.with_name(name + path.suffix), path) as beside:  # writers look at the suffix
            yield beside


@contextmanager
def write_whole_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path`, renamed to `path` at the end and removed on an error.

    Replaces an empty folder only. Raises SVDError if the place cannot be written to.
    """
    with _naming_the_place(path), _claim_name(path) as name, _rename_at_end(path.with_name(name), path) as beside:
        beside.mkdir()
        yield beside


def is_free(path: Path) -> bool:
    """True where nothing is, or an empty folder. Raises SVDError where the system does not tell."""
    with _naming_the_place(path):
        return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def check_writable(path: Path) -> None:
    """Find out before long work whether a file or folder can be made; raises SVDError if not."""
    with _naming_the_place(path), _claim_name(path):
        pass


@contextmanager
def _naming_the_place(path: Path) -> Iterator[None]:
    """Turn an error of the system into the sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error  # without the temporary name, which tells nobody anything
        cure = _CURES.get(error.errno or 0, "choose another place")
        raise SVDError(f"{path} cannot be written ({reason}); {cure}.") from error


@contextmanager
def _rename_at_end(beside: Path, path: Path) -> Iterator[Path]:
    try:
        yield beside
        _flush(beside)
        os.replace(beside, path)
    finally:
        _remove(beside)


def _flush(path: Path) -> None:
    """Bring a file, or all files of a folder, onto the disk: some disks say only then that they are full."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("r+b") as opened:
                os.fsync(opened.fileno())


# --- whose a temporary file is -----------------------------------------------------------------------------------


@contextmanager
def _claim_name(path: Path) -> Iterator[str]:
    """Give a name beside `path` that is this writer's until the end; first remove what dead writers left there."""
    _check_place(path)
    _remove_abandoned(path.parent)
    lock, file = _make_lock(path.parent)
    try:
        yield f"{lock.stem}.new"
    finally:
        file.close()
        _remove(lock)


def _check_place(path: Path) -> None:
    """Find out before the work whether a name can be used at all."""
    if not path.name:
        raise SVDError(f"{path} is a folder that is there already; choose a new one, such as {path / 'frames'}.")
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            raise SVDError(f"The folder {path.parent} of {path.name} does not exist; make it first.") from None
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise SVDError(f"{str(path)!r} is no name for a file ({error}); choose another name.") from error


def _make_lock(folder: Path) -> tuple[Path, BinaryIO]:
    for _ in range(_TRIES):
        lock = folder / f"{_MACHINE}{uuid.uuid4().hex[:12]}.lock"
        file = lock.open("xb")
        try:
            _lock(file)
        except _HELD:  # another writer found it before it was locked
            file.close()
            continue
        except OSError:  # a file system without locks: only age will tell
            pass
        if lock.exists():
            return lock, file
        file.close()
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _remove_abandoned(folder: Path) -> None:
    for lock in folder.glob(".svd-*.lock"):
        with suppress(OSError):  # a name that has gone is no reason to fail: its writer has finished
            if _LOCK_NAME.fullmatch(lock.name) and stat.S_ISREG(lock.lstat().st_mode):
                _remove_if_abandoned(lock)


def _remove_if_abandoned(lock: Path) -> None:
    written = list(lock.parent.glob(f"{lock.stem}.new*"))
    with lock.open("r+b") as file:
        try:
            _lock(file)
            known = lock.name.startswith(_MACHINE)  # many shared folders keep locks to the machine that made them
        except _HELD:
            return
        except OSError:
            known = False
        if not known and time.time() - max(path.lstat().st_mtime for path in (lock, *written)) < _ABANDONED:
            return
        for path in written:
            _remove(path)
        _remove(lock)  # before it is unlocked, so that it cannot become anybody's
    _remove(lock)  # Windows removes no open file


def _remove(path: Path) -> None:
    """Remove a file or folder if that is possible; never raises, so that an error on its way is not replaced."""
    with suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
