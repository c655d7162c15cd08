"""Damage to files: to any bytes, to JSON by its structure, and to the headers of safetensors files."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Edit = Callable[[bytes], bytes]

# Whole numbers that lengths, offsets and counts in files break on.
NUMBERS = (0, 1, -1, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
ODD_VALUES: tuple[Any, ...] = (
    *NUMBERS, 2**63, 2**64, 10**400, -(2**63), 0.5, 1e308, float("nan"), float("inf"), float("-inf"),
    None, True, False, "", "x", "0", "1e999", "x" * 5000, "\0\x1b[31m\n", "\ud800", "../../x",
    [], [[]], {}, {"x": 1}, [0], [-1, 5],
)  # fmt: skip
DEEP = "deep nesting goes here"


@dataclass(frozen=True)
class Place:
    """A place in a file of any length: so many bytes from its start, or a share of it."""

    from_start: int
    share: float

    def find(self, size: int) -> int:
        return min(self.from_start if self.share < 0 else int(self.share * size), size)


places = st.one_of(
    st.builds(Place, st.integers(0, 200), st.just(-1.0)),
    st.builds(Place, st.just(0), st.floats(0, 1)),
)


@dataclass(frozen=True)
class ByteEdit:
    """Replace `removed` bytes at a place."""

    place: Place
    removed: int
    added: bytes

    def __call__(self, data: bytes) -> bytes:
        start = self.place.find(len(data))
        return data[:start] + self.added + data[start + self.removed :]


@dataclass(frozen=True)
class Cut:
    place: Place

    def __call__(self, data: bytes) -> bytes:
        return data[: self.place.find(len(data))]


def _pack(number: int, form: str) -> bytes:
    return struct.pack(form, number % 2 ** (8 * struct.calcsize(form)))


_numbers = st.builds(_pack, st.sampled_from(NUMBERS), st.sampled_from(("<H", ">H", "<I", ">I", "<Q", ">Q")))
_set = st.one_of(st.binary(min_size=1, max_size=4), _numbers)
byte_edits = st.lists(
    st.one_of(
        st.builds(lambda place, new: ByteEdit(place, len(new), new), places, _set),
        st.builds(ByteEdit, places, st.integers(0, 40), st.binary(max_size=40)),
        st.builds(Cut, places),
    ),
    min_size=1,
    max_size=6,
)


def apply(edits: list[Edit], data: bytes) -> bytes:
    for edit in edits:
        data = edit(data)
    return data


# --- JSON --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JSONEdit:
    """A change at one of the values, counted through the whole; `kind` is what is done there."""

    place: Place
    kind: str
    value: Any
    depth: int

    def __call__(self, root: Any) -> Any:
        root = copy.deepcopy(root)
        spots = list(_walk(root))
        if not spots:
            return self.value
        spots = [spot for spot in spots if spot[2] <= self.depth] or spots
        owner, key, _ = spots[min(self.place.find(len(spots)), len(spots) - 1)]
        if self.kind == "replace":
            owner[key] = self.value
        elif self.kind == "remove":
            del owner[key]
        elif self.kind == "rename" and isinstance(owner, dict):
            owner[self.value if isinstance(self.value, str) else str(key) + ".0"] = owner.pop(key)
        elif self.kind == "wrap":
            owner[key] = [owner[key]]
        elif self.kind == "repeat" and isinstance(owner[key], list):
            owner[key] = owner[key] * 3
        elif self.kind == "nest":
            owner[key] = DEEP
        return root


def _walk(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any, int]]:
    """Every value below, as owner, key and depth."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key, depth
        yield from _walk(value[key], depth + 1)


json_edits = st.lists(
    st.builds(
        JSONEdit,
        places,
        st.sampled_from(("replace", "replace", "replace", "remove", "rename", "wrap", "repeat", "nest")),
        st.sampled_from(ODD_VALUES),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=4,
)


def dump(value: Any) -> bytes:
    """JSON, with Python's NaN and infinity."""
    return json.dumps(value).replace(f'"{DEEP}"', "[" * 100_000).encode()


# --- safetensors -------------------------------------------------------------------------------------------------

CODES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "x")
PREFIXES = ("model.", "module.", "_orig_mod.", "state_dict.", "unet.", "unet_ema.", "\x1b[31m", "x" * 3000)


@dataclass(frozen=True)
class HeaderEdit:
    """A change of the tensors of a header that leaves it good JSON."""

    place: Place
    kind: str
    code: str
    prefix: str

    def __call__(self, header: dict[str, Any]) -> dict[str, Any]:
        header = copy.deepcopy(header)
        names = [name for name in header if name != "__metadata__" and isinstance(header[name], dict)]
        if not names:
            return header
        index = min(self.place.find(len(names)), len(names) - 1)
        name, other = names[index], names[index - 1]
        if self.kind == "dtype":
            header[name]["dtype"] = self.code
        elif self.kind == "all dtypes":
            for each in names:
                header[each]["dtype"] = self.code
        elif self.kind == "swap":
            header[name], header[other] = header[other], header[name]
        elif self.kind == "share":
            header[name]["data_offsets"] = header[other].get("data_offsets")
        elif self.kind == "turn":
            header[name]["shape"] = list(header[name].get("shape") or [])[::-1]
        elif self.kind == "flatten":
            header[name]["shape"] = [*(header[name].get("shape") or []), 1]
        elif self.kind == "prefix":
            header = {key if key == "__metadata__" else self.prefix + key: value for key, value in header.items()}
        elif self.kind == "prefix one":
            header[self.prefix + name] = header.pop(name)
        elif self.kind == "keep some":
            header = {key: header[key] for key in names[: index + 1]}
        return header


header_edits = st.lists(
    st.builds(
        HeaderEdit,
        places,
        st.sampled_from(
            ("dtype", "all dtypes", "swap", "share", "turn", "flatten", "prefix", "prefix one", "keep some")
        ),
        st.sampled_from(CODES),
        st.sampled_from(PREFIXES),
    ),
    min_size=1,
    max_size=3,
)


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what follows it."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header: Any, rest: bytes) -> bytes:
    text = dump(header)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + rest


@dataclass(frozen=True)
class Damage:
    """From the bytes of a good safetensors file to those of a damaged one."""

    edits: list[Any]
    of_header: bool

    def __call__(self, data: bytes) -> bytes:
        if not self.of_header:
            return apply(self.edits, data)
        header, rest = split(data)
        for edit in self.edits:
            header = edit(header)
        return join(header, rest)


damages = st.one_of(
    st.builds(Damage, byte_edits, st.just(False)),
    st.builds(Damage, json_edits, st.just(True)),
    st.builds(Damage, header_edits, st.just(True)),
)
