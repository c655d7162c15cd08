"""Entry point: parses the command, runs it and reports its failures."""

from __future__ import annotations

import argparse
import io
import logging
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..errors import SVDError, printable
from . import animate, convert, demo, inspect, show
from .options import OUT_OF_MEMORY

FAILED, INTERRUPTED = 2, 130  # 1 is for a run that made some of its clips; argparse ends with 2, too

_COMMANDS = (animate, demo, inspect, convert, show)
_WITH_FRAME_IDS = ("--hold", "--hold-mask")
_FROM_THE_END = re.compile(r"-\d+=")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Problems the user can solve are one line on stderr."""
    _show_any_name()
    options = make_parser().parse_args(_join_frame_ids(sys.argv[1:] if arguments is None else arguments))
    _log_to_stderr(logging.INFO if options.verbose else logging.WARNING)
    try:
        return options.run(options)
    except SVDError as error:
        print(f"svd-nodes: {error}", file=sys.stderr)
        return FAILED
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(f"svd-nodes: {OUT_OF_MEMORY}", file=sys.stderr)
        return FAILED
    except OSError as error:  # of a path that the system does not take, such as one of 5000 characters
        named = f"{error.filename}: " if error.filename else ""
        print(printable(f"svd-nodes: {named}{error.strerror or error}; check the path"), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("svd-nodes: interrupted", file=sys.stderr)
        return INTERRUPTED


def _show_any_name() -> None:
    """Write characters that the terminal does not have as escapes; file names may hold any."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _join_frame_ids(words: Sequence[str]) -> list[str]:
    """Join `--hold -1=FILE` to `--hold=-1=FILE`: argparse takes a word with a leading dash for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in _WITH_FRAME_IDS and _FROM_THE_END.match(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _is_out_of_memory(error: Exception) -> bool:
    from ..memory.device import is_out_of_memory

    return isinstance(error, MemoryError) or is_out_of_memory(error)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # the words of a command may hold anything, at any length


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="svd-nodes", description="Stable Video Diffusion: a picture in, a clip out.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        name = command.__name__.rpartition(".")[2]
        description = (command.__doc__ or "").strip()
        summary = description.partition("\n")[0]
        sub = commands.add_parser(
            name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.add_argument(
            "--verbose", action="store_true", help="print more, such as how the work is split to fit the memory"
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(message)s"))
    handler.addFilter(_Once())
    package = logging.getLogger(__name__.partition(".")[0])
    package.handlers, package.propagate = [handler], False
    package.setLevel(level)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _Once(logging.Filter):
    """Passes each line once: a batch gives the same advice for every clip."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        return line not in self.said and not self.said.add(line)
