"""What may happen to a case: it works, or one sentence says why not; soon, in little memory, and with nothing left."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from svd_core.cli import main
from svd_core.errors import SVDError
from tests.support.sentences import find_fault

PREFIX = re.compile(r"(svd-nodes[a-z ]*: )(error: |\S+ was not made: )?")
T = TypeVar("T")

CPU_SECONDS, WAITED_SECONDS, LOST_SECONDS = 5, 60, 300
MEMORY = 3 * 2**30  # bytes of addresses beyond those that are in use


class Hang(BaseException):
    """A case takes too long. No Exception, so that nothing that is tried takes it for its own."""


def attempt(work: Callable[[], T]) -> T | None:
    """The result; None where the case was refused, in a sentence that is good."""
    with watched():
        try:
            return work()
        except SVDError as error:
            check_sentence(str(error))
            return None


def run_command(words: Sequence[str]) -> tuple[int, str]:
    """The exit code and what was printed, all of it good lines."""
    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output), watched():
        try:
            code = main(words)
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
    assert code in (0, 1, 2), code
    said = [line for line in errors.getvalue().splitlines() if not line.startswith((" ", "usage:", "clips:"))]
    for line in said:
        check_sentence(PREFIX.sub("", line))
    assert (code == 0) or said, "a failure without a word"
    return code, output.getvalue()


def check_sentence(message: str) -> None:
    fault = find_fault(message)
    assert fault is None, f"{fault}: {message[:700]!r}"


@contextmanager
def watched() -> Iterator[None]:
    """Raise Hang for what takes long, MemoryError for what takes much; end the process where neither helps."""

    def stop(number: int, _frame: object) -> None:
        raise Hang(signal.Signals(number).name)

    before = resource.getrlimit(resource.RLIMIT_AS)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, stop)
    faulthandler.dump_traceback_later(LOST_SECONDS, exit=True, file=sys.__stderr__)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # of work: a busy machine makes nothing hang
    signal.setitimer(signal.ITIMER_REAL, WAITED_SECONDS)  # for what only waits
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def clean_folder(**files: bytes) -> Iterator[Path]:
    """A folder with these files, which must hold the same ones at the end. Underscores stand for dots."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_bytes(content)
        yield folder
        left = {path.name for path in folder.iterdir()} - {file.replace("_", ".") for file in files}
        assert not left, f"left behind: {left}"
