"""The one exception the core raises for things a user can mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SVDError(ValueError):
    """A user-facing problem: one sentence naming the thing, what is wrong with it and what to do."""


@contextmanager
def needing(library: str, task: str) -> Iterator[None]:
    """Imports made under this raise SVDError when the library is missing, or broken in a way of its own.

    Libraries that few tasks use are imported under it, at the place of use: so a broken one stops that task alone.
    """
    try:
        yield
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise SVDError(
            f"{task} needs the Python library {library}, which does not load here ({error}); "
            f"install it again with: pip install --force-reinstall {library}"
        ) from error
