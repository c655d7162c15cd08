"""Files that others made: checked before they are opened, and JSON with limits."""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import SVDError

MAX_JSON_BYTES = 2**24  # of a file of settings
MAX_DEPTH = 32
MAX_DIGITS = 300  # larger numbers are no floats


def check_file(path: Path) -> os.stat_result:
    """What the system says of an ordinary file, links followed.

    Raises SVDError for anything else: no such file, a folder, a pipe or device (reading one may never end).
    """
    try:
        info = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise SVDError(f"{path} does not exist: check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: characters that no path has
        reason = getattr(error, "strerror", None) or error
        raise SVDError(f"{path} cannot be read ({reason}): check the file and its permissions.") from None
    if not stat.S_ISREG(info.st_mode):
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe or a device"
        raise SVDError(f"{path} is {kind}, not a file: check the path.")
    return info


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises SVDError for a file that is missing, too large or holds anything else."""
    name = f"{path.parent.name}/{path.name}"
    if check_file(path).st_size > MAX_JSON_BYTES:
        raise SVDError(f"{name} is no file of settings, it has more than {MAX_JSON_BYTES} bytes: download it again.")
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SVDError(f"{name} is unreadable ({error}): download the file again.") from None


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, UTF-8 if it is bytes.

    Raises ValueError for anything else, and for what would break its users: NaN and Infinity, which are no JSON,
    numbers that are no finite float, a name twice in one object, and nesting deeper than settings ever are.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = json.loads(
            text,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
            object_pairs_hook=_make_object,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for child in _list_children(each)]
    if level:
        raise ValueError("it is nested too deeply")
    return value


def _list_children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(text)} digits")
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text[:20]}, which is too large")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"it has {text} for a number")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {twice} is in it twice")
    return made
