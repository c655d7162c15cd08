"""The alpha of LoRA layers that store none: peft's settings in the header of the file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import SVDError
from ...reading import parse_json

METADATA_KEY = "lora_adapter_metadata"  # as diffusers writes it
MAX_PATTERNS = 2000  # the UNet has fewer layers

_UNET = "unet."
_PATTERN = re.compile(r"(\^?)([\w.*\\-]+?)\$?")
_ANYTHING = ".*"


@dataclass(frozen=True)
class Pattern:
    """The end of a layer's path, with anything between its pieces.

    peft takes a regular expression. One from a file can run for hours, so only names and `.*` are understood, which
    are matched piece by piece.
    """

    pieces: Sequence[str]
    from_start: bool  # the whole path instead of an end that follows a dot

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Raises ValueError for other regular expressions."""
        found = _PATTERN.fullmatch(text)
        pieces = found[2].replace("\\.", ".").split(_ANYTHING) if found else ["*"]
        if any("*" in piece or "\\" in piece for piece in pieces):
            raise ValueError(f"its pattern {text} is not a name with .* in it")
        return cls(pieces, found is not None and found[1] == "^")

    def matches(self, path: str) -> bool:
        first, *others = self.pieces
        text, whole = (path, first) if self.from_start else (f".{path}", f".{first}")
        if not others:
            return text == whole or (not self.from_start and text.endswith(whole))
        place = 0 if text.startswith(whole) else -1 if self.from_start else text.find(whole)
        if place < 0:
            return False
        place += len(whole)
        for piece in others[:-1]:
            place = text.find(piece, place)
            if place < 0:
                return False
            place += len(piece)
        return text.endswith(others[-1]) and place + len(others[-1]) <= len(text)


@dataclass(frozen=True)
class AlphaSettings:
    """A file's alpha for all its layers; a file that states none means alpha = rank, a scale of one."""

    default: float | None = None
    patterns: Sequence[tuple[Pattern, float]] = ()  # the first that matches counts
    by_root: bool = False  # rank-stabilised LoRA: alpha is divided by the root of the rank

    def get_alpha(self, path: str, rank: int) -> float:
        """The alpha of one layer, to be divided by its rank."""
        stated = next((alpha for pattern, alpha in self.patterns if pattern.matches(path)), self.default)
        if stated is None:
            return float(rank)
        return stated * math.sqrt(rank) if self.by_root else stated


def read_alpha(name: str, metadata: Mapping[str, str]) -> AlphaSettings:
    """Raises SVDError for unreadable metadata, because a wrong alpha would show only in the picture."""
    if METADATA_KEY not in metadata:
        return AlphaSettings()
    try:
        stated: dict[str, Any] = parse_json(metadata[METADATA_KEY])
        own = {key.removeprefix(_UNET): value for key, value in stated.items()}
        default = own.get("lora_alpha")
        by_layer = (own.get("alpha_pattern") or {}).items()
        if len(by_layer) > MAX_PATTERNS:
            raise ValueError(f"it has {len(by_layer)} patterns")
        patterns = [(Pattern.parse(text), _parse_alpha(alpha)) for text, alpha in by_layer]
        return AlphaSettings(None if default is None else _parse_alpha(default), patterns, bool(own.get("use_rslora")))
    except (AttributeError, TypeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else "it is no table"
        raise SVDError(
            f"{name} has unreadable {METADATA_KEY} metadata ({reason}): save or download the LoRA again."
        ) from None


def _parse_alpha(value: Any) -> float:
    alpha = float(value)
    if not math.isfinite(alpha):
        raise ValueError(f"it has {value} for an alpha")
    return alpha
