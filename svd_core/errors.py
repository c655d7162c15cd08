"""The one exception that the core raises for problems a user can solve."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

Option = TypeVar("Option", bound=str)


class SVDError(ValueError):
    """A problem the user can solve: one sentence with the thing, what is wrong and what to do."""


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
