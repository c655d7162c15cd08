"""The faults. Each round works in a folder of its own and raises AssertionError for what a person would call damage."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from svd_core import save_video
from svd_core.errors import SVDError
from tests.support.sentences import find_fault

from .disks import Disk
from .writers import CommandError, Writer, list_leftovers, read_entries

DONE, REFUSED = "done", "refused: "
EARLIER = {"earlier.mp4": b"an older video", "notes.txt": b"not ours"}
NOBODY = 65534
STOPS = (signal.SIGTERM, signal.SIGINT)
_BLACK = np.zeros((1, 8, 8, 3), np.uint8)
FAILURES = ("cannot be written", "cannot be made", "are free there", "holds something else", "was not made")


class Child:
    """A writer in a process of its own."""

    def __init__(self, writer: Writer, folder: Path, name: str, prepare: Callable[[], object] = bool) -> None:
        self.pipe, other = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until the child has handlers of its own
        self.pid = os.fork()
        if not self.pid:
            try:
                os.write(other, _try(writer, folder, name, prepare).encode("utf-8", "backslashreplace")[:60_000])
            finally:  # also after Ctrl-C: a child must not go on as its parent
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        os.close(other)

    def wait(self) -> str:
        """The outcome; empty for a child that was killed before it could say."""
        with os.fdopen(self.pipe, "rb") as pipe:
            outcome = pipe.read().decode()
        os.waitpid(self.pid, 0)
        return outcome


def _try(writer: Writer, folder: Path, name: str, prepare: Callable[[], object]) -> str:
    tqdm.set_lock(threading.RLock())  # processes share the usual one, and a killed child would never let go of it
    try:
        prepare()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        writer.write(folder, name)
    except (SVDError, CommandError) as error:
        return f"{REFUSED}{error}"
    except BaseException as error:  # noqa: BLE001 - it is judged by the parent
        return f"{type(error).__name__}: {error}"
    return DONE


def prepare_folder(folder: Path) -> None:
    for name, content in EARLIER.items():
        (folder / name).write_bytes(content)


def check_whole(writer: Writer, folder: Path, older: bytes | None = None) -> int:
    """Count the whole things that are there; earlier files must be as they were, and nothing else there."""
    entries = read_entries(folder)
    for name, content in EARLIER.items():
        assert entries.pop(name, None) == content, f"{name} was harmed"
    made = [content for content in entries.values() if content != older]
    assert all(content in writer.contents for content in made), f"half-written: {sorted(entries)}"
    return len(made)


def check_outcome(outcome: str, allowed: tuple[str, ...] = ()) -> None:
    assert outcome == DONE or outcome.startswith(REFUSED), outcome
    for line in outcome.splitlines():
        assert find_fault(line) is None, (find_fault(line), line)
    assert outcome == DONE or any(words in outcome for words in allowed), outcome


def check_next_write(folder: Path) -> None:
    """The next writer clears away what is left."""
    save_video(_BLACK, folder / "next.gif")
    assert not list_leftovers(folder), list_leftovers(folder)
    (folder / "next.gif").unlink()


def place_older(writer: Writer, folder: Path, chance: random.Random) -> bytes | None:
    """Sometimes the new file replaces one."""
    if writer.is_batch or writer.makes_folders or chance.random() < 0.5:
        return None
    suffix = ".safetensors" if writer.name.startswith("convert") else writer.name.removeprefix("save ")
    (folder / f"clip{suffix}").write_bytes(b"older")
    return b"older"


# --- the faults --------------------------------------------------------------------------------------------------


def kill(writer: Writer, folder: Path, chance: random.Random, disk: Disk) -> str:
    prepare_folder(folder)
    older = place_older(writer, folder, chance)
    child = Child(writer, folder, "clip", restore_signals)
    time.sleep(chance.uniform(0, 1.2 * writer.seconds[0]))
    sent = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    os.kill(child.pid, sent)
    outcome = child.wait()
    if not outcome.startswith("KeyboardInterrupt") and "interrupted" not in outcome and outcome:
        check_outcome(outcome)
    made = check_whole(writer, folder, older)
    assert outcome != DONE or made == len(writer.contents), "something is missing"
    left = list_leftovers(folder)
    if writer.is_batch:  # goes on where it was stopped
        check_outcome(Child(writer, folder, "clip").wait())
        assert check_whole(writer, folder) == len(writer.contents)
    check_next_write(folder)
    return f"{sent.name} {'with' if left else 'without'} leftovers"


def fill_disk(writer: Writer, folder: Path, chance: random.Random, disk: Disk) -> str:
    limit = chance.randrange(writer.largest + 1)
    room = disk.small(chance.randrange(writer.total + 1)) if disk.can_mount and chance.random() < 0.5 else None
    place = folder if room is None else room
    prepare_folder(place)
    older = place_older(writer, place, chance)
    outcome = Child(writer, place, "clip", bool if room else lambda: limit_files(limit)).wait()
    check_outcome(outcome, FAILURES)
    made = check_whole(writer, place, older)
    assert outcome != DONE or made == len(writer.contents), "something is missing"
    assert not list_leftovers(place), list_leftovers(place)
    disk.drop()
    return f"{'a small disk' if room else 'a limit on files'}: {'done' if outcome == DONE else 'refused'}"


def make_read_only(writer: Writer, folder: Path, chance: random.Random, disk: Disk) -> str:
    mounted = disk.can_mount and chance.random() < 0.5
    place = disk.small(10**7) if mounted else folder
    prepare_folder(place)
    older = place_older(writer, place, chance)
    place.chmod(0o777)
    if mounted:
        disk.protect()
        outcome = Child(writer, place, "clip").wait()
    else:
        child = Child(writer, place, "clip", become_nobody)
        time.sleep(chance.choice((0, chance.uniform(0, writer.seconds[0]))))
        place.chmod(0o555)  # the owner, and in the middle of the work too
        outcome = child.wait()
        place.chmod(0o777)
    check_outcome(outcome, FAILURES)
    made = check_whole(writer, place, older)
    assert outcome != DONE or made == len(writer.contents), "something is missing"
    if mounted:
        assert not list_leftovers(place)
        disk.drop()
    else:
        check_next_write(place)
    return f"{'a mount' if mounted else 'the mode'}: {'done' if outcome == DONE else 'refused'}"


def write_together(writer: Writer, folder: Path, chance: random.Random, disk: Disk) -> str:
    prepare_folder(folder)
    names = [chance.choice(("shared", f"own{index}")) for index in range(chance.choice((2, 3)))]
    outcomes = [child.wait() for child in [Child(writer, folder, name) for name in names]]
    refused = [outcome for outcome in outcomes if outcome != DONE]
    for outcome in outcomes:
        # A folder is not replaced; of a batch, the clip is there already, which is as good.
        check_outcome(outcome, ("not empty", "already exists") if writer.makes_folders and not writer.is_batch else ())
    assert len(refused) <= names.count("shared"), refused
    made = check_whole(writer, folder)
    assert made == (len(writer.contents) if writer.is_batch else len(set(names))), "something is missing"
    assert not list_leftovers(folder), list_leftovers(folder)
    return f"{len(names)} writers, {len(refused)} refused"


def restore_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def limit_files(size: int) -> None:
    """No file may grow beyond `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def become_nobody() -> None:
    """Root may write everywhere."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


FAULTS = {
    "killed": kill,
    "a full disk": fill_disk,
    "a read-only folder": make_read_only,
    "several writers": write_together,
}
