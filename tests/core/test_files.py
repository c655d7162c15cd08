"""Files and folders appear whole or not at all, and nobody else's are touched."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from svd_core import files
from svd_core.errors import SVDError
from svd_core.files import check_writable, write_whole_file, write_whole_folder

DAY = 24 * 3600
OURS = f"{files._MACHINE}0123456789ab"
OTHERS = ".svd-aaaaaaaaaaaa-0123456789ab"


def make_old(path: Path, age: float = 2 * DAY) -> None:
    os.utime(path, times=(time.time() - age,) * 2, follow_symlinks=False)


def write(path: Path, text: str = "clip") -> None:
    with write_whole_file(path) as beside:
        beside.write_text(text)


def leave(folder: Path, name: str = OURS, age: float = 0) -> list[Path]:
    """Leave what killed runs leave: a file, a folder, and lock files that nobody holds."""
    lock, file, frames = (folder / f"{name}{end}" for end in (".lock", ".new.mp4", ".new"))
    frames.mkdir()
    (frames / "0.png").touch()
    for path in (lock, file):
        path.touch()
    for path in (lock, file, frames):
        make_old(path, age)
    return [lock, file, frames]


def test_a_file_replaces_an_older_one_and_an_error_leaves_it(tmp_path: Path):
    write(tmp_path / "clip.mp4", "old")
    write(tmp_path / "clip.mp4", "new")
    with pytest.raises(KeyboardInterrupt), write_whole_file(tmp_path / "clip.mp4") as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "clip.mp4").read_text() == "new" and os.listdir(tmp_path) == ["clip.mp4"]


def test_a_finished_folder_holds_what_was_written(tmp_path: Path):
    with write_whole_folder(tmp_path / "frames") as folder:
        (folder / "0.png").touch()
    assert os.listdir(tmp_path) == ["frames"] and os.listdir(tmp_path / "frames") == ["0.png"]


def test_what_a_dead_run_left_goes_with_the_next_write(tmp_path: Path):
    leave(tmp_path)
    write(tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_live_run_keeps_its_files_however_old_they_are(tmp_path: Path):
    with write_whole_file(tmp_path / "slow.mp4") as file, write_whole_folder(tmp_path / "slow") as folder:
        file.touch()
        for path in tmp_path.iterdir():
            make_old(path)
        write(tmp_path / "clip.mp4")
        assert file.is_file() and folder.is_dir()
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "slow", "slow.mp4"]


def test_another_machine_may_hold_locks_that_cannot_be_seen(tmp_path: Path):
    """What it left goes after a day without a change."""
    young = leave(tmp_path, OTHERS, DAY / 2)
    write(tmp_path / "clip.mp4")
    assert all(path.exists() for path in young)
    for path in young[:2]:
        make_old(path)
    write(tmp_path / "clip.mp4")
    assert young[2].is_dir()  # the last to change counts
    make_old(young[2])
    write(tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_without_locks_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(file: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("svd_core.files._lock", refuse)
    left = leave(tmp_path)
    write(tmp_path / "clip.mp4")
    assert all(path.exists() for path in left)
    for path in left:
        make_old(path)
    write(tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_locks_that_others_always_hold_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(file: object) -> None:
        raise files._HELD(errno.EWOULDBLOCK, "Resource temporarily unavailable")

    monkeypatch.setattr("svd_core.files._lock", refuse)
    with pytest.raises(SVDError, match=r"cannot be written .*choose another place"):
        write(tmp_path / "clip.mp4")


@pytest.mark.parametrize("name", [".svd-config", ".svd-old.lock", f"{OURS}0.lock", f"{OURS.upper()}.lock", OURS])
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_names_that_are_not_exactly_ours_stay(tmp_path: Path, name: str, make: Callable[[Path], None]):
    make(tmp_path / name)
    make_old(tmp_path / name)
    write(tmp_path / "clip.mp4")
    assert (tmp_path / name).exists()


def test_a_folder_under_the_name_of_a_lock_stays(tmp_path: Path):
    (tmp_path / f"{OURS}.lock").mkdir()
    write(tmp_path / "clip.mp4")
    assert (tmp_path / f"{OURS}.lock").is_dir()


def test_links_are_not_followed(tmp_path: Path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "0.png").touch()
    (tmp_path / f"{OURS}.lock").touch()
    (tmp_path / f"{OURS}.new").symlink_to(tmp_path / "target")
    write(tmp_path / "clip.mp4")
    assert (tmp_path / "target" / "0.png").is_file() and not (tmp_path / f"{OURS}.new").is_symlink()


def test_runs_that_clean_up_the_same_leftovers_do_not_stop_each_other(tmp_path: Path):
    for index in range(100):
        leave(tmp_path, f"{OURS[:-3]}{index:03}")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, [tmp_path / f"{index}.mp4" for index in range(8)]))
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".mp4") and name.startswith(".")]
    write(tmp_path / "0.mp4")
    assert sorted(os.listdir(tmp_path)) == [f"{index}.mp4" for index in range(8)]


def test_a_name_that_goes_while_it_is_looked_at_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its writer has finished, or another run removed it first."""
    leave(tmp_path)
    found = Path.glob

    def find_and_lose(folder: Path, pattern: str) -> list[Path]:
        paths = list(found(folder, pattern))
        for path in paths:
            path.rename(folder / "gone") if path.name.endswith(".lock") else None
        return paths

    monkeypatch.setattr(Path, "glob", find_and_lose)
    write(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").is_file()


def test_a_lock_that_a_sweep_took_before_it_was_held_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a run could be killed whose leftovers no lock file shows."""
    taken: list[Path] = []
    lock = files._lock

    def lose_the_first(file: BinaryIO) -> None:
        if not taken:
            taken.append(Path(file.name))
            taken[0].unlink()
        lock(file)

    monkeypatch.setattr(files, "_lock", lose_the_first)
    with write_whole_file(tmp_path / "clip.mp4") as beside:
        beside.touch()
        assert len(list(tmp_path.glob("*.lock"))) == 1 and taken[0].stem not in beside.name


@pytest.mark.parametrize("write_whole", [write_whole_file, write_whole_folder])
def test_a_read_only_disk_is_named_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_whole):
    """Removing fails there too, and must not hide why writing failed."""

    def refuse(path: Path, *_args: object, **_options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    leave(tmp_path)
    for call in ("mkdir", "touch", "unlink", "rmdir", "write_text"):
        monkeypatch.setattr(Path, call, refuse)
    with (
        pytest.raises(SVDError, match=r"clip cannot be written \(.*Read-only file system.*choose another place"),
        write_whole(tmp_path / "clip") as beside,
    ):
        (beside / "0" if beside.is_dir() else beside).write_text("clip")


@pytest.mark.parametrize("write_whole", [write_whole_file, write_whole_folder])
def test_a_missing_folder_is_named(tmp_path: Path, write_whole):
    with pytest.raises(SVDError, match="make it first"), write_whole(tmp_path / "missing" / "clip"):
        pass


@pytest.mark.parametrize("write_whole", [write_whole_file, write_whole_folder])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n" * 300, "File name too long.*choose a shorter name"),
        ("a\0b", "no name for a file.*choose another name"),
        ("\ud800", "no name for a file.*choose another name"),
        ("", "choose a new one"),
        ("file/clip", "does not exist; make it first"),
        ("full", "remove it or choose another name|it is a folder.*choose another name"),
    ],
)
def test_names_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_whole, name: str, message: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "theirs").touch()
    with pytest.raises(SVDError, match=message), write_whole(Path(name)) as beside:
        (beside / "0" if beside.is_dir() else beside).touch()
    assert sorted(os.listdir(tmp_path)) == ["file", "full"] and os.listdir(tmp_path / "full") == ["theirs"]


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path):
    with pytest.raises(SVDError, match="choose a shorter name"), write_whole_file(tmp_path / ("n" * 300)):
        pytest.fail("began to work")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.ENOSPC, "free some space or choose another place"),
        (errno.EDQUOT, "free some space or choose another place"),
        (errno.EXDEV, "choose another place"),
        (errno.EACCES, "choose another place"),
        (errno.EIO, "choose another place"),
    ],
)
def test_a_failure_at_the_end_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, cure: str
):
    def refuse(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    write(tmp_path / "clip.mp4", "old")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(SVDError, match=rf"clip.mp4 cannot be written \({os.strerror(code)}\); {cure}\."):
        write(tmp_path / "clip.mp4", "new")
    assert (tmp_path / "clip.mp4").read_text() == "old" and os.listdir(tmp_path) == ["clip.mp4"]


def test_a_place_can_be_tried_without_a_trace(tmp_path: Path):
    check_writable(tmp_path / "clip.mp4")
    assert not os.listdir(tmp_path)
    with pytest.raises(SVDError, match="make it first"):
        check_writable(tmp_path / "missing" / "clip.mp4")
