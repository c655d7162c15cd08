"""What a message to a person must be: one sentence on one line that a terminal can show."""

from __future__ import annotations

from svd_core.errors import MAX_LINE


def find_fault(message: str) -> str | None:
    """The fault of a message; None for a good one."""
    if not message.strip():
        return "it is empty"
    if len(message) > MAX_LINE:
        return f"it has {len(message)} characters"
    if not message.isprintable():  # control characters, line ends, lone surrogates
        return f"it holds {next(each for each in message if not each.isprintable())!r}"
    return None
