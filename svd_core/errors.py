"""The one exception that the core raises for problems a user can solve."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

Option = TypeVar("Option", bound=str)

MAX_WORD, MAX_LINE = 300, 600  # characters of a message; a path on Windows has 260 at most
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD + 1},}}")


class SVDError(ValueError):
    """A problem the user can solve: one sentence with the thing, what is wrong and what to do.

    Names of files and tensors in it may hold anything; the sentence is one printable line all the same.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


def printable(text: str) -> str:
    """The text as one line of bounded length, with control characters and the like written as escapes."""
    return _cut(_LONG_WORD.sub(lambda word: _cut(word[0], MAX_WORD), one_line(text)), MAX_LINE)


def one_line(text: object) -> str:
    """The text as one line of any length, for names that another program may read."""
    line = str(text)
    return line if line.isprintable() else "".join(each if each.isprintable() else _escape(each) for each in line)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _cut(text: str, length: int) -> str:
    """Leave out the middle of a text that is too long: what to do stands at the end."""
    return text if len(text) <= length else f"{text[: length * 2 // 3 - 5]} ... {text[-length // 3 :]}"


def show_number(value: float) -> str:
    """A number for a message, of any size."""
    try:
        return f"{value:g}" if isinstance(value, float) or abs(value) >= 1e20 else str(value)
    except OverflowError:  # a whole number of hundreds of digits
        return "a number too large"


def is_finite(value: float) -> bool:
    """False for NaN, infinity, and whole numbers that are no float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def choose(kind: str, name: str, options: Collection[Option]) -> Option:
    """Return the option called `name`; a dictionary of options serves as well.

    kind: what the options are, for the message ("sampler"). Raises SVDError for any other name.
    """
    for option in options:
        if option == name:
            return option
    raise SVDError(f"There is no {kind} named {name!r}; choose one of {', '.join(options)}.")


@contextmanager
def needing(library: str, task: str) -> Iterator[None]:
    """Turn a failing import into an SVDError that names the library and how to mend it.

    For libraries that only a few tasks use. Importing them where they are used keeps a broken one from stopping
    anything else. Broken libraries raise more than ImportError: a missing system library is an OSError, a clash with
    the installed numpy an AttributeError or RuntimeError.
    """
    try:
        yield
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise SVDError(
            f"{task} needs the Python library {library}, which does not load here ({error}); "
            f"install it again with: pip install --force-reinstall {library}"
        ) from error
