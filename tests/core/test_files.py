"""Files and folders appear whole or not at all, and nobody else's are touched."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from svd_core.errors import SVDError
from svd_core.files import write_whole_file, write_whole_folder

DAY = 24 * 3600
OURS = ".svd-0123456789ab"


def make_old(path: Path, age: float = 2 * DAY) -> None:
    os.utime(path, times=(time.time() - age,) * 2, follow_symlinks=False)


def write(path: Path, text: str = "clip") -> None:
    with write_whole_file(path) as beside:
        beside.write_text(text)


def kill_midway(folder: Path) -> Path:
    """Leave what a run leaves that is killed while it writes a folder."""
    writing = write_whole_folder(folder / "frames")
    beside = writing.__enter__()
    (beside / "0.png").touch()
    beside.rename(folder / OURS)  # out of reach of the clean-up that a killed process does not do
    writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    return folder / OURS


def test_a_file_replaces_an_older_one_and_an_error_leaves_it(tmp_path: Path):
    write(tmp_path / "clip.mp4", "old")
    write(tmp_path / "clip.mp4", "new")
    with pytest.raises(KeyboardInterrupt), write_whole_file(tmp_path / "clip.mp4") as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "clip.mp4").read_text() == "new" and os.listdir(tmp_path) == ["clip.mp4"]


def test_a_finished_folder_holds_what_was_written_and_no_mark(tmp_path: Path):
    with write_whole_folder(tmp_path / "frames") as folder:
        (folder / "0.png").touch()
    assert os.listdir(tmp_path) == ["frames"] and os.listdir(tmp_path / "frames") == ["0.png"]


def test_leftovers_of_killed_runs_go_after_a_day(tmp_path: Path):
    for name, age in ((f"{OURS}.mp4", 2 * DAY), (f"{OURS}.gif", DAY / 2)):
        (tmp_path / name).touch()
        make_old(tmp_path / name, age)
    make_old(kill_midway(tmp_path))
    (tmp_path / ".svd-aaaaaaaaaaaa").mkdir()
    make_old(tmp_path / ".svd-aaaaaaaaaaaa")
    write(tmp_path / "clip.mp4")
    assert sorted(os.listdir(tmp_path)) == [f"{OURS}.gif", "clip.mp4"]


def test_a_young_folder_of_another_run_stays(tmp_path: Path):
    kept = kill_midway(tmp_path)
    write(tmp_path / "clip.mp4")
    assert (kept / "0.png").is_file()


@pytest.mark.parametrize("name", [".svd-config", ".svd-old.mp4", ".svd-0123456789abc", OURS.upper(), f"{OURS}.a.b"])
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_names_that_are_not_exactly_ours_stay_however_old(tmp_path: Path, name: str, make: Callable[[Path], None]):
    make(tmp_path / name)
    make_old(tmp_path / name)
    write(tmp_path / "clip.mp4")
    assert (tmp_path / name).exists()


def test_a_users_folder_stays_even_under_our_name(tmp_path: Path):
    (tmp_path / OURS).mkdir()
    (tmp_path / OURS / "settings.json").touch()
    make_old(tmp_path / OURS)
    write(tmp_path / "clip.mp4")
    assert (tmp_path / OURS / "settings.json").is_file()


def test_links_are_left_alone_and_not_followed(tmp_path: Path):
    target = kill_midway(tmp_path).rename(tmp_path / "target")
    (tmp_path / OURS).symlink_to(target)
    make_old(tmp_path / OURS)
    write(tmp_path / "clip.mp4")
    assert (tmp_path / OURS).is_symlink() and (target / "0.png").is_file()


def test_runs_that_clean_up_the_same_leftovers_do_not_stop_each_other(tmp_path: Path):
    for index in range(300):
        (tmp_path / f".svd-{index:012x}.mp4").touch()
        make_old(tmp_path / f".svd-{index:012x}.mp4")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, [tmp_path / f"{index}.mp4" for index in range(8)]))
    assert sorted(os.listdir(tmp_path)) == [f"{index}.mp4" for index in range(8)]


def test_a_leftover_that_another_run_removes_first_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def gone(path: Path) -> os.stat_result:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    (tmp_path / f"{OURS}.mp4").touch()
    monkeypatch.setattr(Path, "lstat", gone)
    write(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").is_file()


@pytest.mark.parametrize("write_whole", [write_whole_file, write_whole_folder])
def test_a_read_only_disk_is_named_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_whole):
    """Removing fails there too, and must not hide why writing failed."""

    def refuse(path: Path, *_args: object, **_options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    (tmp_path / f"{OURS}.mp4").touch()
    make_old(tmp_path / f"{OURS}.mp4")
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
